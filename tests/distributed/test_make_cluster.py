"""`make cluster`: two nodes on one machine with token, dashboard and Prometheus, until Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.distributed.machines import machines, require

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(600)]
RAY = (sys.executable, "-m", "ray.scripts.scripts")
BIN = str(Path(sys.executable).parent)


def test_it_prints_what_to_open_and_leaves_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    require("prometheus", "curl")
    folder = tmp_path_factory.mktemp("make")
    with machines(folder, ["head"]) as made:
        machine, said = made["head"], folder / "shared" / "said"
        process = machine.start("sh", "-c", "exec bash cluster/laptop.sh > /mnt/said 2>&1", BIN=BIN)

        def printed() -> bool:
            assert process.poll() is None, said.read_text()
            return said.exists() and "Ctrl-C" in said.read_text()

        wait(printed, said)
        assert "http://127.0.0.1:8265" in said.read_text()
        token = {"RAY_AUTH_MODE": "token"}
        alive = "import ray; ray.init('127.0.0.1:6379'); print('nodes', sum(n['Alive'] for n in ray.nodes()))"
        wait(lambda: "nodes 2" in machine.run(sys.executable, "-c", alive, check=False, **token).stdout, said)
        answer = machine.run(
            "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:8265/api/jobs/"
        )
        assert answer.stdout == "401"
        up = ("curl", "-s", "http://127.0.0.1:9090/api/v1/query?query=sum(up)")
        wait(lambda: '"2"' in machine.run(*up, check=False).stdout, said)
        second = machine.run("bash", "cluster/laptop.sh", check=False, BIN=BIN)
        assert second.returncode == 1
        assert "is in use" in second.stderr
        scripts = machine.run("pgrep", "-f", "bash cluster/laptop.sh").stdout.split()
        machine.run("kill", f"-{signal.SIGINT.value}", *scripts)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            raise AssertionError(said.read_text()) from None
        assert "Stopping" in said.read_text()
        left = machine.run("ps", "axww", "-o", "args").stdout
        assert not [line for line in left.splitlines() if "raylet" in line or "prometheus" in line]
        assert machine.run("sh", "-c", "ls -d /tmp/mr-cluster.* 2>/dev/null", check=False).stdout == ""


def wait(done: Callable[[], bool], said: Path) -> None:
    end = time.monotonic() + 120
    while not done():
        assert time.monotonic() < end, said.read_text() if said.exists() else "nothing was said"
        time.sleep(0.5)
