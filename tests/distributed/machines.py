"""Machines of a cluster on this one: each has its own network, processes, /tmp, home folder and SSH server.

Linux namespaces separate them, so `ray stop`, `ray up` and everything else that takes a whole machine for its own touch
nothing outside. One more, the `laptop`, is where a user types; its bridge connects them all. Only root can make them.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NETWORK = "10.77.0"
STARTED = "started"
HOME = "/srv"
"""The home folder inside: not /root, where the interpreter itself may be."""

# Own /tmp, home and shared memory; $1: the folder of the machine, $2: the folder that all machines share, $4: its name,
# $5: all names and addresses.
INSIDE = f"""
set -e
mount --make-rprivate /
mkdir -p "$1/.ssh"
sed 's,^\\(root:.*\\):/root:,\\1:{HOME}:,' /etc/passwd > "$1/.passwd"
mount --bind "$1/.passwd" /etc/passwd
mount --rbind "$2" /mnt
mount --bind "$1" {HOME}
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mkdir -p /run/sshd
ip link set lo up
hostname "$4"
printf '127.0.0.1 localhost\\n' > /run/hosts
for other in $5; do echo "${{other#*=}} ${{other%=*}}" >> /run/hosts; done
mount --bind /run/hosts /etc/hosts
touch "/mnt/$3"
while :; do sleep 1 || :; done  # the shell is the first process of the machine, and buries the dead
"""


@dataclass(frozen=True)
class Machine:
    """One machine.

    Attributes:
        name: of its folder.
        ip: its address.
        pid: of its first process, seen from outside.
        home: its home folder, seen from outside.
    """

    name: str
    ip: str
    pid: int
    home: Path

    def command(self, *command: str) -> list[str]:
        """What runs a command inside, to be started from outside."""
        return ["nsenter", "-t", str(self.pid), "-n", "-u", "-m", "-p", f"--wd={ROOT}", *command]

    def run(
        self, *command: str, timeout: float = 240, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside and wait for it."""
        done = subprocess.run(
            self.command(*command), env=self.environment(**environment), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        if check:
            assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
        return done

    def start(self, *command: str, **environment: str) -> subprocess.Popen[Any]:
        """Start a command inside; it ends with the machine."""
        return subprocess.Popen(
            self.command(*command), env=self.environment(**environment), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    def environment(self, **more: str) -> Mapping[str, str]:
        """A login's environment, and the programs of the environment that runs the tests."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {"HOME": HOME, "PATH": path, "LANG": "C.UTF-8", "TERM": "dumb", **more}


def require(*tools: str) -> None:
    """Skip the test unless this sandbox can make machines and has the tools."""
    missing = [tool for tool in ("ip", "nsenter", "unshare", *tools) if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed; cluster/tools.sh installs them")
    if any(str(path).startswith("/tmp/") for path in (ROOT, sys.prefix)):
        pytest.skip("each machine has its own /tmp, and this checkout or its environment lies there")
    if subprocess.run(
        ["unshare", "-pfmn", "--mount-proc", "true"], capture_output=True, check=False
    ).returncode:
        pytest.skip("this user may not make namespaces")


@contextmanager
def machines(folder: Path, names: Sequence[str]) -> Iterator[dict[str, Machine]]:
    """Make a laptop and other machines, connected by a network of their own; all end with the block.

    Args:
        folder: holds their home folders, and `shared`, which every machine sees as /mnt.
        names: of the machines besides the laptop.
    """
    made: dict[str, Machine] = {}
    (folder / "shared").mkdir(parents=True, exist_ok=True)
    try:
        addresses = {name: f"{NETWORK}.{n}" for n, name in enumerate(("laptop", *names), start=1)}
        for name in addresses:
            made[name] = _machine(folder, name, addresses)
        _connect(list(made.values()))
        yield made
    finally:
        for machine in made.values():
            os.kill(machine.pid, signal.SIGKILL)  # the first process: all others of its namespace end with it


def _machine(folder: Path, name: str, addresses: Mapping[str, str]) -> Machine:
    home, shared, mark = folder / name, folder / "shared", f".{name}-{STARTED}"
    home.mkdir()
    hosts = " ".join(f"{other}={ip}" for other, ip in addresses.items())
    outer = subprocess.Popen(
        ["unshare", "--net", "--uts", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child",
         "bash", "-c", INSIDE, "machine", str(home), str(shared), mark, name, hosts],
        stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    end = time.monotonic() + 30
    while not (shared / mark).exists():
        assert outer.poll() is None, f"machine {name} ended with {outer.returncode}"
        assert time.monotonic() < end, f"machine {name} does not start"
        time.sleep(0.02)
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
    return Machine(name, addresses[name], int(children[0]), home)


def _connect(group: Sequence[Machine]) -> None:
    """A bridge in the first machine, and a cable from each other one to it."""
    laptop, *others = group
    laptop.run("ip", "link", "add", "br0", "type", "bridge")
    laptop.run("ip", "addr", "add", f"{laptop.ip}/24", "dev", "br0")
    laptop.run("ip", "link", "set", "br0", "up")
    for machine in others:
        plug = f"to-{machine.name}"[:15]
        subprocess.run(  # in the laptop's network, but with our process ids
            ["nsenter", "-t", str(laptop.pid), "-n",
             "ip", "link", "add", plug, "type", "veth", "peer", "name", "eth0", "netns", str(machine.pid)],
            check=True,
        )  # fmt: skip
        laptop.run("ip", "link", "set", plug, "master", "br0", "up")
        machine.run("ip", "addr", "add", f"{machine.ip}/24", "dev", "eth0")
        machine.run("ip", "link", "set", "eth0", "up")
        machine.run("ip", "route", "add", "default", "via", laptop.ip)  # leads nowhere, but Ray asks for it


def allow_ssh(group: Mapping[str, Machine]) -> None:
    """Give each machine the same key, an SSH server that accepts only it, and everybody's address."""
    first = next(iter(group.values()))
    first.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{HOME}/.ssh/id_ed25519")
    for machine in group.values():
        folder = machine.home / ".ssh"
        if machine is not first:
            for name in ("id_ed25519", "id_ed25519.pub"):
                shutil.copy(first.home / ".ssh" / name, folder / name)
        shutil.copy(folder / "id_ed25519.pub", folder / "authorized_keys")
        machine.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{HOME}/.ssh/host")
        machine.run(
            "/usr/sbin/sshd", "-f", "/dev/null", "-h", f"{HOME}/.ssh/host", "-o", f"ListenAddress={machine.ip}",
            "-o", "PasswordAuthentication=no", "-o", "StrictModes=no", "-o", "PermitRootLogin=prohibit-password",
            "-o", "PidFile=/run/sshd.pid",
        )  # fmt: skip


def listening(machine: Machine) -> set[tuple[str, int]]:
    """Address and port of every TCP socket that listens on a machine."""
    lines = machine.run("ss", "-Hltn").stdout.splitlines()
    local = [line.split()[3] for line in lines]
    return {(address.rpartition(":")[0], int(address.rpartition(":")[2])) for address in local}
