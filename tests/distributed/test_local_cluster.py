"""`cluster/local.yaml`, followed as docs/clusters.md says: `ray up` over SSH onto two machines, and a job."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.distributed.conftest import Run
from tests.distributed.machines import HOME, ROOT, Machine, allow_ssh, listening, machines, require

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(900)]
API = "http://127.0.0.1:8265"
TOKEN = {"RAY_AUTH_MODE": "token"}
PASSWORD = f"planted-{uuid.uuid4().hex}"
"""Stands in the environment of every machine, as a credential for a bucket would."""
DRIVER = "import ray; ray.init(address='{}:6379', log_to_driver=False); print('connected', ray.cluster_resources())"
RAY = (sys.executable, "-m", "ray.scripts.scripts")


def installed(machine: Machine) -> None:
    """Give a machine the environment that `make env` would make: the libraries of this one, the package of its own.

    The stamp makes `cluster/setup.sh` find everything installed; the installation itself needs the network and minutes.
    """
    venv = machine.home / "mocap_ray" / ".venv"
    packages = venv / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    site = Path(sys.prefix) / "lib" / "python3.11" / "site-packages"
    (packages / "libraries.pth").write_text(f"{HOME}/mocap_ray\n{site}\n")
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", venv)
    (venv / "bin").mkdir()
    (venv / "bin" / "python").symlink_to(Path(sys.executable).resolve())
    script = venv / "bin" / "ray"
    script.write_text(f'#!/bin/sh\nexec {HOME}/mocap_ray/.venv/bin/python -m ray.scripts.scripts "$@"\n')
    script.chmod(0o755)
    lock = "".join((ROOT / name).read_text() for name in ("requirements.lock", "pyproject.toml"))
    sums = subprocess.run(["cksum"], input=lock, capture_output=True, text=True, check=True).stdout.split()
    (venv / f".installed-{sums[0]}").touch()


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Machine]]:
    """A running cluster of two machines, and the laptop that started it."""
    require("sshd", "rsync", "ss", "make", "python3.11")
    with machines(tmp_path_factory.mktemp("machines"), ["head", "worker"]) as made:
        allow_ssh(made)
        for name in ("head", "worker"):
            installed(made[name])
        config = yaml.safe_load((ROOT / "cluster" / "local.yaml").read_text())
        config["provider"] |= {"head_ip": made["head"].ip, "worker_ips": [made["worker"].ip]}
        config["auth"] = {"ssh_user": "root", "ssh_private_key": f"{HOME}/.ssh/id_ed25519"}
        (made["laptop"].home / "local.yaml").write_text(yaml.safe_dump(config))
        for machine in made.values():
            (machine.home / ".bashrc").write_text(f"export AWS_SECRET_ACCESS_KEY={PASSWORD}\n")
        laptop = made["laptop"]
        page = (ROOT / "docs" / "clusters.md").read_text()
        (command,) = (line for line in page.splitlines() if line.startswith("(umask 077;"))
        laptop.run("bash", "-c", command)
        assert (laptop.home / ".ray" / "auth_token").stat().st_mode & 0o077 == 0
        laptop.run(*RAY, "up", "--yes", "--no-config-cache", f"{HOME}/local.yaml", timeout=400)
        tunnel = ("-N", "-L", "8265:127.0.0.1:8265", "-o", "StrictHostKeyChecking=no")
        laptop.start("ssh", *tunnel, f"root@{made['head'].ip}")
        _wait(lambda: "/2.0 CPU" in status(made["head"]), "the worker does not join")
        yield made


def status(head: Machine) -> str:
    """What `ray status` says on the head."""
    return head.run(f"{HOME}/mocap_ray/.venv/bin/ray", "status", check=False, **TOKEN).stdout


def _wait(done: Callable[[], bool], why: str, *, at_most: float = 200) -> None:
    end = time.monotonic() + at_most
    while not done():
        assert time.monotonic() < end, why
        time.sleep(1)


def submit(laptop: Machine, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`ray job submit` through the tunnel."""
    return laptop.run(
        *RAY, "job", "submit", "--address", API, "--working-dir", ".", "--", *command,
        check=False, timeout=400, **environment,
    )  # fmt: skip


