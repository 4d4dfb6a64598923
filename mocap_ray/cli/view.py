"""The progress view that extraction, training and search share: a bar on a terminal, occasional lines in a log."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress, ProgressColumn

from mocap_ray.cli.screen import say
from mocap_ray.storage import without_secrets

LOG_EVERY_S = 30.0
"""Seconds between lines of a log, which replace the bar if there is no terminal."""


V = TypeVar("V", bound="View")


class View:
    """A progress bar for the duration of a `with` block; lines of a log if there is no terminal."""

    def __init__(self, console: Console, *columns: ProgressColumn) -> None:
        self.console = console
        self.bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.logged = time.monotonic()

    def __enter__(self: V) -> V:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def log(self, text: str, *, always: bool = False) -> None:
        """Print a line to a log, unless the last one was printed recently; does nothing on a terminal, with its bar."""
        now = time.monotonic()
        if not self.console.is_terminal and (always or now - self.logged > LOG_EVERY_S):
            self.logged = now
            say(self.console, text)

    def on_note(self, text: str) -> None:
        """Print a note above the bar."""
        say(self.console, f"note: {without_secrets(text)}", style="yellow")
