#!/usr/bin/env bash
# `make cluster`: two nodes on this machine, with token, dashboard and, where it is installed, Prometheus. Everything
# listens on loopback as far as Ray allows, and ends with Ctrl-C. To try what a cluster does, not to get faster.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${BIN:-$PWD/.venv/bin}

for port in 6379 8265 9090; do
  if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    echo "Port $port is in use: another cluster may be running here. Stop it first." >&2
    exit 1
  fi
done

if [ ! -f ~/.ray/auth_token ]; then (umask 077 && "$bin/ray" get-auth-token --generate >/dev/null); fi
chmod 700 ~/.ray && chmod 600 ~/.ray/auth_token
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 PATH=$bin:$PATH

folder=$(mktemp -d /tmp/mr-cluster.XXXX)
chmod 700 "$folder"
started=()
# shellcheck disable=SC2317 # called by the trap
stop() {
  trap - EXIT INT TERM
  echo "Stopping the cluster."
  kill -TERM "${started[@]}" 2>/dev/null || true
  wait || true
  rm -rf "$folder"
}
trap stop EXIT
trap 'exit 0' INT TERM

cpus=$(($(nproc) > 1 ? $(nproc) / 2 : 1))
common=(--num-cpus="$cpus" --object-store-memory=200000000 --min-worker-port=0 --max-worker-port=0 --disable-usage-stats --block)
ray start --head --node-ip-address=127.0.0.1 --port=6379 --dashboard-host=127.0.0.1 --dashboard-port=8265 \
  --temp-dir="$folder/ray" "${common[@]}" >"$folder/head.log" 2>&1 &
started+=($!)
for _ in $(seq 120); do
  ray health-check --address=127.0.0.1:6379 >/dev/null 2>&1 && break
  kill -0 "${started[0]}" 2>/dev/null || { cat "$folder/head.log" >&2; exit 1; }
  sleep 0.5
done
ray start --address=127.0.0.1:6379 --node-ip-address=127.0.0.1 --dashboard-agent-listen-port=0 "${common[@]}" \
  >"$folder/second.log" 2>&1 &
started+=($!)

metrics="(Prometheus is not installed: make cluster-tools)"
if command -v prometheus >/dev/null; then
  sed "s,/tmp/ray/,$folder/ray/," cluster/monitoring/prometheus.yml >"$folder/prometheus.yml"
  prometheus --config.file="$folder/prometheus.yml" --web.listen-address=127.0.0.1:9090 \
    --storage.tsdb.path="$folder/prometheus" >"$folder/prometheus.log" 2>&1 &
  started+=($!)
  metrics="http://127.0.0.1:9090   what the runs report; cluster/monitoring/dashboard.json shows it in Grafana"
fi

cat <<EOF
Two nodes with $cpus CPUs each. Open:
  http://127.0.0.1:8265   jobs, nodes, logs; asks for the token: ray get-auth-token
  $metrics
Type, in another terminal:
  export RAY_AUTH_MODE=token
  ray status --address=127.0.0.1:6379
  ray job submit --address http://127.0.0.1:8265 --working-dir . -- python jobs/extract.py amass --override ...
Ctrl-C stops all of it.
EOF
wait
