"""Ctrl-C and SIGTERM: a run that is stopped says so, and how it goes on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as shells count."""
TERMINATED = 143
"""Exit code after SIGTERM, which Slurm, Kubernetes and `ray job stop` send."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, as an exception: it ends a run the way Ctrl-C does."""

    exit_code = TERMINATED


class SigtermHandler:
    """Raises `Terminated`, and remembers it: within a call of Ray, a plain KeyboardInterrupt takes its place."""

    received = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGTERM."""
        self.received = True
        raise Terminated


def _sigterm_received() -> bool:
    handler = signal.getsignal(signal.SIGTERM)
    return isinstance(handler, SigtermHandler) and handler.received


def raise_on_sigterm() -> None:
    """Make SIGTERM raise `Terminated` in the main thread."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, SigtermHandler())


def exit_code(error: BaseException) -> int:
    """Of a run that was stopped by this."""
    return int(getattr(error, "exit_code", TERMINATED if _sigterm_received() else STOPPED))


@contextmanager
def stoppable(kept: str) -> Iterator[None]:
    """Turn Ctrl-C, SIGTERM and the death of Ray within the block into a sentence and an exit code.

    Args:
        kept: a sentence on what is kept, and how to go on.
    """
    import typer

    from mocap_ray.cli.screen import print_error

    try:
        yield
    except KeyboardInterrupt as error:
        how = str(error) or ("stopped by SIGTERM" if exit_code(error) == TERMINATED else "stopped")
        print_error(f"{how}. {kept}")
        raise typer.Exit(exit_code(error)) from None
