"""Progress and result of an extraction: a progress bar on a terminal, occasional lines in a log."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from mocap_ray.cli.screen import say, typed
from mocap_ray.cli.tables import show, simple_table
from mocap_ray.cli.view import View
from mocap_ray.dataset.remarks import remarks
from mocap_ray.dataset.single.instances import OPTIONAL_PARTS
from mocap_ray.dataset.single.schema import PRODUCT
from mocap_ray.dataset.views import REFLOW
from mocap_ray.shards.reports import ShardReport
from mocap_ray.shards.running import AnyBuild, Engine, RunResult
from mocap_ray.wording import byte_size, counted, duration, percent, short_count


class ExtractView(View):
    """Shows the progress of an extraction: a progress bar on a terminal, occasional lines in a log."""

    def __init__(self, console: Console) -> None:
        super().__init__(
            console,
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description}", markup=False),
            # A narrow terminal has no room for both; the percentage says more than a short bar.
            *([BarColumn(bar_width=min(40, console.width - 82))] if console.width >= 92 else []),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        self.task: TaskID | None = None
        self.total = self.recordings = self.rejected = 0
        self.frames: int | float = 0
        self.input, self.amount = "recording", "frames"
        self.since = time.monotonic()

    def on_prepared(self, build: AnyBuild) -> None:
        """Print what will be made."""
        todo, layout = build.todo, build.product.layout
        self.input, self.amount = layout.words.input, "".join(layout.sums.AMOUNTS[:1])
        self.total = sum(len(s.inputs) for s in todo)
        size = byte_size(sum(s.size for s in todo))
        parts = [f"{counted(self.total, self.input)} ({size}) in {counted(len(todo), 'shard')} to make"]
        if not todo:
            parts = ["nothing to make"]
        if build.done:
            parts.append(f"{counted(len(build.done), 'shard')} already finished")
        if build.superseded:
            parts.append(f"{counted(len(build.superseded), 'superseded file')} to remove")
        say(self.console, "; ".join(parts))
        for note in build.notes:
            self.on_note(note)
        if any(m["standin"] for m in build.recipe.source.settings.get("models", {}).values()):
            text = "The body is a licence-free stand-in: fine for trials, not for research."
            say(self.console, text, style="yellow")
        if self.total:
            self.task = self.bar.add_task("starting Ray", total=self.total, figures="")

    def on_start(self, engine: Engine) -> None:
        """Start measuring the speed, now that Ray has started."""
        self.since = self.logged = time.monotonic()
        if engine.joined:
            say(self.console, f"joined {engine.joined}; {counted(engine.workers, 'worker')}")
        if self.task is not None:
            self.bar.update(self.task, description=counted(engine.workers, "worker"))

    def on_shard(self, report: ShardReport) -> None:
        """Count a shard."""
        self.recordings += report.inputs
        self.frames += report.amount
        self.rejected += report.rejected
        speed = self.frames / max(time.monotonic() - self.since, 1e-3)
        figures = (
            f"{short_count(self.frames)} {self.amount}, {short_count(speed)}/s, {self.rejected:,} rejected"
        )
        if self.task is not None:
            self.bar.update(self.task, completed=self.recordings, figures=figures)
        share = self.recordings / max(self.total, 1)
        left = (time.monotonic() - self.since) * (1 - share) / max(share, 1e-9)
        self.log(
            f"{self.recordings:,} of {counted(self.total, self.input)} ({percent(share)}), {figures}, "
            f"{duration(left)} left"
        )


def print_result(out: Console, outcome: RunResult) -> None:
    """Print the summary of a run: a table by dataset and split, the rejections, and the next commands."""
    totals = outcome.manifest["totals"]
    if outcome.manifest.get("product") == REFLOW:
        _print_pairs(out, outcome)
        return
    single = outcome.manifest.get("product") == PRODUCT
    show(out, (pose_counts if single else counts_table)(out, outcome.manifest))
    if totals["rejected"]:
        say(out, f"Each rejection has its reason and a sentence in {outcome.out}/rejected.parquet.")
    found = (
        pose_remarks(outcome.manifest) if single else remarks(totals, outcome.manifest["recipe"]["motion"])
    )
    for text in found:
        say(out, text, style="yellow")
    removed = f"{counted(outcome.removed, 'superseded file')} removed"
    parts = [f"{counted(outcome.made, 'shard')} made, {outcome.kept:,} kept, {removed}"]
    if outcome.amount:
        speed = outcome.amount / max(outcome.work_s, 1e-3)
        parts.append(
            f"{speed:,.0f} {'poses' if single else 'frames'}/s with {counted(outcome.workers, 'worker')}"
        )
    say(out, "; ".join([*parts, f"{outcome.run_s:.1f} s in total"]))
    out.print()
    if single:
        say(out, f"{outcome.out} is complete. To train a prior on it:", style="bold")
        told = (f"data.root={outcome.out}", "output.root=runs/gaussian_prior")
        say(out, f"  {typed('mocap-ray', 'train', 'gaussian_prior', '--override', *told)}")
        return
    say(out, f"{outcome.out} is complete. To look at it:", style="bold")
    say(out, f"  {typed('mocap-ray', 'page', outcome.out)}")
    # A JSON string is a Python string in double quotes, which is safe inside the shell's single quotes.
    code = f"import mocap_ray; print(mocap_ray.open({json.dumps(outcome.out)}))"
    say(out, f"  {typed('python', '-c', code)}")


def _print_pairs(out: Console, outcome: RunResult) -> None:
    """Print the summary of a round of reflow."""
    totals = outcome.manifest["totals"]
    frames, speed = totals["frames"], outcome.amount / max(outcome.work_s, 1e-3)
    say(out, f"{outcome.out}: {counted(totals['pairs'], 'pair')} of {counted(frames, 'frame')} in all")
    if totals["rejected"]:
        say(
            out,
            f"left out: {_rejections(out, totals)}; each has its reason in {outcome.out}/rejected.parquet",
        )
    shards = f"{counted(outcome.made, 'shard')} made, {outcome.kept:,} kept"
    workers = f"{speed:,.0f} frames/s with {counted(outcome.workers, 'worker')}"
    say(out, "; ".join([shards, *[workers] * bool(outcome.amount), f"{outcome.run_s:.1f} s in total"]))
    keys = (
        f"data.pairs={outcome.out}",
        "model.teacher=TEACHER",
        "model.vae=null",
        "output.root=runs/student",
    )
    say(out, "\nTo train a student on them, with the sizes of its teacher:", style="bold")
    say(out, f"  {typed('mocap-ray', 'train', 'motion_flow', '--override', *keys)}")


def counts_table(out: Console, manifest: dict[str, Any]) -> Table:
    """Recordings, clips, hours and rejections of each dataset and split, and of which source if there are several."""
    keys = _keys(manifest)
    rows = [(*(row[key] for key in keys), *_figures(out, row)) for row in _by_source(manifest)]
    columns = (*keys, "recordings", "clips", "frames", "hours", "rejected")
    table = simple_table("clips by dataset and split", columns, rows, right=columns[len(keys) : -1])
    table.add_row(*("-" * len(c) for c in columns))
    table.add_row("all", *[""] * (len(keys) - 1), *_figures(out, manifest["totals"]), style="bold")
    return table


def _keys(manifest: dict[str, Any]) -> list[str]:
    """The keys of a row of counts, with its source if there are several."""
    return ["dataset", "split"] if len(manifest["sources"]) == 1 else ["source", "dataset", "split"]


def _by_source(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of counts, those of a source together."""
    rows: list[dict[str, Any]] = manifest["counts"]
    return sorted(rows, key=lambda row: str(row.get("source", "")))


