#!/usr/bin/env bash
# Install what `make cluster` and `make test-cluster` use, on Debian or Ubuntu. None of it is started as a service.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${BIN:-$PWD/.venv/bin}

# openssh and rsync: `ray up`. Prometheus with promtool, Slurm with munge, Redis, faketime, shellcheck: what their tests
# try.
packages=(curl faketime iproute2 munge openssh-client openssh-server openssl prometheus redis-server rsync shellcheck
  slurm-wlm util-linux)
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
if command -v apt-get >/dev/null; then
  # Debian starts the services of a package; here only their programs are wanted.
  if [ -d /run/systemd/system ]; then as_root systemctl mask --quiet prometheus slurmctld slurmd munge redis-server; fi
  as_root apt-get update -q
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${packages[@]}"
else
  echo "No apt-get here. Install these yourself: ${packages[*]}" >&2
fi

# The versions of the extra `cluster` in pyproject.toml.
"$bin/python" - >"$bin/../cluster-tools.txt" <<'PY'
import tomllib

with open("pyproject.toml", "rb") as file:
    print(*tomllib.load(file)["project"]["optional-dependencies"]["cluster"], sep="\n")
PY
"$bin/python" -m pip install --quiet --root-user-action ignore --requirement "$bin/../cluster-tools.txt"
