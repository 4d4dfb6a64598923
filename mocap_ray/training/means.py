"""The mean over the folds of an epoch: its row in metrics.csv, the best epoch so far, and patience."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from mocap_ray.storage import Place
from mocap_ray.training.callbacks import METRICS, EpochReport, read_metrics
from mocap_ray.training.options import TrainingOptions

Row = dict[str, int | float]
"""A row of metrics.csv."""
SPREAD = ("std", "min", "max")
"""Endings of the columns of a validation metric beside its mean: `val_loss_std` is the sample standard deviation."""
FIGURES = ("learning_rate", "grad_norm", "grad_norm_max", "samples_per_s", "waiting", "seconds")
"""Columns that are neither training nor validation metrics."""


def fold_rows(out: Place, *, until: int) -> dict[int, Row]:
    """The rows of a fold's metrics.csv by epoch, up to that of its checkpoint. Raises UserError if it is damaged."""
    if not until or not out.exists(METRICS):
        return {}
    return {int(row["epoch"]): {**row} for row in read_metrics(out) if row["epoch"] <= until}


def mean_row(rows: Sequence[Mapping[str, int | float]]) -> Row:
    """The mean over the folds of each column; validation metrics also have standard deviation, minimum and maximum.

    >>> mean_row([{"epoch": 1, "val_loss": 1.0}, {"epoch": 1, "val_loss": 3.0}, {"epoch": 1, "val_loss": 5.0}])
    {'epoch': 1, 'val_loss': 3.0, 'val_loss_std': 2.0, 'val_loss_min': 1.0, 'val_loss_max': 5.0}
    """
    means: Row = {"epoch": int(rows[0]["epoch"])}
    for key in rows[0]:
        if key == "epoch" or not all(key in row for row in rows):
            continue
        values = [float(row[key]) for row in rows]
        mean = math.fsum(values) / len(values) if all(map(math.isfinite, values)) else sum(values)
        means[key] = int(mean) if key == "step" else mean
        if key.startswith("val_"):
            finite = all(map(math.isfinite, values))
            means[f"{key}_std"] = statistics.stdev(values) if finite else math.nan
            means |= {f"{key}_min": min(values), f"{key}_max": max(values)} if finite else {}
    return means


class Means:
    """The rows of the means so far, which epoch is the best, and for how many validations it has been."""

    def __init__(self, options: TrainingOptions) -> None:
        self.options = options
        self.rows: list[Row] = []
        self.best_epoch = self.waited = 0
        self.best_loss = math.inf

    def add(self, rows: Sequence[Mapping[str, int | float]]) -> bool:
        """Add the rows of an epoch, one of each fold; returns whether it is the best so far."""
        row = mean_row(rows)
        self.rows.append(row)
        if "val_loss" not in row:
            return False
        best = row["val_loss"] < self.best_loss - self.options.min_delta
        self.waited = 0 if best else self.waited + 1
        if best:
            self.best_loss, self.best_epoch = float(row["val_loss"]), int(row["epoch"])
        return best

    @property
    def best(self) -> Row:
        """The row of the best epoch; empty if there is none."""
        return next((row for row in self.rows if row["epoch"] == self.best_epoch), {})

    @property
    def impatient(self) -> bool:
        """Whether the mean has not improved for `patience` validations."""
        return self.options.patience is not None and self.waited >= self.options.patience

    def report(self, *, best: bool, folds: int, epochs: int) -> EpochReport:
        """The report of the last epoch that was added.

        Args:
            best: whether it is the best so far.
            folds: number of folds, which take their turns.
            epochs: the largest number of epochs.
        """
        row = self.rows[-1]
        val = {key.removeprefix("val_"): float(x) for key, x in row.items() if key.startswith("val_")}
        others = {"epoch", "step", *FIGURES}
        train = {key: float(x) for key, x in row.items() if key not in others and not key.startswith("val_")}
        epoch, seconds = int(row["epoch"]), float(row.get("seconds", math.nan))
        return EpochReport(
            epoch=epoch,
            epochs=epochs,
            step=int(row.get("step", 0)),
            train=train,
            val=val,
            judged=val.get("loss", train.get("loss", math.nan)),
            best=best,
            best_loss=self.best_loss,
            best_epoch=self.best_epoch,
            **{name: float(row.get(name, math.nan)) for name in FIGURES},
            eta_s=folds * seconds / epoch * (epochs - epoch),
        )
