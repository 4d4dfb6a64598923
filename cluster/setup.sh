#!/usr/bin/env bash
# Install the package of ~/mocap_ray on a node: CPython 3.11, and every dependency as requirements.lock pins it.
# The start commands of the cluster files call it on each node; the second time it takes a second.
set -euo pipefail
cd "$(dirname "$0")/.."

has() { command -v "$1" >/dev/null; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

if ! has make && has apt-get; then
  as_root apt-get update -q
  as_root apt-get install -q -y --no-install-recommends make
fi
if has python3.11; then
  python=$(command -v python3.11)
elif has apt-get && apt-cache show python3.11-venv >/dev/null 2>&1; then
  as_root apt-get install -q -y --no-install-recommends python3.11 python3.11-venv
  python=$(command -v python3.11)
else # for example Ubuntu 22.04, which has 3.10
  python3 -m venv ~/.mocap_ray_uv
  ~/.mocap_ray_uv/bin/pip install --quiet uv==0.13.9
  ~/.mocap_ray_uv/bin/uv python install --quiet 3.11.14
  python=$(~/.mocap_ray_uv/bin/uv python find 3.11.14)
fi

# The build of torch without CUDA saves 4 GB and minutes on each node without a GPU.
index=""
if ! has nvidia-smi; then index="${MOCAP_RAY_TORCH_INDEX-https://download.pytorch.org/whl/cpu}"; fi
make env PYTHON="$python" TORCH_INDEX="$index" HASHES=1

# `ray get-auth-token --generate` writes a file that every user of the machine can read.
if [ -f ~/.ray/auth_token ]; then chmod 700 ~/.ray && chmod 600 ~/.ray/auth_token; fi

# Commands over SSH, such as those of `ray exec`, `ray attach` and `ray down`, find this Ray and use its token.
line="export PATH=$PWD/.venv/bin:\$PATH RAY_AUTH_MODE=token # mocap_ray"
grep -qxF "$line" ~/.bashrc 2>/dev/null || echo "$line" >>~/.bashrc
