"""Callbacks of a training, the reports they get, and the callback that writes `metrics.csv`."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from mocap_ray.errors import UserError
from mocap_ray.storage import Place


@dataclass(frozen=True, slots=True)
class TrainStart:
    """The training that is about to run.

    Attributes:
        epoch, step: finished before; 0 unless resumed.
        epochs: largest number of epochs in total.
        parameters: number of trainable parameters.
        device: name of the device.
        world: number of processes that share each step.
    """

    epoch: int
    step: int
    epochs: int
    parameters: int
    device: str
    world: int


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress within an epoch.

    Attributes:
        epoch: the running epoch, from 1.
        done, of: finished steps, and steps in total; `of` is None if the loader has no length.
        samples_per_s: over all processes, in this epoch.
    """

    epoch: int
    done: int
    of: int | None
    samples_per_s: float


@dataclass(frozen=True, slots=True)
class StepLosses:
    """The training losses of some steps in a row.

    Attributes:
        step: optimiser steps so far, after the last of these.
        losses: of this process, one for each step.
        of: steps of an epoch; None if the loader has no length.
    """

    step: int
    losses: tuple[float, ...]
    of: int | None


@dataclass(frozen=True, slots=True)
class EpochReport:
    """A finished epoch.

    Attributes:
        epoch: from 1; `epochs`: largest number of epochs in total.
        step: optimiser steps so far.
        train: means over the steps of the epoch: `loss` and the scalars of the model.
        val: validation metrics; empty in epochs without validation.
        judged: the loss that decides which epoch is the best; `best`: whether it is the best so far.
        learning_rate: of the last step of the epoch.
        grad_norm: mean over the steps, before clipping; `grad_norm_max` is the largest.
        samples_per_s: over all processes, without validation.
        waiting: fraction of the training time in which the loop waited for the next batch. On a GPU, which runs
            asynchronously, this is an upper bound of its idle time.
        seconds: training time since the start, including the time before a resume.
        eta_s: seconds left without early stopping.
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
        """One flat row of numbers: `loss`, `val_loss`, ... and the other figures."""
        figures = {
            name: getattr(self, name)
            for name in ("learning_rate", "grad_norm", "grad_norm_max", "samples_per_s", "waiting", "seconds")
        }
        val = {f"val_{k}": v for k, v in self.val.items()}
        return {"epoch": self.epoch, "step": self.step, **self.train, **val, **figures}


class Callback:
    """Base class of callbacks, which are called on rank 0; each method does nothing unless overridden."""

    def on_start(self, start: TrainStart) -> None:
        """Called before the first step."""

    def on_progress(self, progress: Progress) -> None:
        """Called about once a second within an epoch."""

    def on_steps(self, steps: StepLosses) -> None:
        """Called about once a second within an epoch and at its end, with all steps since the last call."""

    def on_epoch_end(self, report: EpochReport, model: nn.Module) -> None:
        """Called after an epoch, before its checkpoints are written.

        If the process is killed between the two, the epoch is trained and reported again. `model` has the weights that
        were validated.
        """

    def on_epoch_saved(self, report: EpochReport, model: nn.Module) -> None:
        """Called after an epoch and its checkpoints; `model` has the weights that were validated."""

    def on_note(self, text: str) -> None:
        """Called with a message for the user."""

    def on_end(self) -> None:
        """Called after the last epoch, also after an error."""


class CallbackList(Callback):
    """Calls several callbacks, in order."""

    def __init__(self, members: Sequence[Callback]) -> None:
        self.members = tuple(members)

    def on_start(self, start: TrainStart) -> None:
        """Call each member."""
        for member in self.members:
            member.on_start(start)

    def on_progress(self, progress: Progress) -> None:
        """Call each member."""
        for member in self.members:
            member.on_progress(progress)

    def on_steps(self, steps: StepLosses) -> None:
        """Call each member."""
        for member in self.members:
            member.on_steps(steps)

    def on_epoch_end(self, report: EpochReport, model: nn.Module) -> None:
        """Call each member."""
        for member in self.members:
            member.on_epoch_end(report, model)

    def on_epoch_saved(self, report: EpochReport, model: nn.Module) -> None:
        """Call each member."""
        for member in self.members:
            member.on_epoch_saved(report, model)

    def on_note(self, text: str) -> None:
        """Call each member."""
        for member in self.members:
            member.on_note(text)

    def on_end(self) -> None:
        """Call each member."""
        for member in self.members:
            member.on_end()


METRICS = "metrics.csv"
"""Name of the table with a row per epoch."""


def read_metrics(out: Place, *, name: str = METRICS) -> list[dict[str, float]]:
    """The rows of metrics.csv as numbers, without empty cells.

    Raises:
        FileNotFoundError: there is none.
        UserError: the file is edited or damaged.
    """
    try:
        table = csv.DictReader(io.StringIO(out.read(name).decode()), strict=True)
        rows = [{key: float(text) for key, text in row.items() if text} for row in table]
        sound = all("epoch" in row and row["epoch"].is_integer() for row in rows)
    except (
        ValueError,
        TypeError,
        AttributeError,
        csv.Error,
    ) as error:  # text that is no number, or a ragged row
        raise _not_metrics(out, name, str(error)) from error
    if not sound:
        raise _not_metrics(out, name, "a row without an epoch")
    return rows


def _not_metrics(out: Place, name: str, problem: str) -> UserError:
    first = (problem.splitlines() or [""])[0][:100]
    return UserError(
        f"{out.uri}/{name}: not the table of a training ({first}). Copy it again, or delete it: it is only a record."
    )


class MetricsFile(Callback):
    """Writes `metrics.csv` atomically, with one row per epoch; a resumed training appends to the same file."""

    def __init__(self, out: Place, *, name: str = METRICS) -> None:
        self.out, self.name = out, name
        self.rows: list[dict[str, int | float | str]] = []

    def on_start(self, start: TrainStart) -> None:
        """Keep the rows up to the epoch of the checkpoint, drop later ones."""
        if start.epoch and self.out.exists(self.name):
            read_metrics(self.out, name=self.name)  # the rows are kept as text, to the last digit
            old = csv.DictReader(io.StringIO(self.out.read(self.name).decode()))
            self.rows = [dict(row) for row in old if float(row["epoch"]) <= start.epoch]

    def on_epoch_end(self, report: EpochReport, model: nn.Module) -> None:
        """Add a row and write the file."""
        self.rows.append({**report.row()})
        self.write()

    def write(self) -> None:
        """Write the file."""
        names = list(dict.fromkeys(key for row in self.rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        self.out.write_atomic(text.getvalue().encode(), self.name)
