"""A Ray cluster on machines, and what may happen to it: nodes lost, cut off, short of memory, or with another clock."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.distributed.machines import ROOT, Machine

RAY = (sys.executable, "-m", "ray.scripts.scripts")
PORT = 6379
ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    # As the files in cluster/ set them.
    "RAY_health_check_failure_threshold": "10",
    "RAY_grpc_client_keepalive_timeout_ms": "60000",
    # A busy machine shall not starve the workers.
    "RAY_worker_niceness": "0",
    "PYTHONPATH": f"{ROOT}:{ROOT}/tests/distributed",
    "OMP_NUM_THREADS": "1",
}
COMMON = ("--object-store-memory=100000000", "--disable-usage-stats")
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
MEMORY = Path("/sys/fs/cgroup/memory")
"""The first version of control groups; a test that needs it skips where there is only the second."""


@dataclass
class Drive:
    """A command that runs on the head, as `ray job submit` would run it.

    Attributes:
        process: the command.
        log: what it prints, seen from outside.
    """

    process: subprocess.Popen[Any]
    log: Path

    @property
    def said(self) -> str:
        """What the command has printed so far, as one line."""
        return " ".join(self.log.read_text(errors="replace").split()) if self.log.exists() else ""

    def until(self, happens: Callable[[], bool], *, at_most: float = 240, or_ended: bool = False) -> None:
        """Wait for something while the command runs; with `or_ended` also for its end."""
        end = time.monotonic() + at_most
        while not happens():
            if or_ended and self.process.poll() is not None:
                return
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.said[-4000:]}"
            assert time.monotonic() < end, f"does not happen: {self.said[-4000:]}"
            time.sleep(0.05)

    def end(self, *, expect: int = 0, at_most: float = 400) -> str:
        """Wait for the end; returns what was printed."""
        try:
            code = self.process.wait(timeout=at_most)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"does not end: {self.said[-4000:]}") from None
        assert code == expect, f"ended with {code}, expected {expect}: {self.said[-6000:]}"
        return self.said


@dataclass
class Nodes:
    """A head without CPUs, and workers with one each.

    Attributes:
        machines: by name; `laptop` holds the cables of all others.
        redis: address of the Redis that keeps the head's state; empty without one.
        sleep_s: how long each read of a recording waits in addition, so that a fault finds the run at work.
    """

    machines: Mapping[str, Machine]
    redis: str = ""
    sleep_s: float = 0.3
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def head(self) -> Machine:
        """The machine of the head."""
        return self.machines["head"]

    @property
    def shared(self) -> Path:
        """The folder that every machine sees as /mnt."""
        return self.head.home.parent / "shared"

    def start(self, *workers: str) -> None:
        """Make the token, start the head and the workers."""
        self.head.run(*RAY, "get-auth-token", "--generate")
        token = (self.head.home / ".ray" / "auth_token").read_text()
        for name in self.machines:
            folder = self.machines[name].home / ".ray"
            folder.mkdir(exist_ok=True)
            (folder / "auth_token").write_text(token)
            (folder / "auth_token").chmod(0o600)
        self.start_head()
        for name in workers:
            self.join(name)

    def start_head(self) -> None:
        """Start the head; with Redis it goes on with the state that it finds there."""
        state = {"RAY_REDIS_ADDRESS": self.redis} if self.redis else {}
        self.head.run(
            *RAY, "start", "--head", f"--node-ip-address={self.head.ip}", f"--port={PORT}", "--num-cpus=0",
            "--dashboard-host=127.0.0.1", *COMMON, **ENVIRONMENT, **state,
        )  # fmt: skip

    def join(self, name: str, **environment: str) -> None:
        """Start a worker with one CPU."""
        self.machines[name].run(
            *RAY, "start", f"--address={self.head.ip}:{PORT}", f"--node-ip-address={self.machines[name].ip}",
            "--num-cpus=1", *COMMON, **{**ENVIRONMENT, "TRAP_SLEEP_S": str(self.sleep_s), **environment},
        )  # fmt: skip

    def drive(self, *command: str, on: str = "head", **environment: str) -> Drive:
        """Start a command of `mocap-ray` that uses this cluster."""
        number = next(self.numbers)
        process = self.machines[on].start(
            "sh", "-c", f'"$@" > /mnt/said-{number} 2>&1', "sh", sys.executable, "-m", "mocap_ray.cli", *command,
            f"ray.address={self.head.ip}:{PORT}", **ENVIRONMENT, **environment,
        )  # fmt: skip
        return Drive(process, self.shared / f"said-{number}")

    def plug(self, name: str, *, up: bool) -> None:
        """Pull the cable of a machine, or plug it in again; nobody is informed of either."""
        self.machines["laptop"].run("ip", "link", "set", f"to-{name}"[:15], "up" if up else "down")

    def lose(self, name: str, *, silent: bool = False) -> None:
        """End every process of a machine.

        Args:
            name: of the machine.
            silent: as without power: the others get no answer any more, while the death of a process closes its
                connections. The machine comes back with `join`, after `plug`.
        """
        if silent:
            self.plug(name, up=False)
        for pid in self.processes(name):
            with_signal(pid)
        self.machines[name].run("sh", "-c", "rm -rf /tmp/* /dev/shm/*")

    def processes(self, name: str) -> list[int]:
        """The processes of a machine but its first, seen from outside."""
        first = self.machines[name].pid
        space = os.readlink(f"/proc/{first}/ns/pid")
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and int(folder.name) != first:
                try:
                    inside = os.readlink(folder / "ns" / "pid") == space
                except OSError:
                    continue
                if inside:
                    found.append(int(folder.name))
        return found

    def alive(self) -> int:
        """Nodes that the head takes to be alive."""
        script = f"import ray; ray.init('{self.head.ip}:{PORT}', log_to_driver=False); " + (
            "print('alive', sum(n['Alive'] for n in ray.nodes()))"
        )
        said = self.head.run(sys.executable, "-c", script, check=False, **ENVIRONMENT).stdout
        return int(said.rpartition("alive ")[2] or 0) if "alive " in said else 0

    def wait_for(self, count: int, *, at_most: float = 120) -> None:
        """Wait until so many nodes are alive."""
        end = time.monotonic() + at_most
        while (found := self.alive()) != count:
            assert time.monotonic() < end, f"{found} nodes are alive, expected {count}"
            time.sleep(0.5)

    @contextmanager
    def memory(self, name: str, most: int) -> Iterator[None]:
        """Give the processes of a machine so many bytes together; the kernel kills one that wants more."""
        group = MEMORY / f"mocap-ray-{os.getpid()}-{name}"
        group.mkdir()
        try:
            (group / "memory.limit_in_bytes").write_text(str(most))
            for pid in self.processes(name):
                (group / "cgroup.procs").write_text(str(pid))
            yield
        finally:
            for pid in (group / "cgroup.procs").read_text().split():
                (MEMORY / "cgroup.procs").write_text(pid)
            group.rmdir()


def with_signal(pid: int, sent: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to a process that may have ended."""
    try:
        os.kill(pid, sent)
    except ProcessLookupError:
        return


def clock(shift: str) -> dict[str, str]:
    """The environment of a node whose clock is wrong by so much, such as `+2h`; intervals stay right."""
    return {"LD_PRELOAD": FAKETIME, "FAKETIME": shift, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
