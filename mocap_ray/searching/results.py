"""What the trials of a search came to, read from their folders."""

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


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial.

    Attributes:
        number: from 0.
        values: what was drawn for it, by key; of a population, what it had last.
        rows: of its metrics.csv, one per epoch.
        started: whether it left a checkpoint.
        finished: whether it ran to its own end.
        error: why it failed, or empty.
        history: of its weights, where trials take over one another.
        clones: what this trial took over.
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
        """In a word: `stopped` is what a scheduler or the time budget does."""
        if self.error:
            return "failed"
        if self.finished:
            return "finished"
        return "stopped" if self.rows else "not started"

    def last(self, metric: str) -> dict[str, float]:
        """The last row with a metric, or nothing."""
        return next((row for row in reversed(self.rows) if metric in row), {})

    def best(self, metric: str, mode: str) -> tuple[float, int]:
        """Best value of a metric and its epoch; nan and 0 without any."""
        value, epoch, _ = self._best(metric, mode)
        return value, epoch

    def best_values(self, metric: str, mode: str) -> dict[str, Any]:
        """The values with which the best value was reached."""
        return self._best(metric, mode)[2]

    def _best(self, metric: str, mode: str) -> tuple[float, int, dict[str, Any]]:
        found, epoch, values = math.nan, 0, self.values
        # What was given up for a clone counts: its weights are kept where they are the best.
        left = [(s.left["row"], s.left["values"]) for s in self.history if s.left]
        for row, held in [*left, *((row, None) for row in self.rows)]:
            if metric in row and is_better(row[metric], found, mode):
                found, epoch = row[metric], int(row["epoch"])
                values = held or values_at(self.history, epoch) or self.values
        return found, epoch, values


def read_trial(folder: Place, number: int) -> Trial:
    """A trial from its folder, whatever of it is there."""
    record = read_record(folder, number)
    rows: list[dict[str, float]] = []
    if folder.exists("metrics.csv"):
        for row in csv.DictReader(io.StringIO(folder.read("metrics.csv").decode())):
            rows.append({key: float(text) for key, text in row.items() if text not in ("", None)})
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
    """The first `count` trials of a search, with the reasons of those that failed."""
    found = []
    for number in range(count):
        trial = read_trial(out.folder("trials", name(number)), number)
        # A trial that came to its end after all did not fail.
        found.append(trial if trial.finished else replace(trial, error=errors.get(number, "")))
    return found


def name(number: int) -> str:
    """Folder of a trial."""
    return f"{number:03d}"


def ranked(trials: Sequence[Trial], metric: str, mode: str) -> list[Trial]:
    """Best first; those without a value last, in the order of their numbers."""
    sign = 1.0 if mode == "min" else -1.0

    def key(trial: Trial) -> tuple[bool, float, int]:
        value = trial.best(metric, mode)[0]
        return math.isnan(value), 0.0 if math.isnan(value) else sign * value, trial.number

    return sorted(trials, key=key)


def table(trials: Sequence[Trial], keys: Sequence[str], metric: str, mode: str) -> list[list[str]]:
    """Rows of texts: trial, state, epochs, best value, its epoch, values of the keys then, [lineage,] error."""
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
    """Keys without their sections, where they stay different from each other."""
    short = [key.rpartition(".")[2] for key in keys]
    return short if len(set(short)) == len(short) else list(keys)


def heads(keys: Sequence[str], metric: str, *, lineage: bool = False) -> list[str]:
    """Of `table`."""
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
    """Whether trials may take over one another."""
    return any(trial.history for trial in trials)


def text(value: Any) -> str:
    """A drawn value for people; empty where it stayed as in the base."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write_csv(out: Place, trials: Sequence[Trial], keys: Sequence[str], metric: str, mode: str) -> None:
    """`trials.csv`: best first, values in full."""
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
    """`best/`: the best trial's judged weights as a training leaves them, with its config, and which trial it was.

    The export is made from `best.pt`, since a trial that was stopped early wrote none itself.

    Args:
        out: folder of the search.
        trial: the best one.
        description: name of the JSON file in an export, see `training.task.Words`.

    Raises:
        FileNotFoundError: the trial left no checkpoint.
    """
    source = out.folder("trials", name(trial.number))
    target = out.folder("best")
    folder = source.folder(checkpoint.CHECKPOINTS)
    found = checkpoint.read(folder, checkpoint.BEST)
    checkpoint.export(
        target.folder(checkpoint.EXPORT),
        tensors=checkpoint.weights(found["state"]),
        about=found["about"],
        description=description,
    )
    target.write_atomic(folder.read(checkpoint.BEST), checkpoint.CHECKPOINTS, checkpoint.BEST)
    for file in ("config.yaml", TRIAL_NAME):
        target.write_atomic(source.read(file), file)


def is_better(a: float, b: float, mode: str) -> bool:
    """Whether a beats b; nothing beats a number with NaN."""
    if math.isnan(a) or math.isnan(b):
        return not math.isnan(a)
    return a < b if mode == "min" else a > b
