"""The results of the trials of a search, read from their folders."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from mocap_ray.searching.population import TRIAL_NAME, Clone, Stage, lineage, read_record, values_at
from mocap_ray.searching.spread import SPREAD_HEADS, Spread, spread_of, spread_text
from mocap_ray.storage import Place
from mocap_ray.training.callbacks import METRICS, read_metrics
from mocap_ray.training.divergence import Divergence, divergence
from mocap_ray.training.prepare import CONFIG, SUMMARY, is_started

STATES = ("running", "finished", "stopped", "failed", "waiting", "not started")
"""`stopped`: by the scheduler or the time budget; `waiting`: not started, while the search is still running."""
STOPPED_NAME = "stopped.json"
"""File in the folder of a trial that the scheduler stopped early."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial.

    Attributes:
        number: number of the trial, from 0.
        values: sampled values by key; under scheduler pbt the latest ones.
        rows: rows of its metrics.csv, one per epoch.
        started: whether it has a checkpoint.
        finished: whether its training finished.
        error: why it failed, or empty.
        history: stages of its weights, under scheduler pbt.
        clones: replacements of its weights, under scheduler pbt.
        epochs: largest number of epochs of its training; 0 if it has no config yet.
        stopped: whether the scheduler stopped it early.
        searching: whether its search is still running, so that it may continue or start.
    """

    number: int
    values: dict[str, Any]
    rows: list[dict[str, float]]
    started: bool
    finished: bool
    error: str = ""
    history: tuple[Stage, ...] = ()
    clones: tuple[Clone, ...] = ()
    epochs: int = 0
    stopped: bool = False
    searching: bool = False

    @property
    def state(self) -> str:
        """One of `STATES`. A trial that reached its last epoch is finished, even if the scheduler ended it there."""
        if self.done:
            return "finished"
        if self.error:
            return "failed"
        if self.stopped:
            return "stopped"
        if self.searching:
            return "running" if self.values else "waiting"
        return "stopped" if self.rows else "not started"

    @property
    def done(self) -> bool:
        """Whether its training reached its end: its last epoch, or the end of its patience."""
        return self.finished or bool(self.epochs and self.rows and self.rows[-1]["epoch"] >= self.epochs)

    def spread(self, metric: str, mode: str) -> Spread | None:
        """How the folds differ in the epoch of the best value; None without folds."""
        epoch = self.best(metric, mode)[1]
        row = next((row for row in self.rows if int(row["epoch"]) == epoch), {})
        return spread_of(row, metric, mode)

    @property
    def diverged(self) -> Divergence | None:
        """How its validation loss diverges, or None."""
        return divergence(
            [
                (int(r["epoch"]), r["loss"], r["val_loss"])
                for r in self.rows
                if "loss" in r and "val_loss" in r
            ]
        )

    def last(self, metric: str) -> dict[str, float]:
        """The last row with a metric, or an empty dict."""
        return next((row for row in reversed(self.rows) if metric in row), {})

    def best(self, metric: str, mode: str) -> tuple[float, int]:
        """Best value of a metric and its epoch; nan and 0 if there is none."""
        value, epoch, _ = self._best(metric, mode)
        return value, epoch

    def best_values(self, metric: str, mode: str) -> dict[str, Any]:
        """The values by key that gave the best value of a metric."""
        return self._best(metric, mode)[2]

    def _best(self, metric: str, mode: str) -> tuple[float, int, dict[str, Any]]:
        best, epoch, values = math.nan, 0, self.values
        # Replaced weights count too: they are kept if they are the best.
        left = [(s.left["row"], s.left["values"]) for s in self.history if s.left]
        for row, row_values in [*left, *((row, None) for row in self.rows)]:
            if metric in row and is_better(row[metric], best, mode):
                best, epoch = row[metric], int(row["epoch"])
                values = row_values or values_at(self.history, epoch) or self.values
        return best, epoch, values


def read_trial(folder: Place, number: int) -> Trial:
    """Read a trial from its folder; files may be missing."""
    record = read_record(folder, number)
    rows: list[dict[str, float]] = []
    if folder.exists(METRICS):
        rows = read_metrics(folder)
    return Trial(
        number,
        record.values,
        rows,
        started=is_started(folder),
        finished=folder.exists(SUMMARY),
        history=record.history,
        clones=record.clones,
        epochs=_epochs(folder),
        stopped=folder.exists(STOPPED_NAME),
    )


def _epochs(folder: Place) -> int:
    """The largest number of epochs in the config of a training; 0 without a config."""
    if not folder.exists(CONFIG):
        return 0
    return int(yaml.safe_load(folder.read(CONFIG))["training"]["max_epochs"])


def mark_stopped(folder: Place, *, epoch: int) -> None:
    """Write into the folder of a trial, if it has one, that the scheduler stopped it. Raises OSError."""
    if not folder.exists(TRIAL_NAME):
        return
    folder.write_atomic((json.dumps({"epoch": epoch}) + "\n").encode(), STOPPED_NAME)


def read_trials(out: Place, count: int, errors: Mapping[int, str], *, searching: bool = False) -> list[Trial]:
    """Read the first `count` trials of a search.

    Args:
        out: folder of the search.
        count: number of trials.
        errors: the reasons of those that failed. A trial that finished after a retry did not fail.
        searching: whether the search is still running.
    """
    return [
        replace(
            read_trial(out.folder("trials", name(number)), number),
            error=errors.get(number, ""),
            searching=searching,
        )
        for number in range(count)
    ]


def name(number: int) -> str:
    """Name of the folder of a trial."""
    return f"{number:03d}"


def ranked(trials: Sequence[Trial], metric: str, mode: str) -> list[Trial]:
    """Sort trials, best first; those without a value come last, by number."""
    sign = 1.0 if mode == "min" else -1.0

    def key(trial: Trial) -> tuple[bool, float, int]:
        value = trial.best(metric, mode)[0]
        return math.isnan(value), 0.0 if math.isnan(value) else sign * value, trial.number

    return sorted(trials, key=key)


def table(trials: Sequence[Trial], keys: Sequence[str], metric: str, mode: str) -> list[list[str]]:
    """Rows of text: the columns that `heads` names, best trial first."""
    rows, has_folds = [], folded(trials, metric, mode)
    for trial in ranked(trials, metric, mode):
        value, epoch = trial.best(metric, mode)
        values = trial.best_values(metric, mode)
        rows.append(
            [
                name(trial.number),
                f"{trial.state}, diverged" if trial.diverged else trial.state,
                str(len(trial.rows)),
                "" if math.isnan(value) else f"{value:.6g}",
                *(spread_text(trial.spread(metric, mode), "{:.3g}".format) if has_folds else ()),
                str(epoch or ""),
                *(text(values.get(key)) for key in keys),
                *([lineage(trial.history)] if cloned(trials) else []),
                trial.error,
            ]
        )
    return rows


def short_names(keys: Sequence[str]) -> list[str]:
    """Keys without their sections, if they stay unique."""
    short = [key.rpartition(".")[2] for key in keys]
    return short if len(set(short)) == len(short) else list(keys)


def heads(keys: Sequence[str], metric: str, *, lineage: bool = False, folds: bool = False) -> list[str]:
    """Column names of `table`: values are those of the best epoch; with folds, the metric is the mean over them."""
    return [
        "trial",
        "state",
        "epochs",
        metric,
        *(SPREAD_HEADS if folds else ()),
        "at epoch",
        *keys,
        *(["lineage"] if lineage else []),
        "error",
    ]


def cloned(trials: Sequence[Trial]) -> bool:
    """Whether the trials are a population, whose weights may be copied between trials."""
    return any(trial.history for trial in trials)


def folded(trials: Sequence[Trial], metric: str, mode: str) -> bool:
    """Whether trials have folds, so that the metric is a mean."""
    return any(trial.spread(metric, mode) for trial in trials)


def text(value: Any) -> str:
    """A value as text; empty if it is not searched."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write_csv(out: Place, trials: Sequence[Trial], keys: Sequence[str], metric: str, mode: str) -> None:
    """Write `trials.csv`: best first, values with full precision."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    has_folds = folded(trials, metric, mode)
    writer.writerow(heads(keys, metric, lineage=cloned(trials), folds=has_folds))
    for short, trial in zip(table(trials, keys, metric, mode), ranked(trials, metric, mode), strict=True):
        value, epoch = trial.best(metric, mode)
        exact = ["" if math.isnan(value) else repr(value)]
        exact += spread_text(trial.spread(metric, mode), repr) if has_folds else ()
        values = trial.best_values(metric, mode)
        drawn = ["" if (v := values.get(k)) is None else str(v) for k in keys]
        rest = short[len(short) - 1 - cloned(trials) :]
        writer.writerow([*short[:3], *exact, str(epoch or ""), *drawn, *rest])
    out.write_atomic(sink.getvalue().encode(), "trials.csv")


def is_better(a: float, b: float, mode: str) -> bool:
    """Whether a is better than b; NaN always loses."""
    if math.isnan(a) or math.isnan(b):
        return not math.isnan(a)
    return a < b if mode == "min" else a > b
