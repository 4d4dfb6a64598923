"""`cluster/slurm.sh` under a real Slurm (Debian's slurm-wlm and munge) of two machines; and its linter."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.distributed.conftest import Run
from tests.distributed.machines import ROOT, Machine, machines, require

CONFIG = """
ClusterName=test
SlurmctldHost=first
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=/run/munge.socket
StateSaveLocation=/tmp/slurmctld
SlurmdSpoolDir=/tmp/slurmd
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmctldLogFile=/tmp/slurmctld.log
SlurmdLogFile=/tmp/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
KillWait=30
NodeName=first NodeAddr=10.77.0.2 CPUs=2 CoresPerSocket=2 RealMemory=8000 State=UNKNOWN
NodeName=second NodeAddr=10.77.0.3 CPUs=2 CoresPerSocket=2 RealMemory=8000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
SLURM = {"SLURM_CONF": "/mnt/slurm.conf"}


def test_the_linter_of_shell_scripts_finds_nothing() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("cluster/tools.sh installs shellcheck")
    scripts = sorted(str(path) for path in (ROOT / "cluster").rglob("*.sh"))
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Machine]]:
    """Two machines with Slurm; `first` is also where a user types."""
    require("slurmctld", "slurmd", "sbatch", "munged")
    folder = tmp_path_factory.mktemp("slurm")
    with machines(folder, ["first", "second"]) as made:
        shared = folder / "shared"
        (shared / "slurm.conf").write_text(CONFIG)
        (shared / "cgroup.conf").write_text("CgroupPlugin=autodetect\n")
        (shared / "munge.key").write_bytes(os.urandom(128))
        (shared / "munge.key").chmod(0o400)
        for name in ("first", "second"):
            made[name].run(
                "munged", "--key-file=/mnt/munge.key", "--socket=/run/munge.socket", "--pid-file=/run/munged.pid",
                "--seed-file=/run/munge.seed", "--log-file=/run/munged.log", "--force",
            )  # fmt: skip
        made["first"].run("mkdir", "-p", "/tmp/slurmctld")
        made["first"].run("slurmctld", **SLURM)
        for name in ("first", "second"):
            made[name].run("mkdir", "-p", "/tmp/slurmd")
            made[name].run("slurmd", **SLURM)
        yield made


def submit(group: dict[str, Machine], *command: str) -> str:
    """`sbatch` from the shared folder; returns the job's number."""
    script = str(ROOT / "cluster" / "slurm.sh")
    settings = {"MOCAP_RAY_BIN": str(Path(sys.executable).parent), "PYTHONPATH": str(ROOT), **SLURM}
    done = group["first"].run(
        "sh", "-c", 'cd /mnt && exec "$@"', "sh", "sbatch", "--parsable", "--nodes=2", "--cpus-per-task=1",
        "--time=10", script, *command, **settings,
    )  # fmt: skip
    return done.stdout.strip()


def state(group: dict[str, Machine], job: str) -> str:
    """What Slurm says of a job, such as RUNNING or COMPLETED."""
    shown = group["first"].run("scontrol", "show", "job", job, **SLURM).stdout
    return shown.partition("JobState=")[2].split()[0]


def wait(group: dict[str, Machine], until: Callable[[], bool], log: Path) -> None:
    end = time.monotonic() + 400
    while not until():
        said = log.read_text() if log.exists() else ""
        if time.monotonic() > end:
            logs = (
                group["first"]
                .run("tail", "-n", "30", "/tmp/slurmctld.log", "/tmp/slurmd.log", check=False)
                .stdout
            )
            raise AssertionError(f"{said}\n{logs}")
        time.sleep(0.5)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(1200)
def test_a_run_in_slurm_is_complete_resumes_after_a_signal_and_leaves_nothing(
    group: dict[str, Machine], run: Callable[..., Run], archive: Path, bodies: Path
) -> None:
    plain = run("plain")
    plain.plain()
    shared = group["laptop"].home.parent / "shared"
    shutil.copytree(archive, shared / "archive")
    shutil.copytree(bodies, shared / "bodies")
    command = (
        "extract", "amass", "--override", "source.root=/mnt/archive", "body.root=/mnt/bodies",
        "output.root=/mnt/out", "output.shard_mb=2",
    )  # fmt: skip

    job = submit(group, *command)
    log = shared / f"mocap-ray-{job}.log"
    private = shared / f".mocap-ray-{job}"
    wait(group, lambda: private.exists() and log.exists() and "Ray on 2 nodes" in log.read_text(), log)
    token = (private / "token").read_text()
    assert len(token) == 64
    assert private.stat().st_mode & 0o077 == 0
    processes = group["first"].run("ps", "axwwe", "-o", "args").stdout
    assert token not in processes, "the token is in a command line or an environment"
    # As Slurm does before the time limit.
    group["first"].run("scancel", "--signal=TERM", "--batch", job, **SLURM)
    wait(group, lambda: state(group, job) not in ("RUNNING", "COMPLETING", "PENDING"), log)
    assert state(group, job) == "FAILED"  # it did not finish
    assert not private.exists()

    job = submit(group, *command)
    log = shared / f"mocap-ray-{job}.log"
    wait(group, lambda: state(group, job) not in ("RUNNING", "COMPLETING", "PENDING"), log)
    assert state(group, job) == "COMPLETED", log.read_text()
    assert "Ray on 2 nodes" in log.read_text()
    assert "is complete" in log.read_text()
    assert token not in log.read_text()
    rows = {name: digest for name, digest in plain.files().items() if name.endswith(".parquet")}
    made = Run(archive, bodies, shared / "out").files()
    assert {name: made[name] for name in rows} == rows
    assert not list(shared.glob(".mocap-ray-*"))
    for name in ("first", "second"):
        left = group[name].run("ps", "axww", "-o", "args").stdout
        assert "raylet" not in left
        assert "gcs_server" not in left
        assert not group[name].run("sh", "-c", "ls -d /tmp/mocap-ray-* 2>/dev/null", check=False).stdout
