"""What a person at a terminal sees of a run: one progress bar, then tables (floor 7)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
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

if TYPE_CHECKING:
    # torch takes seconds to import, which extraction need not wait for.
    from mocap_ray.distributed.search import Outcome as SearchOutcome
    from mocap_ray.distributed.train import Share
    from mocap_ray.training.listener import Beat, EpochReport, Start
    from mocap_ray.training.search import SearchConfig

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


class TrainView:
    """Shows a training: a line that moves on a terminal, a line per epoch (not more than two a minute) in a log."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar = _bar(console)
        self.task = self.bar.add_task("starting Ray", total=None, figures="")
        self.where, self.logged, self.first = "", 0.0, True

    def __enter__(self) -> TrainView:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def cluster(self, cluster: Cluster, part: Share) -> None:
        """Ray is there."""
        device = f"{part.gpus:g} GPU" if part.gpus else f"{part.cpus:g} CPU"
        self.where = f"{part.workers} x {device}, {'own Ray' if cluster.own else f'{cluster.nodes} nodes'}"
        self.bar.update(self.task, description=f"starting {self.where}")

    def started(self, start: Start) -> None:
        """Say how large the model is, and where the training goes on."""
        if self.first:
            self.console.print(f"{start.parameters:,} parameters on {start.device}, {self.where}")
        if start.epoch:
            self.console.print(f"going on after epoch {start.epoch}, step {start.step:,}")
        self.first = False
        self.bar.update(self.task, description=self.where, total=start.epochs, completed=start.epoch)

    def beat(self, beat: Beat) -> None:
        """Move within an epoch."""
        part = beat.done / beat.of if beat.of else 0.0
        text = f"epoch {beat.epoch}, {beat.samples_per_s:,.0f} poses/s"
        self.bar.update(self.task, completed=beat.epoch - 1 + part, figures=text)

    def epoch(self, report: EpochReport) -> None:
        """One epoch more."""
        val = f" val {report.val['loss']:.4f}" if "loss" in report.val else ""
        text = (
            f"epoch {report.epoch} of {report.epochs}: loss {report.train['loss']:.4f}{val}, "
            f"best {report.best_loss:.4f} (epoch {report.best_epoch}), {report.samples_per_s:,.0f} poses/s, "
            f"ETA {_duration(report.eta_s)}"
        )
        self.bar.update(self.task, completed=report.epoch, figures=text)
        now = time.monotonic()
        last = report.epoch == report.epochs
        if not self.console.is_terminal and (last or now - self.logged > LOG_EVERY_S):
            self.logged = now
            self.console.print(text, soft_wrap=True)

    def note(self, text: str) -> None:
        """Print above the line."""
        self.console.print(f"[yellow]note:[/] {text}", soft_wrap=True)


class SearchView:
    """Shows a search: how many trials ended, and the best so far."""

    def __init__(self, console: Console, config: SearchConfig) -> None:
        self.console, self.config = console, config
        self.bar = _bar(console)
        self.task = self.bar.add_task("starting Ray", total=None, figures="")
        self.best, self.best_trial, self.epochs, self.logged = math.nan, 0, 0, time.monotonic()
        self.seen: set[int] = set()
        self.ended: set[int] = set()

    def __enter__(self) -> SearchView:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def cluster(self, cluster: Cluster, part: Share, concurrency: int, trials: int) -> None:
        """Ray is there."""
        where = "own Ray" if cluster.own else f"{cluster.nodes} nodes"
        text = f"{trials} trials, {concurrency} at once, {part.workers} workers each, {where}"
        self.console.print(text)
        self.bar.update(self.task, description="trials", total=trials)

    def trial(self, number: int, event: str, value: Any) -> None:
        """Count, and say what failed."""
        self.seen.add(number)
        if event == "failed":
            self.console.print(f"[red]trial {number:03d} failed:[/] {escape(str(value))}", soft_wrap=True)
        if event in ("failed", "finished"):
            self.ended.add(number)
        elif (score := value.get(self.config.metric)) is not None:
            self.epochs += 1
            worse = score > self.best if self.config.mode == "min" else score < self.best
            if math.isnan(self.best) or not worse:
                self.best, self.best_trial = score, number
        text = (
            f"{len(self.seen)} begun, {self.epochs} epochs, best {self.config.metric} {self.best:.5g} "
            f"(trial {self.best_trial:03d})"
        )
        self.bar.update(self.task, completed=len(self.ended), figures=text)
        now = time.monotonic()
        if not self.console.is_terminal and now - self.logged > LOG_EVERY_S:
            self.logged = now
            self.console.print(f"{len(self.ended)} trials ran to their end, {text}")


def print_training(console: Console, summary: dict[str, Any], root: str) -> None:
    """The table of a finished training, and what to type next."""
    left_out = ("root", "manifest_hash")
    shown = {k: v for k, v in summary.items() if _is_plain(v) and k not in left_out}
    rows = [(key.replace("_", " "), _plain(value)) for key, value in shown.items()]
    console.print(simple_table("training", ["", ""], rows))
    console.print(f"\n[bold]{root}[/] holds the prior. Judge it, or draw from it:", soft_wrap=True)
    console.print(f"  mocap-ray evaluate {root}\n  mocap-ray sample {root}", soft_wrap=True)


def print_search(console: Console, outcome: SearchOutcome, config: SearchConfig, *, most: int = 20) -> None:
    """The table of a finished search, best first, and what to type next."""
    from mocap_ray.training.results import heads, table

    keys = list(config.space)
    rows = table(outcome.trials, keys, config.metric, config.mode)
    short = [key.rpartition(".")[2] for key in keys]
    names = heads(short if len(set(short)) == len(short) else keys, config.metric)
    texts = [[escape(cell) for cell in row] for row in rows]
    # Errors were told when they happened; the page and trials.csv have them too.
    console.print(simple_table("trials, best first", names[:-1], [row[:-1] for row in texts[:most]]))
    if len(rows) > most:
        console.print(f"and {len(rows) - most} more in {outcome.out}/trials.csv")
    states = [trial.state for trial in outcome.trials]
    counts = ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(states))
    console.print(f"{len(states)} trials: {counts}; {outcome.run_s:.0f} s")
    console.print(
        f"\n[bold]{outcome.out}/page.html[/] shows them; [bold]{outcome.out}/best[/] is the best prior:",
        soft_wrap=True,
    )
    console.print(f"  mocap-ray evaluate {outcome.out}/best", soft_wrap=True)


def _bar(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[figures]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _plain(value: Any) -> str:
    return (
        f"{value:.6g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    )


def simple_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table of texts."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
