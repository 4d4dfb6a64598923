"""The function that Tune runs for each trial: a training that reports each validation to Tune.

Ray 2.60 runs Ray Train (V2) inside a Tune function, whose process itself needs almost no CPU.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ray.exceptions import RayError

from mocap_ray.distributed import population
from mocap_ray.distributed.events import EventQueue
from mocap_ray.distributed.resources import Share
from mocap_ray.distributed.train import TrainingFailed, clean, team_run
from mocap_ray.distributed.worker import LEAVE_S
from mocap_ray.errors import UserError, bug_report
from mocap_ray.lock import Locked, lock
from mocap_ray.runs.search import SearchConfig, trial_config
from mocap_ray.runs.train import TrainConfig
from mocap_ray.searching.population import Clone, Record, Stage, mutate, read_record
from mocap_ray.searching.results import STOPPED_NAME, is_better, name, read_trial, text
from mocap_ray.searching.spread import score_of
from mocap_ray.storage import Place, place
from mocap_ray.training.callbacks import EpochReport, Progress, TrainStart
from mocap_ray.training.exploit import epochs_of, exploit
from mocap_ray.training.prepare import discard, prepare

FAILED = ".failed"
"""Folder in the output of a running search: a file for each trial that failed, with the reason. Tune restarts a failed
trial, because its node may have been lost; these are not trained again."""


@dataclass(frozen=True, slots=True)
class TrialSetup:
    """The inputs of every trial; a few kilobytes.

    Attributes:
        config: config of the search, as YAML.
        text: content of the file of the base, so that nodes need no copy and later edits have no effect.
        base: config of the base, with absolute paths.
        part: resources of each worker of a trial.
        drawn: values of each trial by number; None if the searcher suggests them.
        events: queue for the events of the trials.
    """

    config: str
    text: str
    base: TrainConfig
    part: Share
    drawn: list[dict[str, Any]] | None
    events: EventQueue

    @property
    def root(self) -> str:
        """Output folder of the search."""
        return self.base.output.root

    def training(self, number: int, values: dict[str, Any]) -> TrainConfig:
        """The config of a trial."""
        with tempfile.TemporaryDirectory() as folder:
            base = Path(folder, "base.yaml")
            base.write_text(self.text, encoding="utf-8")
            config = self.search().model_copy(update={"base": str(base)})
            training = trial_config(config, values, f"{self.root}/trials/{name(number)}")
        data = training.data.model_copy(update={"root": self.base.data.root})
        return training.model_copy(update={"data": data})

    def folder(self, number: int) -> Place:
        """The folder of a trial."""
        return place(f"{self.root}/trials/{name(number)}")

    def search(self) -> SearchConfig:
        """The config of the search."""
        return SearchConfig.model_validate(yaml.safe_load(self.config))


def run_trial(drawn: dict[str, Any], task: TrialSetup) -> None:
    """Run a trial in a process of Tune: a training that reports its validations."""
    number = population.own_number()
    root = place(task.root)
    if root.exists(FAILED, name(number)):
        raise TrainingFailed(root.read(FAILED, name(number)).decode())
    try:
        _train_trial(number, drawn, task)
    except Exception as error:
        # Reported here with its own message, because Tune only writes a traceback to a file.
        message = _error_message(error)
        if not isinstance(error, Locked | OSError | RayError):
            root.write_atomic(message.encode(), FAILED, name(number))
        task.events.put("failed", (number, message), wait=True)
        raise
    task.events.put("finished", (number, {}), wait=True)


def _error_message(error: Exception) -> str:
    """The message of an error; a bug also shows its traceback."""
    if isinstance(error, UserError | TrainingFailed | Locked | OSError):
        return str(error)
    return bug_report(error, code="the code that runs a trial")


def _train_trial(number: int, drawn: dict[str, Any], task: TrialSetup) -> None:
    search, out = task.search(), task.folder(number)
    # The workers of a stopped run of this trial may still be in their last epoch.
    with lock(out, what="training", wait_s=LEAVE_S):
        clean(out)
        record = _prepare_record(number, _values(number, drawn, task), task, drawn.get(population.CLONE))
        out.remove(STOPPED_NAME)
        task.events.put("started", (number, record.values))
        config = task.training(number, record.values)
        existing = read_trial(out, number)
        if not existing.finished:
            prepare(config.setup(), resume=existing.started, overwrite=not existing.started)
    reporting = _Reporting(number, search, task.events, out)
    if not existing.finished:
        team_run(config, task.part, reporting, trial=True, searched=list(search.space))
    if not reporting.reported:
        # The trial had no epoch left, or is finished but missing in the journal of Tune: Tune still needs a report.
        last = read_trial(out, number).last(search.metric)
        if not last:
            raise _no_metric(search.metric, (key for row in read_trial(out, number).rows for key in row))
        population.report(last, hold=search.scheduler == "pbt")


def _values(number: int, drawn: dict[str, Any], task: TrialSetup) -> dict[str, Any]:
    """The values of a trial, sampled before the search or suggested by the searcher."""
    if task.drawn is not None:
        return task.drawn[number]
    return {key: value for key, value in drawn.items() if key != "number"}


def _prepare_record(number: int, values: dict[str, Any], task: TrialSetup, clone: str | None) -> Record:
    """The record to continue a trial with: a new one, the existing one, or that of a clone of another trial."""
    out, search = task.folder(number), task.search()
    record = read_record(out, number)
    if search.scheduler != "pbt":
        if record.values and record.values != values:
            # After a kill, Tune has lost this proposal and the searcher now proposes other values.
            discard(out)
        kept = record.score if record.values == values else {}
        record = Record(number, values, score=kept)
        record.write(out)
        return record
    if not record.values:
        record = Record(number, values, (Stage(number, 0, values, {}),))
        record.write(out)
    if record.pending is None:
        donor = population.donor()
        if donor is None or donor == number or _is_finished(task, donor):
            return record
        if clone is None or clone in {c.id for c in record.clones}:
            return record
        record = _write_pending(record, donor, clone, task)
    return _clone(record, task)


def _is_finished(task: TrialSetup, donor: int) -> bool:
    """Whether a trial has finished its last epoch, so that a clone would have no epoch left."""
    folder = task.folder(donor)
    return folder.exists("summary.json") or epochs_of(folder) >= task.base.training.max_epochs


def _write_pending(record: Record, donor: int, clone: str, task: TrialSetup) -> Record:
    """Write the pending clone into the record, so that it can be repeated after a kill."""
    search, out = task.search(), task.folder(record.number)
    # Independent random numbers for each clone of each trial.
    rng = np.random.default_rng([search.seed, record.number, len(record.clones) + 1])
    values = mutate(search.space, read_record(task.folder(donor), donor).values, rng)
    trial = read_trial(out, record.number)
    best, epoch = trial.best(search.metric, search.mode)
    left = {
        "row": {"epoch": epoch, search.metric: best},
        "values": trial.best_values(search.metric, search.mode),
    }
    stage = Stage(record.number, 0, values, left if epoch else {})
    record = record.with_pending(Clone(clone, donor, 0, epochs_of(out), values), stage)
    record.write(out)
    return record


def _clone(record: Record, task: TrialSetup) -> Record:
    """Carry out the pending clone of a record."""
    assert record.pending is not None
    clone, stage = record.pending
    out, source = task.folder(record.number), task.folder(clone.donor)
    while True:
        donor = read_record(source, clone.donor)
        config = task.training(record.number, stage.values)
        epoch, step = exploit(out, source, config.setup())
        # The donor may have become a clone itself in the meantime.
        if read_record(source, clone.donor) == donor:
            break
    record = record.with_clone(donor, epoch)
    record.write(out)
    values = ", ".join(f"{key} {text(value)}" for key, value in record.values.items())
    message = f"continues from trial {name(clone.donor)} at epoch {epoch}, with {values}"
    task.events.put("cloned", (record.number, message), wait=True)
    if config.output.tensorboard and out.local is not None:
        # Imported here because TensorBoard takes seconds to import.
        from mocap_ray.training.tensorboard import write_text

        write_text(
            out.local / "tensorboard", "population", f"Trial {name(record.number)} {message}.", step=step
        )
    return record


def _no_metric(metric: str, columns: Iterable[str]) -> UserError:
    return UserError(
        f"metric {metric}: not a metric of this training. Expected one of {', '.join(sorted(set(columns)))}."
    )


class _Reporting:
    """Reports every validation to Tune, which may stop the trial within this call."""

    def __init__(self, number: int, search: SearchConfig, events: EventQueue, out: Place) -> None:
        self.number, self.search, self.events, self.out = number, search, events, out
        self.reported = False

    def on_cluster(self, cluster: Any, part: Share) -> None:
        """Not reported: the search already knows it."""

    def on_start(self, start: TrainStart) -> None:
        """Not reported."""

    def on_progress(self, progress: Progress) -> None:
        """Not reported."""

    def on_epoch_saved(self, report: EpochReport) -> None:
        row = report.row()
        self._write_score(row)
        self.events.put("epoch", (self.number, row))
        if self.search.metric in row:
            self.reported = True
            population.report(row, hold=self.search.scheduler == "pbt")
        elif report.val:
            # Fails now, and not after the last epoch.
            raise _no_metric(self.search.metric, row)

    def _write_score(self, row: dict[str, int | float]) -> None:
        """Write the best mean over the folds so far, and its spread, into trial.json."""
        score, out = score_of(row, self.search.metric), self.out
        if score is None:
            return
        record = read_record(out, self.number)
        before = record.score.get(self.search.metric, math.nan)
        if is_better(row[self.search.metric], before, self.search.mode):
            replace(record, score=score).write(out)

    def on_note(self, text: str) -> None:
        """Not reported."""
