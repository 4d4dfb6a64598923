"""Progress of long computations: a bar with percentage and time left, or plain lines if there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from mocap_ray.cli.screen import say
from mocap_ray.wording import duration, percent

Update = Callable[[float, str], None]
"""Takes the share of the work that is done, 0 to 1, and what runs now."""
TENTH, EVERY_S, SOONEST_S = 0.1, 10.0, 2.0
"""A log gets a line after another tenth of the work or after this many seconds, but not sooner than these."""


class Lines:
    """Chooses when a log gets its next line of progress: at most about a hundred in all, none in a short run."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.start = self.last = clock()
        self.share = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self.clock() - self.start

    def due(self, share: float) -> bool:
        """Whether to write a line now; if so, the next one has to wait."""
        more, since = share - self.share, self.clock() - self.last
        if since < SOONEST_S or not (more >= TENTH or (more >= TENTH / 10 and since >= EVERY_S)):
            return False
        self.share, self.last = share, self.clock()
        return True

    def left(self, share: float) -> float:
        """Seconds left, if the rest is as fast as the part that is done."""
        return self.elapsed * (1 - share) / share


@contextmanager
def progress_bar(screen: Console, what: str) -> Iterator[Update]:
    """Show the progress of the block; the finished line stays on the screen.

    Args:
        screen: without a terminal, it gets a plain line from time to time.
        what: what runs, such as `evaluating`.
    """
    if not screen.is_terminal:
        yield from _plain(screen, what)
        return
    with Progress(
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[now]}", markup=False),
        console=screen,
    ) as bar:
        task = bar.add_task(what, total=1.0, now="")
        yield lambda share, now: bar.update(task, completed=min(share, 1.0), now=now)
        bar.update(task, completed=1.0, now="")


def _plain(screen: Console, what: str) -> Iterator[Update]:
    lines = Lines()

    def update(share: float, now: str) -> None:
        if share < 1.0 and lines.due(share):
            left = duration(lines.left(share))
            say(screen, f"{what}: {percent(share)} done, {left} left{f', {now}' if now else ''}")

    yield update
    if lines.last > lines.start:
        say(screen, f"{what}: done in {duration(lines.elapsed)}")


@contextmanager
def counting_bar(screen: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """Like `progress_bar`, for things that are counted: updated with (done, total)."""
    with progress_bar(screen, what) as update:
        yield lambda done, total: update(done / max(total, 1), f"{done:,} of {total:,}")