def pose_remarks(manifest: dict[str, Any]) -> list[str]:
    """What is worth knowing about the splits of single poses."""
    if any(row["poses"] for row in manifest["counts"] if row["split"] == "train"):
        return []
    return [
        "No pose is in the split train: file names say another one, or the hashes of their few subjects do. "
        "To train on all: `--override source.split=none --overwrite`; or assign files with source.split=lists.yaml."
    ]


def pose_counts(out: Console, manifest: dict[str, Any]) -> Table:
    """Files, poses, the parts that they give, and rejections of each dataset and split."""
    figures = ("files", "poses", *OPTIONAL_PARTS)
    keys = _keys(manifest)
    columns = (*keys, *(name.replace("_", " ") for name in figures), "rejected")
    table = simple_table(
        "single poses by dataset and split, and how many give each part",
        columns,
        (),
        right=columns[len(keys) : -1],
    )
    for row in _by_source(manifest):
        table.add_row(*(row[k] for k in keys), *(f"{row[f]:,}" for f in figures), _rejections(out, row))
    table.add_row(*("-" * len(c) for c in columns))
    totals = manifest["totals"]
    blank, counts = [""] * (len(keys) - 1), [f"{totals[f]:,}" for f in figures]
    table.add_row("all", *blank, *counts, _rejections(out, totals), style="bold")
    return table


def _rejections(out: Console, row: dict[str, Any]) -> str:
    rejected = [f"{n} {reason}" for reason, n in row["rejected"].items()]
    return ("\n" if out.is_terminal else ", ").join(rejected) or "0"


def _figures(out: Console, row: dict[str, Any]) -> Sequence[str]:
    return (
        f"{row['recordings']:,}",
        f"{row['clips']:,}",
        f"{row['frames']:,}",
        f"{row['seconds'] / 3600:.3f}",
        _rejections(out, row),
    )
