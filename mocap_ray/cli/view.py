"""What extraction, training and search share on the screen: a bar on a terminal, now and then a line in a log."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress, ProgressColumn

from mocap_ray.cli.screen import say
from mocap_ray.storage import without_secrets

LOG_EVERY_S = 30.0
"""Where there is no terminal: a line so often instead of a bar."""


V = TypeVar("V", bound="View")


class View:
    """A bar that stands for the time of a `with` block; lines of a log where there is no terminal."""

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
        """A line for a log, unless one came a short while ago; nothing on a terminal, where the bar says it."""
        now = time.monotonic()
        if not self.console.is_terminal and (always or now - self.logged > LOG_EVERY_S):
            self.logged = now
            say(self.console, text)

    def on_note(self, text: str) -> None:
        """Print above the bar."""
        say(self.console, f"note: {without_secrets(text)}", style="yellow")
