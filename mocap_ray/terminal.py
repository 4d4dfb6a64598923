"""What a person at a terminal sees of a run: one progress bar, then tables (floor 7)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from mocap_ray.dataset.build import Build
from mocap_ray.distributed.cluster import Cluster
from mocap_ray.distributed.extract import Outcome
from mocap_ray.distributed.tasks import Report

LOG_EVERY_S = 30.0
"""Where there is no terminal: a line so often instead of a bar."""


class ExtractView:
    """Shows an extraction: a bar on a terminal, now and then a line in a log."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task: TaskID | None = None
        self.total = self.recordings = self.frames = self.rejected = 0
        self.since = self.logged = time.monotonic()

    def __enter__(self) -> ExtractView:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def prepared(self, build: Build) -> None:
        """Say what is to be done."""
        todo = build.todo
        self.total = sum(len(g.recordings) for g in todo)
        size = sum(g.size for g in todo) / 1e9
        parts = [f"{self.total:,} recordings ({size:.2f} GB) in {len(todo)} shards to make"]
        if build.done:
            parts.append(f"{len(build.done)} shards finished already")
        if build.superseded:
            parts.append(f"{len(build.superseded)} superseded files to remove")
        self.console.print("; ".join(parts))
        if any(m["standin"] for m in build.recipe["body"]["models"].values()):
            self.console.print(
                "[yellow]The body is a licence-free stand-in:[/] fine for trials, not for research."
            )
        if self.total:
            self.task = self.bar.add_task("starting Ray", total=self.total, figures="")

    def started(self, cluster: Cluster) -> None:
        """Ray is there: time counts from now."""
        self.since = self.logged = time.monotonic()
        where = "own Ray" if cluster.own else f"{cluster.nodes} nodes"
        if self.task is not None:
            self.bar.update(self.task, description=f"{cluster.workers} workers, {where}")

    def shard(self, report: Report) -> None:
        """Count a shard."""
        self.recordings += report.recordings
        self.frames += report.frames
        self.rejected += report.rejected
        now = time.monotonic()
        figures = (
            f"{self.frames:,} frames, {self.frames / (now - self.since):,.0f}/s, {self.rejected} rejected"
        )
        if self.task is not None:
            self.bar.update(self.task, completed=self.recordings, figures=figures)
        if not self.console.is_terminal and now - self.logged > LOG_EVERY_S:
            self.logged = now
            self.console.print(f"{self.recordings:,} of {self.total:,} recordings, {figures}")

    def note(self, text: str) -> None:
        """Print above the bar."""
        self.console.print(f"[yellow]note:[/] {text}")


def print_outcome(console: Console, outcome: Outcome) -> None:
    """The summary of a run: a table per dataset and split, rejections by reason, and what to type next."""
    totals = outcome.manifest["totals"]
    console.print(counts_table(outcome.manifest))
    if totals["other_gender_body"]:
        console.print(
            f"[yellow]{totals['other_gender_body']} recordings[/] used a body of another gender than their own, "
            "which is missing; `mocap-ray body check` shows where to get it."
        )
    speed = (
        f"{outcome.frames / outcome.work_s:,.0f} frames/s with {outcome.workers} workers"
        if outcome.frames
        else ""
    )
    made = f"{outcome.made} shards made, {outcome.kept} kept, {outcome.removed} superseded files removed"
    console.print("; ".join(t for t in (made, speed, f"{outcome.run_s:.1f} s in all") if t))
    console.print(
        f"\n[bold]{outcome.out}[/] is complete. Look at it:\n  mocap-ray page {outcome.out}", soft_wrap=True
    )
    console.print(f"  python -c \"import mocap_ray; print(mocap_ray.open('{outcome.out}'))\"", soft_wrap=True)


def counts_table(manifest: dict[str, Any]) -> Table:
    """Recordings, clips, hours and rejections of each dataset and split."""
    table = Table(title="clips by dataset and split", title_justify="left")
    for name in ("dataset", "split"):
        table.add_column(name)
    for name in ("recordings", "clips", "frames", "hours"):
        table.add_column(name, justify="right")
    table.add_column("rejected")
    for row in manifest["counts"]:
        table.add_row(row["dataset"], row["split"], *_figures(row))
    table.add_section()
    table.add_row("all", "", *_figures(manifest["totals"]), style="bold")
    return table


def _figures(row: dict[str, Any]) -> Sequence[str]:
    rejected = ", ".join(f"{n} {reason}" for reason, n in row["rejected"].items())
    return (
        f"{row['recordings']:,}",
        f"{row['clips']:,}",
        f"{row['frames']:,}",
        f"{row['seconds'] / 3600:.3f}",
        rejected or "0",
    )


def simple_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table of texts."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
