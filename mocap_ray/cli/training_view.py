"""Terminal output of trainings and searches: a progress line, then a table."""

from __future__ import annotations

import math
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, TextColumn, TimeElapsedColumn

from mocap_ray.cli.screen import say, typed
from mocap_ray.cli.tables import show, simple_table
from mocap_ray.cli.view import View
from mocap_ray.distributed.cluster import Cluster
from mocap_ray.wording import counted

if TYPE_CHECKING:
    # torch takes seconds to import, and extraction does not need it.
    from mocap_ray.distributed.resources import Share
    from mocap_ray.distributed.search import SearchResult
    from mocap_ray.runs.search import SearchConfig
    from mocap_ray.training.callbacks import EpochReport, Progress, TrainStart
    from mocap_ray.training.task import TaskWords

LONGEST = 300
"""Longest error message of a trial, in characters; the page and trials.csv have the full message."""


class TrainView(View):
    """Shows a training: a progress line on a terminal, a line per epoch (at most two per minute) in a log."""

    def __init__(self, console: Console, words: TaskWords) -> None:
        super().__init__(console, *_columns())
        self.words = words
        self.task = self.bar.add_task("starting Ray", total=None, figures="")
        self.where, self.first = "", True
        self.logged = -math.inf  # so that the first epoch is shown immediately

    def on_cluster(self, cluster: Cluster, part: Share) -> None:
        """Show the resources."""
        device = f"{part.gpus:g} GPU" if part.gpus else f"{part.cpus:g} CPU"
        self.where = f"{part.workers} x {device}, {_cluster(cluster)}"
        self.bar.update(self.task, description=f"starting {self.where}")

    def on_start(self, start: TrainStart) -> None:
        """Show the number of parameters, and where the training resumes."""
        if self.first:
            say(self.console, f"{counted(start.parameters, 'parameter')} on {start.device}, {self.where}")
        if start.epoch:
            say(self.console, f"resuming after epoch {start.epoch}, step {start.step:,}")
        self.first = False
        self.bar.update(self.task, description=self.where, total=start.epochs, completed=start.epoch)

    def on_progress(self, progress: Progress) -> None:
        """Update within an epoch."""
        part = progress.done / progress.of if progress.of else 0.0
        text = f"epoch {progress.epoch}, {progress.samples_per_s:,.0f} {self.words.rows}/s"
        self.bar.update(self.task, completed=progress.epoch - 1 + part, figures=text)

    def on_epoch_saved(self, report: EpochReport) -> None:
        """Show the metrics of an epoch."""
        val = f" val {report.val['loss']:.4f}" if "loss" in report.val else ""
        text = (
            f"epoch {report.epoch} of {report.epochs}: loss {report.train['loss']:.4f}{val}, "
            f"best {report.best_loss:.4f} (epoch {report.best_epoch}), "
            f"{report.samples_per_s:,.0f} {self.words.rows}/s, ETA {_duration(report.eta_s)}"
        )
        self.bar.update(self.task, completed=report.epoch, figures=text)
        self.log(text, always=report.epoch == report.epochs)


