"""Who hears of a training's progress, and what; `metrics.csv`."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from mocap_ray.storage import Place


@dataclass(frozen=True, slots=True)
class TrainStart:
    """What is about to run.

    Attributes:
        epoch, step: finished before, 0 unless resumed.
        epochs: at most so many in all.
        parameters: trainable numbers.
        device: in words.
        world: processes that share each step.
    """

    epoch: int
    step: int
    epochs: int
    parameters: int
    device: str
    world: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Where an epoch stands, now and then.

    Attributes:
        epoch: running, from 1.
        done, of: steps of it; `of` is None where the feed does not know its length.
        samples_per_s: of all processes together, in this epoch.
    """

    epoch: int
    done: int
    of: int | None
    samples_per_s: float


@dataclass(frozen=True, slots=True)
class EpochReport:
    """A finished epoch.

    Attributes:
        epoch: from 1; `epochs`: at most so many in all.
        step: optimiser steps so far.
        train: means over the epoch's steps: `loss` and the model's own scalars.
        val: as `validate` gave them; empty in epochs without.
        judged: the loss that decides, and whether it is the `best` so far.
        learning_rate: of the epoch's last step.
        grad_norm: mean over the steps, before clipping; `grad_norm_max` the largest.
        samples_per_s: of all processes together, of training alone.
        waiting: share of the training time in which the loop waited for its next batch. On a GPU, which works
            behind the loop, this is an upper bound of the time that it waits.
        seconds: of training since its start, those before a resume included.
        eta_s: seconds left if no epoch is saved by stopping early.
    """

    epoch: int
    epochs: int
    step: int
    train: dict[str, float]
    val: dict[str, float]
    judged: float
    best: bool
    best_loss: float
    best_epoch: int
    learning_rate: float
    grad_norm: float
    grad_norm_max: float
    samples_per_s: float
    waiting: float
    seconds: float
    eta_s: float

    def row(self) -> dict[str, int | float]:
        """One flat row of numbers: `loss`, `val_loss`, ... and the figures."""
        figures = {
            name: getattr(self, name)
            for name in ("learning_rate", "grad_norm", "grad_norm_max", "samples_per_s", "waiting", "seconds")
        }
        val = {f"val_{k}": v for k, v in self.val.items()}
        return {"epoch": self.epoch, "step": self.step, **self.train, **val, **figures}


class Callback:
    """Hears of a training in rank 0; what is not overridden is not callback."""

    def on_start(self, start: TrainStart) -> None:
        """Before the first step."""

    def on_progress(self, progress: Progress) -> None:
        """About once a second within an epoch."""

    def on_epoch_end(self, report: EpochReport, model: nn.Module) -> None:
        """After an epoch, before its checkpoints: what is written here stands when they do.

        After a kill between the two, the epoch is trained again and told of again. `model` has the weights
        that were judged.
        """

    def on_epoch_saved(self, report: EpochReport, model: nn.Module) -> None:
        """After an epoch and its checkpoints; `model` has the weights that were judged."""

    def on_note(self, text: str) -> None:
        """Something that a person should know."""

    def on_end(self) -> None:
        """After the last epoch; also after an error."""


class CallbackList(Callback):
    """Several at once, in their order."""

    def __init__(self, members: Sequence[Callback]) -> None:
        self.members = tuple(members)

    def on_start(self, start: TrainStart) -> None:
        """To all of them."""
        for member in self.members:
            member.on_start(start)

    def on_progress(self, progress: Progress) -> None:
        """To all of them."""
        for member in self.members:
            member.on_progress(progress)

    def on_epoch_end(self, report: EpochReport, model: nn.Module) -> None:
        """To all of them."""
        for member in self.members:
            member.on_epoch_end(report, model)

    def on_epoch_saved(self, report: EpochReport, model: nn.Module) -> None:
        """To all of them."""
        for member in self.members:
            member.on_epoch_saved(report, model)

    def on_note(self, text: str) -> None:
        """To all of them."""
        for member in self.members:
            member.on_note(text)

    def on_end(self) -> None:
        """To all of them."""
        for member in self.members:
            member.on_end()


class MetricsFile(Callback):
    """`metrics.csv`: a row per epoch, whole at any moment; a resumed training goes on in the same file."""

    def __init__(self, out: Place, *, name: str = "metrics.csv") -> None:
        self.out, self.name = out, name
        self.rows: list[dict[str, int | float | str]] = []

    def on_start(self, start: TrainStart) -> None:
        """Keep the rows of the epochs that the checkpoint has seen, drop those after it."""
        if start.epoch and self.out.exists(self.name):
            old = csv.DictReader(io.StringIO(self.out.read(self.name).decode()))
            self.rows = [dict(row) for row in old if int(row["epoch"]) <= start.epoch]

    def on_epoch_end(self, report: EpochReport, model: nn.Module) -> None:
        """Write the file with a row more."""
        self.rows.append({**report.row()})
        names = list(dict.fromkeys(key for row in self.rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        self.out.write_atomic(text.getvalue().encode(), self.name)
