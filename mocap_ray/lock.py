"""One run at a time in a local folder, by a lock that the kernel releases when its process dies."""

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
    """Another run holds the lock of the folder."""


@contextmanager
def lock(out: Place, *, what: str, wait_s: float = 0.0, instead: str = "output.root") -> Iterator[None]:
    """Hold `<root>/.lock` while a run writes; does nothing on an object store.

    The lock is a kernel lock (flock), so a killed run does not leave it behind; the file says who holds it. On
    an object store, two runs of one recipe write the same bytes under the same names: work is repeated, but
    nothing breaks.

    Args:
        out: the folder that the run writes.
        what: what the folder holds, for the message: `data set`, `training` or `search`.
        wait_s: seconds to wait for another run to release the lock.
        instead: the setting that names another folder, for the message.

    Raises:
        Locked: another run holds it; the message has its host and pid.
        OSError: the folder cannot be written, or its file system has no locks.
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
        except BlockingIOError as error:
            f.seek(0)
            who = _holder(f.read())
            raise Locked(
                f"{root}: {who} is writing this {what}. Wait for it, stop it, or choose another {instead}."
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


def _holder(text: str) -> str:
    """Who wrote the text of a lock file."""
    try:
        found = json.loads(text)
        return f"pid {int(found['pid'])} on {found['host']!s:.100}"
    except (ValueError, KeyError, TypeError, RecursionError):  # killed before it was written
        return "another process"


def _take(descriptor: int, wait_s: float) -> None:
    """Take the lock. Raises BlockingIOError if another process still holds it after `wait_s`."""
    until = time.monotonic() + wait_s
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
        time.sleep(0.05)
