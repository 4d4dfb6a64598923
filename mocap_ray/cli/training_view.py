"""Terminal output of a training: a progress line, then a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from mocap_ray.cli.screen import say, typed
from mocap_ray.cli.tables import show, simple_table
from mocap_ray.cli.view import View, cluster_name, work_columns
from mocap_ray.distributed.cluster import Cluster
from mocap_ray.wording import counted, duration, listed, number, percent

if TYPE_CHECKING:
    # torch takes seconds to import, and extraction does not need it.
    from mocap_ray.distributed.resources import Share
    from mocap_ray.training.callbacks import EpochReport, Progress, TrainStart
    from mocap_ray.training.task import TaskWords


class TrainView(View):
    """Shows a training: a progress line on a terminal, a line per epoch (at most six per minute) in a log."""

    def __init__(self, console: Console, words: TaskWords) -> None:
        super().__init__(console, *work_columns())
        self.words = words
        self.task = self.bar.add_task("starting Ray", total=None, figures="")
        self.where, self.first = "", True
        self.logged = -math.inf  # so that the first epoch is shown immediately

    def on_cluster(self, cluster: Cluster, part: Share) -> None:
        """Show the resources."""
        device = f"{part.gpus:g} GPU" if part.gpus else f"{part.cpus:g} CPU"
        self.where = f"{part.workers} x {device}, {cluster_name(cluster)}"
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
        if "loss_std" in report.val:
            val += f" (std of folds {report.val['loss_std']:.4f})"
        text = (
            f"epoch {report.epoch} of {report.epochs}: loss {report.train['loss']:.4f}{val}, "
            f"best {report.best_loss:.4f} (epoch {report.best_epoch}), "
            f"{report.samples_per_s:,.0f} {self.words.rows}/s"
        )
        self.bar.update(self.task, completed=report.epoch, figures=text)
        self.log(f"{text}, ETA {_clock(report.eta_s)}", always=report.epoch == report.epochs)


def print_training(console: Console, summary: Mapping[str, Any], root: str, words: TaskWords) -> None:
    """Print the table of a finished training, and the next commands."""
    if "each" in summary:
        print_folds(console, summary, root, words)
        return
    rows = training_rows(summary, words)
    if "degenerate" in summary:
        from mocap_ray.priors.degeneracy import grouped

        rows += [
            (f"left out, {why}", _shortened(what)) for why, what in grouped(summary["degenerate"]).items()
        ]
    show(console, simple_table("training", ["", ""], rows))
    commands = [typed("mocap-ray", command, root) for command in words.commands]
    commands += tensorboard_command(f"{root}/tensorboard")
    say(console, f"\n{root} contains the {words.result}.{' Next:' if commands else ''}")
    for command in commands:
        say(console, f"  {command}")


def print_folds(console: Console, summary: Mapping[str, Any], root: str, words: TaskWords) -> None:
    """Print the figures of each fold in the epoch with the best mean, their mean and spread, and the next commands."""
    each, unit = summary["each"], f", {words.loss_unit}" if words.loss_unit else ""
    heads = ["fold", f"{words.group}s held out", "trained on", "validated on", "val loss"]
    rows = [
        [
            str(own["fold"]),
            _shortened(own["held_out"]),
            counted(own["rows"], words.row),
            counted(own["val_rows"], words.row),
            _loss(own["best_loss"]),
        ]
        for own in each
    ]
    rows += [
        [label, "", "", "", _loss(summary.get(key))]
        for label, key in (("mean", "best_loss"), ("std", "best_loss_std"), ("worst", "best_loss_max"))
    ]
    epochs = f"epoch {summary['best_epoch']} of {summary['epochs']}"
    title = f"{counted(len(each), 'fold')}, {summary['kind']}, {epochs}{unit}"
    show(console, simple_table(title, heads, rows, right=heads[2:]))
    if summary["caveat"]:
        say(console, f"note: {summary['caveat']}", style="yellow")
    say(console, f"ended by training.{summary['reason']}; training time {duration(summary['seconds'])}")
    commands = [typed("mocap-ray", command, f"{root}/folds/0") for command in words.commands[:1]]
    commands += tensorboard_command(f"{root}/folds")
    then = " Next:" if commands else ""
    say(
        console,
        f"\n{root}/folds contains the {words.result} of each fold, {root}/summary.json all figures.{then}",
    )
    for command in commands:
        say(console, f"  {command}")


def _loss(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.4f}"


def tensorboard_command(folder: str) -> list[str]:
    """The command that shows the curves in a folder, if there are any, and it is local."""
    found = "://" not in folder and any(Path(folder).rglob("events.out.tfevents.*"))
    return [typed("tensorboard", "--logdir", folder)] if found else []


def training_rows(summary: Mapping[str, Any], words: TaskWords) -> list[tuple[str, str]]:
    """The figures of summary.json that have a meaning for people, with their units."""
    rows = []
    for key, value in summary.items():
        if key in _HIDDEN or value is None or isinstance(value, bool | Mapping):
            continue
        label, write = _rows(words).get(key, (key.replace("_", " "), _plain))
        rows.append((label, write(value)))
    if found := summary.get("diverged"):
        text = f"diverged: {found['best']:.4g} in epoch {found['best_epoch']}, {found['last']:.4g} at the end"
        rows.append(("validation loss", text))
    return rows


_HIDDEN = ("root", "manifest_hash")


def _rows(words: TaskWords) -> dict[str, tuple[str, Callable[[Any], str]]]:
    """Key of summary.json -> its label, and how its value is written."""

    def loss(value: float) -> str:
        return f"{value:.4f} {words.loss_unit}".rstrip()

    return {
        "kind": ("model", str),
        "active": ("active dimensions", number),
        "rows": ("trained on", lambda n: counted(n, words.row)),
        "val_rows": ("validated on", lambda n: counted(n, words.row)),
        "feed": ("data loading", str),
        "reason": ("ended by", lambda reason: f"training.{reason}"),
        "step": ("steps", number),
        "seconds": ("training time", duration),
        "best_loss": ("best loss", loss),
        "best_bits": ("best loss in bits", "{:.4f}".format),
        "train_loss": ("last training loss", loss),
        "samples_per_s": ("speed", lambda rate: f"{rate:,.0f} {words.rows}/s"),
        "waiting": ("waiting for data", lambda share: f"{percent(share)} of the time"),
    }


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return listed(value, most=5) or "none"
    return (
        f"{value:.4g}"
        if isinstance(value, float)
        else number(value)
        if isinstance(value, int)
        else str(value)
    )


def _shortened(names: list[str]) -> str:
    """The first names, and their number."""
    return ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])}, ... ({len(names)} in total)"


def _clock(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
