"""The results of the trials of a search, read from their folders."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mocap_ray.searching.population import TRIAL_NAME, Clone, Stage, lineage, read_record, values_at
from mocap_ray.storage import Place
from mocap_ray.training import checkpoint
from mocap_ray.training.callbacks import METRICS, read_metrics


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
    """

    number: int
    values: dict[str, Any]
    rows: list[dict[str, float]]
    started: bool
    finished: bool
    error: str = ""
    history: tuple[Stage, ...] = ()
    clones: tuple[Clone, ...] = ()

    @property
    def state(self) -> str:
        """`failed`, `finished`, `stopped` (by the scheduler or the time budget) or `not started`."""
        if self.error:
            return "failed"
        if self.finished:
            return "finished"
        return "stopped" if self.rows else "not started"

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
        started=folder.exists("checkpoints", checkpoint.LAST),
        finished=folder.exists("summary.json"),
        history=record.history,
        clones=record.clones,
    )


def read_trials(out: Place, count: int, errors: dict[int, str]) -> list[Trial]:
    """Read the first `count` trials of a search; `errors` has the reasons of those that failed."""
    trials = []
    for number in range(count):
        trial = read_trial(out.folder("trials", name(number)), number)
        # A trial that finished after a retry did not fail.
        trials.append(trial if trial.finished else replace(trial, error=errors.get(number, "")))
    return trials


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
    """Rows of text: trial, state, epochs, best value, its epoch, values of the keys at that epoch, [lineage,] error."""
    rows = []
    for trial in ranked(trials, metric, mode):
        value, epoch = trial.best(metric, mode)
        values = trial.best_values(metric, mode)
        rows.append(
            [
                name(trial.number),
                trial.state,
                str(len(trial.rows)),
                "" if math.isnan(value) else f"{value:.6g}",
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


def heads(keys: Sequence[str], metric: str, *, lineage: bool = False) -> list[str]:
    """Column names of `table`."""
    return [
        "trial",
        "state",
        "epochs",
        metric,
        "at epoch",
        *keys,
        *(["lineage"] if lineage else []),
        "error",
    ]


def cloned(trials: Sequence[Trial]) -> bool:
    """Whether the trials are a population, whose weights may be copied between trials."""
    return any(trial.history for trial in trials)


def text(value: Any) -> str:
    """A value as text; empty if it is not searched."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write_csv(out: Place, trials: Sequence[Trial], keys: Sequence[str], metric: str, mode: str) -> None:
    """Write `trials.csv`: best first, values with full precision."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(heads(keys, metric, lineage=cloned(trials)))
    for short, trial in zip(table(trials, keys, metric, mode), ranked(trials, metric, mode), strict=True):
        value = trial.best(metric, mode)[0]
        exact = ["" if math.isnan(value) else repr(value), short[4]]
        values = trial.best_values(metric, mode)
        drawn = ["" if (v := values.get(k)) is None else str(v) for k in keys]
        writer.writerow([*short[:3], *exact, *drawn, *short[5 + len(keys) :]])
    out.write_atomic(sink.getvalue().encode(), "trials.csv")


def export_best(out: Place, trial: Trial, *, description: str) -> None:
    """Write `best/`: export, checkpoint, config and record of the best trial.

    The export is made from `best.pt`, because a trial that was stopped early has no export.

    Args:
        out: folder of the search.
        trial: the best trial.
        description: name of the JSON file in an export, see `training.task.TaskWords`.

    Raises:
        FileNotFoundError: the trial has no checkpoint.
    """
    source = out.folder("trials", name(trial.number))
    target = out.folder("best")
    folder = source.folder(checkpoint.CHECKPOINTS)
    best = checkpoint.read(folder, checkpoint.BEST)
    checkpoint.export(
        target.folder(checkpoint.EXPORT),
        tensors=checkpoint.weights(best["state"]),
        about=best["about"],
        description=description,
    )
    target.write_atomic(folder.read(checkpoint.BEST), checkpoint.CHECKPOINTS, checkpoint.BEST)
    for file in ("config.yaml", TRIAL_NAME):
        target.write_atomic(source.read(file), file)


def is_better(a: float, b: float, mode: str) -> bool:
    """Whether a is better than b; NaN always loses."""
    if math.isnan(a) or math.isnan(b):
        return not math.isnan(a)
    return a < b if mode == "min" else a > b