def test_a_job_writes_the_same_rows_as_a_plain_run(
    group: dict[str, Machine], run: Callable[..., Run], archive: Path, bodies: Path
) -> None:
    plain = run("plain")
    plain.plain()
    shared = group["laptop"].home.parent / "shared"
    shutil.copytree(archive, shared / "archive")
    shutil.copytree(bodies, shared / "bodies")
    roots = ("source.root=/mnt/archive", "body.root=/mnt/bodies", "output.root=/mnt/out", "output.shard_mb=2")
    done = submit(group["laptop"], "python", "jobs/extract.py", "amass", "--override", *roots, **TOKEN)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "is complete" in done.stdout
    rows = {name: digest for name, digest in plain.files().items() if name.endswith(".parquet")}
    made = Run(archive, bodies, shared / "out").files()
    assert {name: made[name] for name in rows} == rows


def test_exec_finds_ray_and_the_token(group: dict[str, Machine]) -> None:
    shown = group["laptop"].run(*RAY, "exec", f"{HOME}/local.yaml", "ray status")
    assert "/2.0 CPU" in shown.stdout + shown.stderr


def test_without_the_token_nothing_is_run(group: dict[str, Machine]) -> None:
    laptop, head = group["laptop"], group["head"]
    for environment in ({"RAY_AUTH_MODE": "disabled"}, {**TOKEN, "RAY_AUTH_TOKEN": "0" * 64}):
        refused = submit(laptop, "touch", "/mnt/came-in", **environment)
        assert refused.returncode != 0
        assert "token" in refused.stdout + refused.stderr
        driver = laptop.run(sys.executable, "-c", DRIVER.format(head.ip), check=False, **environment)
        assert driver.returncode != 0
        assert "connected" not in driver.stdout
        assert "token" in driver.stdout + driver.stderr
    assert not (laptop.home.parent / "shared" / "came-in").exists()
    for address in (API, f"http://{head.ip}:52365"):
        answer = laptop.run(
            "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"{address}/api/jobs/", check=False
        )
        assert answer.stdout in ("401", "403"), address


def test_only_the_listed_ports_listen_and_the_dashboard_on_loopback(group: dict[str, Machine]) -> None:
    for name in ("head", "worker"):
        beyond = {port for address, port in listening(group[name]) if not _is_loopback(address)} - {22}
        assert {port for port in beyond if not 10002 <= port <= 10999} <= documented(), name
    assert {address for address, port in listening(group["head"]) if port == 8265} == {"127.0.0.1"}


def documented() -> set[int]:
    """The ports of the table in docs/clusters.md."""
    page = (ROOT / "docs" / "clusters.md").read_text()
    table = page.partition("## What listens")[2].partition("On loopback")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| ") and line[2].isdigit()]
    return {int(number) for cell in cells for number in re.findall(r"\d+", cell)}


def _is_loopback(address: str) -> bool:
    return address.strip("[]").removeprefix("::ffff:").startswith("127.") or address == "[::1]"


def test_no_secret_is_left_in_logs_jobs_or_data(group: dict[str, Machine]) -> None:
    token = (group["laptop"].home / ".ray" / "auth_token").read_text().strip()
    jobs = group["laptop"].run(*RAY, "job", "list", "--address", API, **TOKEN).stdout
    processes = group["head"].run("ps", "axww", "-o", "args").stdout
    for secret in (token, PASSWORD):
        assert secret not in jobs
        assert secret not in processes
        for name in ("laptop", "head", "worker"):
            found = group[name].run("grep", "-rlI", secret, "/tmp", "/mnt", check=False).stdout
            assert not found, f"{name}: {found}"
    kept = group["worker"].home / ".ray" / "auth_token"
    assert kept.read_text().strip() == token
    assert kept.stat().st_mode & 0o077 == 0, "others may read the token"


def test_down_leaves_no_ray_running(group: dict[str, Machine]) -> None:
    """The last test: it stops the cluster. Workers of the local provider notice within a minute that it is gone."""
    group["laptop"].run(*RAY, "down", "--yes", f"{HOME}/local.yaml")
    for name in ("head", "worker"):
        machine = group[name]
        _wait(lambda machine=machine: not _runs_ray(machine), f"{name} still runs Ray", at_most=150)


def _runs_ray(machine: Machine) -> bool:
    processes = machine.run("ps", "axww", "-o", "args").stdout
    return "gcs_server" in processes or "raylet" in processes
