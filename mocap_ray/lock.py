"""One run at a time on a local data set, by a lock that the kernel releases when its process dies."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mocap_ray.storage import Place


class Locked(RuntimeError):
    """Another run holds the lock of the data set."""


@contextmanager
def lock(out: Place, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold `<root>/.lock` while a run writes; does nothing on an object store.

    The lock is a kernel lock (flock), so a killed run does not leave it behind; the file says who holds it. On
    an object store, two runs of one recipe write the same bytes under the same names: work is repeated, but
    nothing breaks.

    Args:
        out: root of the data set.
        wait_s: seconds to wait for another run to release the lock.

    Raises:
        Locked: another run holds it; the message has its host and pid.
    """
    root = out.local
    if root is None:
        yield
        return
    root.mkdir(parents=True, exist_ok=True)
    name = root / ".lock"
    with name.open("a+") as f:
        try:
            _take(f.fileno(), wait_s)
        except OSError as error:
            f.seek(0)
            try:
                holder = json.loads(f.read())
                who = f"pid {holder['pid']} on {holder['host']}"
            except (ValueError, KeyError):
                who = "another process"
            raise Locked(
                f"{root}: {who} is writing this data set. Wait for it, stop it, or choose another output.root."
            ) from error
        f.seek(0)
        f.truncate()
        f.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
        f.flush()
        try:
            yield
        finally:
            if list(root.iterdir()) == [name]:
                # The run did not start: leave no trace of a mistyped output.
                name.unlink()
                root.rmdir()


def _take(descriptor: int, wait_s: float) -> None:
    """Take the lock. Raises OSError if another process still holds it after `wait_s`."""
    until = time.monotonic() + wait_s
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= until:
                raise
        time.sleep(0.05)
