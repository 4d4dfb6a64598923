"""The progress view that extraction, training and search share: a bar on a terminal, occasional lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TypeVar

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from mocap_ray.cli.screen import say
from mocap_ray.distributed.cluster import Cluster
from mocap_ray.storage import without_secrets
from mocap_ray.wording import counted

LOG_EVERY_S = 10.0
"""Seconds between lines of a log, which replace the bar if there is no terminal."""


V = TypeVar("V", bound="View")


class _Bar(Progress):
    """A progress bar with something above it, such as a table of trials."""

    above: Callable[[], RenderableType] | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        if self.above is not None:
            yield self.above()
        yield from super().get_renderables()


class View:
    """A progress bar for the duration of a `with` block, which stays; lines of a log if there is no terminal."""

    def __init__(self, console: Console, *columns: ProgressColumn) -> None:
        self.console = console
        self.bar = _Bar(*columns, console=console, disable=not console.is_terminal)
        self.logged = time.monotonic()

    def __enter__(self: V) -> V:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.above = None
        for task in self.bar.tasks:
            if task.total is None:
                self.bar.update(task.id, visible=False)  # nothing has started
            elif kind is None:
                # A training that ended early is complete too.
                all_of_it = max(task.completed, 1)
                self.bar.update(task.id, total=all_of_it, completed=all_of_it)
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


def work_columns() -> tuple[ProgressColumn, ...]:
    """The columns of trainings and searches: percentage, figures, time left (at the end: time taken)."""
    return (
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TextColumn("{task.fields[figures]}", markup=False),
        TimeRemainingColumn(elapsed_when_finished=True),
    )


def cluster_name(cluster: Cluster) -> str:
    """A cluster in a few words."""
    return "local Ray" if cluster.own else counted(cluster.nodes, "node")
