#!/usr/bin/env bash
# A Ray cluster for one run inside a Slurm job: made when the job starts, gone when it ends.
#
#   sbatch --nodes=4 cluster/slurm.sh extract amass --override source.root=/data/amass output.root=/data/amass_263 ...
#   sbatch --nodes=1 --gpus-per-node=2 cluster/slurm.sh train joint_flow --override data.root=... output.root=...
#
# Needs     this checkout with its environment (`make env`) at the same path on every node, and a folder to submit from
#           that all nodes share. MOCAP_RAY_BIN names another folder of programs.
# Stops     `scancel --signal=TERM --batch JOB`, and two minutes before the time limit: the run ends cleanly, and
#           the same sbatch command resumes it.
# Listens   on the nodes' addresses, for the length of the job, on free ports; all of them ask for the job's own token.
#SBATCH --job-name=mocap-ray
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --mem-per-cpu=2G
#SBATCH --time=08:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --output=mocap-ray-%j.log
set -euo pipefail

here=${MOCAP_RAY_HOME:-$SLURM_SUBMIT_DIR}
bin=${MOCAP_RAY_BIN:-$here/.venv/bin}
if [ ! -x "$bin/python" ]; then
  echo "There is no $bin/python. Submit from the checkout after \`make env\`, or set MOCAP_RAY_BIN=/path/to/bin." >&2
  exit 2
fi
if [ $# = 0 ]; then
  echo "No command. Expected one of mocap-ray, for example: sbatch cluster/slurm.sh extract amass --override ..." >&2
  exit 2
fi

# The token: made here, read from a file that only this user can read, never in a command line or an environment.
private=$SLURM_SUBMIT_DIR/.mocap-ray-$SLURM_JOB_ID
(umask 077 && mkdir "$private" && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$private/token")
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$private/token RAY_USAGE_STATS_ENABLED=0
# As in local.yaml: survive short cuts of the network, and notice sooner that a node has lost its power.
export RAY_health_check_failure_threshold=10 RAY_grpc_client_keepalive_timeout_ms=60000
unset RAY_ADDRESS

temporary=/tmp/mocap-ray-$SLURM_JOB_ID
steps=() run=""

# shellcheck disable=SC2317 # called by the trap
stop() {
  trap - EXIT TERM INT
  if [ ${#steps[@]} -gt 0 ]; then kill -TERM "${steps[@]}" 2>/dev/null || true; fi
  wait || true
  srun --overlap --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 rm -rf "$temporary" 2>/dev/null || true
  rm -rf "$private"
}
trap stop EXIT
# Slurm's signal before the time limit: the run gets it and ends; then the cluster goes.
trap 'if [ -n "$run" ]; then kill -TERM "$run" 2>/dev/null || true; else exit 143; fi' TERM INT

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
cpus=${SLURM_CPUS_PER_TASK:-1}
gpus=${SLURM_GPUS_ON_NODE:-0}

# This script runs on the first node, which becomes the head. Not through srun there: srun kills what it runs when it gets
# SIGTERM, and the run shall end cleanly.
# Three ports that are free on the head now, below those that Linux gives to outgoing connections, and different for jobs
# that start at the same moment on one node. Ray chooses all others itself.
free='import socket, sys
first, found = 20000 + int(sys.argv[1]) * 37 % 10000, []
for port in range(first, first + 2000):
    with socket.socket() as s:
        try:
            s.bind(("", port))
        except OSError:
            continue
        found.append(str(port))
    if len(found) == 3:
        break
print(*found)'
read -r port dashboard agent < <("$bin/python" -c "$free" "$SLURM_JOB_ID")
address=$("$bin/python" -c 'import ray; print(ray.util.get_node_ip_address())' | tail -n 1)

common=(--num-cpus="$cpus" --num-gpus="$gpus" --object-store-memory=500000000 --min-worker-port=0 --max-worker-port=0
  --disable-usage-stats --block)
echo "Ray on ${#nodes[@]} nodes with $cpus CPUs and $gpus GPUs each; head: $head ($address:$port)"
"$bin/ray" start --head --node-ip-address="$address" --port="$port" \
  --dashboard-host=127.0.0.1 --dashboard-port="$dashboard" --dashboard-agent-listen-port="$agent" \
  --temp-dir="$temporary" "${common[@]}" >"$private/head.log" 2>&1 &
steps+=($!)
if [ ${#nodes[@]} -gt 1 ]; then
  others=$(IFS=,; echo "${nodes[*]:1}")
  # shellcheck disable=SC2016 # $0, $1 and $@ are those of the inner shell
  srun --overlap --nodes=$((${#nodes[@]} - 1)) --ntasks=$((${#nodes[@]} - 1)) --ntasks-per-node=1 --nodelist="$others" \
    --cpus-per-task="$cpus" bash -c '
      for _ in $(seq 60); do "$0" health-check --address="$1" >/dev/null 2>&1 && break; sleep 1; done
      exec "$0" start --address="$@"' "$bin/ray" "$address:$port" --dashboard-agent-listen-port=0 "${common[@]}" \
    >"$private/workers.log" 2>&1 &
  steps+=($!)
fi

# Start when all nodes are there: a training plans its workers for what it finds.
all='import ray, sys, time
want, end = int(sys.argv[2]), time.monotonic() + 180
while True:
    try:
        ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
        found = sum(node["Alive"] for node in ray.nodes())
        ray.shutdown()
    except ConnectionError:
        found = 0
    if found >= want:
        break
    if time.monotonic() > end:
        sys.exit(f"Only {found} of {want} nodes joined within 180 s.")
    time.sleep(1)'
"$bin/python" -c "$all" "$address:$port" "${#nodes[@]}" 2>"$private/wait.log" || {
  tail -n 5 "$private"/*.log >&2
  exit 1
}

"$bin/python" -m mocap_ray.cli "$@" --override ray.address="$address:$port" &
run=$!
code=0
wait "$run" || code=$?
# A signal ends `wait`, not the run: wait again until it has ended.
while kill -0 "$run" 2>/dev/null; do wait "$run" || code=$?; done
exit "$code"