class SearchView(View):
    """Shows a search: the number of finished trials, and the best so far."""

    def __init__(self, console: Console, config: SearchConfig) -> None:
        super().__init__(console, *_columns())
        self.config = config
        self.task = self.bar.add_task("starting Ray", total=None, figures="")
        self.best, self.best_trial, self.epochs = math.nan, 0, 0
        self.total = self.concurrency = 0
        self.seen: set[int] = set()
        self.ended: set[int] = set()

    def on_cluster(self, cluster: Cluster, part: Share, concurrency: int, trials: int) -> None:
        """Show the resources."""
        each = f"{counted(part.workers, 'worker')} each"
        say(
            self.console,
            f"{counted(trials, 'trial')}, {concurrency} at a time, {each}, {_cluster(cluster)}",
        )
        self.total, self.concurrency = trials, concurrency
        self.bar.update(self.task, description="trials", total=trials)

    def on_trial(self, number: int, event: str, value: Any) -> None:
        """Count the trials, and show errors."""
        self.seen.add(number)
        if event == "failed":
            # A bug has its traceback below the first line, and that is shown whole.
            first, newline, trace = str(value).partition("\n")
            short = shorten(first, LONGEST, placeholder=" ... (more on the page)")
            say(self.console, f"trial {number:03d} failed: {short}{newline}{trace}", style="red")
        if event == "cloned":
            say(self.console, f"trial {number:03d} {value}")
            return
        if event in ("failed", "finished"):
            self.ended.add(number)
        elif (score := value.get(self.config.metric)) is not None:
            self.epochs += 1
            worse = score > self.best if self.config.mode == "min" else score < self.best
            if math.isnan(self.best) or not worse:
                self.best, self.best_trial = score, number
        # There is no event when the scheduler stops a trial; but a new trial only starts when another one has ended.
        over = max(len(self.ended), len(self.seen) - self.concurrency)
        text = counted(self.epochs, "epoch")
        if not math.isnan(self.best):
            text += f", best {self.config.metric} {self.best:.5g} (trial {self.best_trial:03d})"
        self.bar.update(self.task, completed=over, figures=text)
        self.log(f"{over} of {counted(self.total, 'trial')} ended, {text}")


def print_training(console: Console, summary: dict[str, Any], root: str, words: TaskWords) -> None:
    """Print the table of a finished training, and the next commands."""
    left_out = ("root", "manifest_hash")
    shown = {k: v for k, v in summary.items() if _is_plain(v) and k not in left_out}
    rows = [(key.replace("_", " "), _plain(value)) for key, value in shown.items()]
    if "degenerate" in summary:
        from mocap_ray.priors.degeneracy import grouped

        rows += [
            (f"left out, {why}", _shortened(what)) for why, what in grouped(summary["degenerate"]).items()
        ]
    show(console, simple_table("training", ["", ""], rows))
    if "evaluate" in words.commands and "sample" in words.commands:
        say(console, f"\n{root} contains the {words.result}. Evaluate it, or draw samples:")
    else:
        say(console, f"\n{root} contains the {words.result}.")
    for command in words.commands:
        say(console, f"  {typed('mocap-ray', command, root)}")


def print_search(console: Console, outcome: SearchResult, config: SearchConfig, *, most: int = 20) -> None:
    """Print the table of a finished search, best first, and the next command."""
    from mocap_ray.searching.results import cloned, heads, short_names, table

    keys = list(config.space)
    rows = table(outcome.trials, keys, config.metric, config.mode)
    names = heads(short_names(keys), config.metric, lineage=cloned(outcome.trials))
    # Without the errors, which were shown when they occurred; the page and trials.csv have them too.
    show(console, simple_table("trials, best first", names[:-1], [row[:-1] for row in rows[:most]]))
    if len(rows) > most:
        say(console, f"and {len(rows) - most} more in {outcome.out}/trials.csv")
    states = [trial.state for trial in outcome.trials]
    counts = ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(states))
    say(console, f"{counted(len(states), 'trial')}: {counts}; {outcome.run_s:.0f} s")
    words = outcome.words
    end = ":" if words.commands else "."
    say(
        console,
        f"\n{outcome.out}/page.html shows the trials; {outcome.out}/best is the best {words.result}{end}",
    )
    for command in words.commands[:1]:
        say(console, f"  {typed('mocap-ray', command, f'{outcome.out}/best')}")


def _cluster(cluster: Cluster) -> str:
    return "local Ray" if cluster.own else counted(cluster.nodes, "node")


def _columns() -> tuple[ProgressColumn, ...]:
    return (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[figures]}"),
        TimeElapsedColumn(),
    )


def _shortened(names: list[str]) -> str:
    """The first names, and their number."""
    return ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])}, ... ({len(names)} in total)"


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
