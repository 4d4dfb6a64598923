"""A submitted job: `ray start --head`, then `ray job submit` of jobs/extract.py."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.distributed.conftest import Run

pytestmark = pytest.mark.ray
ROOT = Path(__file__).resolve().parents[2]
RAY = str(Path(sys.executable).with_name("ray"))


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _answers(port: int) -> None:
    """Wait until the port is open."""
    end = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < end, "the head node's dashboard does not come up"
            time.sleep(0.1)


@pytest.fixture
def cluster() -> Iterator[dict[str, str]]:
    """A private head node on loopback; yields the environment in which `ray` finds it."""
    with tempfile.TemporaryDirectory(prefix="mr-", ignore_cleanup_errors=True) as folder:
        # As README says, in another home folder.
        home = {**os.environ, "HOME": folder}
        subprocess.run([RAY, "get-auth-token", "--generate"], env=home, check=True, capture_output=True)
        token = Path(folder) / ".ray" / "auth_token"
        assert token.is_file()
        port, dashboard, agent = _free_port(), _free_port(), _free_port()
        environment = {
            **os.environ,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        head = subprocess.Popen(
            [
                RAY, "start", "--head", "--block", "--num-cpus=2", f"--port={port}", "--node-ip-address=127.0.0.1",
                f"--dashboard-port={dashboard}", "--dashboard-host=127.0.0.1", f"--temp-dir={folder}/ray",
                # The agent of a killed driver keeps the default port for a minute; without an agent, jobs fail.
                "--object-store-memory=200000000", f"--dashboard-agent-listen-port={agent}",
            ],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        try:
            _answers(dashboard)
            yield environment
        finally:
            # Only the process group of this test: `ray stop` would stop every Ray instance.
            os.killpg(head.pid, signal.SIGKILL)
            head.wait(timeout=30)


def test_a_submitted_job_writes_the_same_data_set(
    cluster: dict[str, str], run: Callable[..., Run], tmp_path: Path
) -> None:
    plain = run("plain")
    plain.plain()
    job = run("job")
    lost = subprocess.run(
        [
            RAY, "job", "submit", "--working-dir", str(ROOT), "--", "python", "jobs/extract.py", "amass",
            "--override", f"source.root={job.archive}", f"body.root={job.bodies}", "output.root=data/rel",
        ],
        env=cluster, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert lost.returncode != 0
    assert re.search(
        r"Ray's copy of the working directory, .* \(/\S*/_ray_pkg_[^)]*\): output.root is data/rel",
        lost.stdout,
    )
    overrides = [
        f"source.root={job.archive}", f"body.root={job.bodies}", f"output.root={job.out}", "output.shard_mb=2",
    ]  # fmt: skip
    command = [
        RAY, "job", "submit", "--working-dir", str(ROOT), "--", "python", "jobs/extract.py", "amass",
        "--override", *overrides,
    ]  # fmt: skip
    done = subprocess.run(command, env=cluster, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "is complete" in done.stdout
    assert job.files() == plain.files()
