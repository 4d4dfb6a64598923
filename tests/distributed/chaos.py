"""Random faults on a cluster of two working nodes, for a number of minutes; stops at the first wrong result.

    python -m tests.distributed.chaos --minutes 20 --seed 1

Each round starts an extraction, a training or a search, and lets one to three faults happen to it at random times. Then
its result is compared with that of an undisturbed run. The seed decides everything but how fast the machine is. Needs
root and what cluster/tools.sh installs; uses about two CPUs and 4 GB.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.distributed.machines import machines
from tests.distributed.nodes import FAKETIME, Drive, Nodes, clock, with_signal
from tests.distributed.work import Work

WORKERS = ("a", "b")
PATIENCE_S = 900.0
"""How long a run may take; Ray needs five minutes for some faults."""


@dataclass(frozen=True)
class Kind:
    """A kind of run.

    Attributes:
        start: starts the run with this name and these flags.
        count: what it has finished so far, in shards, epochs or trials.
        check: compares the result; takes the trials that were finished when the last fault happened.
        resume: flags of the command that goes on after its own process was killed.
    """

    start: Callable[..., Drive]
    count: Callable[[str], int]
    check: Callable[[str, dict[str, int]], None]
    resume: tuple[str, ...] = ("--resume",)


def kinds(work: Work) -> dict[str, Kind]:
    """The kinds of runs by name."""
    return {
        "extraction": Kind(work.extract, work.shards, lambda name, _: work.check_rows(name), ()),
        "training": Kind(work.train, work.epochs, lambda name, _: work.check_losses(name)),
        "search": Kind(work.search, lambda name: len(work.finished(name)), work.check_trials),
    }


class Faults:
    """What happens to the workers; each fault returns what it did, and leaves two workers that join again."""

    def __init__(self, nodes: Nodes, rng: random.Random) -> None:
        self.nodes, self.rng = nodes, rng
        self.all: list[Callable[[], str]] = [
            self.killed, self.without_power, self.cut_off, self.worker_killed, self.paused,
        ]  # fmt: skip

    def killed(self) -> str:
        """Every process of a node ends."""
        name = self.rng.choice(WORKERS)
        self.nodes.lose(name)
        return f"{name} killed{self._join(name)}"

    def without_power(self) -> str:
        """A node answers nobody any more, and comes back empty."""
        name, seconds = self.rng.choice(WORKERS), self.rng.uniform(1, 20)
        self.nodes.lose(name, silent=True)
        time.sleep(seconds)
        self.nodes.plug(name, up=True)
        return f"{name} without power for {seconds:.0f} s{self._join(name)}"

    def cut_off(self) -> str:
        """The cable of a node is pulled for a while."""
        name, seconds = self.rng.choice(WORKERS), self.rng.uniform(2, 30)
        self.nodes.plug(name, up=False)
        time.sleep(seconds)
        self.nodes.plug(name, up=True)
        return f"{name} cut off for {seconds:.0f} s"

    def worker_killed(self) -> str:
        """One process that works for Ray ends, as the kernel ends one when memory is short."""
        name = self.rng.choice(WORKERS)
        # Not Ray's agents, with which the node would end.
        found = [
            pid for pid in self.nodes.processes(name)
            if b"ray::" in _command(pid) and b"Agent" not in _command(pid)
        ]  # fmt: skip
        if not found:
            return f"no worker on {name}"
        victim = self.rng.choice(sorted(found))
        title = _command(victim).decode(errors="replace").strip("\0 ")
        with_signal(victim)
        return f"{title} on {name} killed"

    def paused(self) -> str:
        """All processes of a node stop for a while."""
        name, seconds = self.rng.choice(WORKERS), self.rng.uniform(1, 20)
        stopped = self.nodes.processes(name)
        for pid in stopped:
            with_signal(pid, signal.SIGSTOP)
        time.sleep(seconds)
        for pid in stopped:
            with_signal(pid, signal.SIGCONT)
        return f"{name} paused for {seconds:.0f} s"

    def _join(self, name: str) -> str:
        """Start a worker again, with a clock that may be wrong; returns by how much."""
        shift = self.rng.choice(["", "", "+2h", "-2h"]) if Path(FAKETIME).exists() else ""
        self.nodes.join(name, **(clock(shift) if shift else {}))
        return f", back with its clock {shift}" if shift else ""


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def one_round(work: Work, rng: random.Random, number: int) -> str:
    """A run with faults; returns what happened. Raises AssertionError if its result is wrong."""
    what = rng.choice(["extraction", "extraction", "training", "search"])
    kind, name = kinds(work)[what], f"round-{number}"
    faults = Faults(work.nodes, rng)
    happened: list[str] = []
    before: dict[str, int] = {}
    drive, resumed = kind.start(name), False
    for _ in range(rng.randint(1, 3)):
        first = kind.count(name)
        drive.until(lambda first=first: kind.count(name) > first, at_most=PATIENCE_S, or_ended=True)
        time.sleep(rng.uniform(0, 2))
        if drive.process.poll() is not None:
            break
        if not resumed and rng.random() < 0.2:
            before, resumed = work.finished(name), True
            for pid in _drivers(work.nodes, name):
                with_signal(pid)
            drive.process.wait(timeout=30)
            happened.append("driver killed")
            drive = kind.start(name, *kind.resume)
            continue
        before = work.finished(name)
        happened.append(rng.choice(faults.all)())
    said = drive.end(at_most=PATIENCE_S)
    print(f"  {what}: {'; '.join(happened) or 'ended before anything happened'}", flush=True)
    try:
        kind.check(name, before)
    except AssertionError:
        print(said[-3000:], flush=True)
        raise
    work.nodes.wait_for(1 + len(WORKERS))
    work.remove(name)
    return what


def _drivers(nodes: Nodes, name: str) -> list[int]:
    """Processes of the command of a run on the head; not Ray's, which carry other names."""
    return [
        pid for pid in nodes.processes("head")
        if b"mocap_ray.cli" in _command(pid) and f"/mnt/{name}".encode() in _command(pid)
    ]  # fmt: skip


def main() -> None:
    """Run rounds until the time is over; ends with 1 at the first wrong result."""
    parser = argparse.ArgumentParser(description="Random faults on a cluster; see the top of the file.")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    counts: dict[str, int] = {}
    # Not in /tmp: each machine has its own.
    with (
        tempfile.TemporaryDirectory(prefix="mr-chaos-", dir="/var/tmp") as folder,
        machines(Path(folder), ["head", *WORKERS]) as made,
    ):
        nodes = Nodes(made)
        nodes.start(*WORKERS)
        nodes.wait_for(1 + len(WORKERS))
        work = Work(nodes)
        work.train("undisturbed").end()
        start = time.monotonic()
        while (passed := time.monotonic() - start) < 60 * options.minutes:
            number = sum(counts.values()) + 1
            print(f"round {number}, after {passed:.0f} s", flush=True)
            what = one_round(work, rng, number)
            counts[what] = counts.get(what, 0) + 1
    done = ", ".join(f"{count} x {what}" for what, count in sorted(counts.items()))
    print(f"seed {options.seed}: {passed / 60:.0f} minutes without a wrong result: {done}")


if __name__ == "__main__":
    try:
        main()
    except (AssertionError, subprocess.SubprocessError) as error:
        print(error, file=sys.stderr)
        sys.exit(1)
