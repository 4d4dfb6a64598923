"""Notice the death of our own Ray: without this, Ray ends the driver some seconds later without a word."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import ray

POLL_S = 0.2
"""Seconds between two looks at the process."""
SIGNAL = signal.SIGUSR1
DIED = (
    "Ray on this machine has died: its main process (raylet) was killed, for example because the machine ran out "
    "of memory"
)


class RayDied(KeyboardInterrupt):
    """The main process of our own Ray (the raylet) ended: the run ends like one that is stopped, with exit code 1.

    It is no Exception, so that no library in between takes it for an error of its own.
    """

    exit_code = 1


@contextmanager
def watched(raylet: subprocess.Popen[bytes] | None) -> Iterator[None]:
    """Raise `RayDied` in the main thread if a raylet ends within the block; does nothing in another thread."""
    if raylet is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    left = threading.Event()
    before = signal.signal(SIGNAL, _raise)
    thread = threading.Thread(target=_watch, args=(raylet, left), name="raylet-watch", daemon=True)
    thread.start()
    try:
        yield
    except Exception as error:
        if raylet.poll() is not None:  # what follows from its death may come before the signal
            raise RayDied(DIED) from error
        raise
    finally:
        left.set()
        signal.signal(SIGNAL, before)
    if raylet.poll() is not None:  # Tune takes the interrupt for the wish to end the search
        raise RayDied(DIED)


def died() -> bool:
    """Whether the raylet that this process started has ended."""
    raylet = own_raylet()
    return raylet is not None and raylet.poll() is not None


def own_raylet() -> subprocess.Popen[bytes] | None:
    """The raylet that this process started, or None."""
    node = ray._private.worker._global_node  # there is no public API for it
    started = node.all_processes.get("raylet") if node is not None else None
    return started[0].process if started else None


def _raise(number: int, frame: FrameType | None) -> None:
    raise RayDied(DIED)


def _watch(raylet: subprocess.Popen[bytes], left: threading.Event) -> None:
    """End the run when the raylet ends, unless the block is left before."""
    while not left.wait(POLL_S):
        if raylet.poll() is not None:
            main = threading.main_thread().ident
            assert main is not None, "a running process has a main thread"
            signal.pthread_kill(main, SIGNAL)
            return
