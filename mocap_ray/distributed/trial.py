"""What runs in a trial's own process: a training, which reports each validation to Tune.

Ray 2.60 runs Train (V2) inside a Tune function; the process itself takes next to no CPU.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mocap_ray.distributed import population
from mocap_ray.distributed.events import EventQueue
from mocap_ray.distributed.resources import Share
from mocap_ray.distributed.train import clean, team_run
from mocap_ray.distributed.worker import LEAVE_S
from mocap_ray.lock import lock
from mocap_ray.runs.search import SearchConfig, trial_config
from mocap_ray.runs.train import TrainConfig
from mocap_ray.searching.population import Clone, Record, Stage, mutate, read_record
from mocap_ray.searching.results import name, read_trial, text
from mocap_ray.storage import Place, place
from mocap_ray.training.callbacks import EpochReport, Progress, TrainStart
from mocap_ray.training.checkpoint import LAST
from mocap_ray.training.exploit import epochs_of, exploit
from mocap_ray.training.prepare import prepare


@dataclass(frozen=True, slots=True)
class TrialSetup:
    """What every trial needs; kilobytes.

    Attributes:
        config: of the search, as YAML.
        text: of the base's file, so that a node needs no copy of it, and editing it changes no search.
        base: its data and output with absolute paths.
        part: what each worker of a trial gets.
        drawn: values of each trial by its number; None where the searcher suggests them.
        events: where the trials post theirs.
    """

    config: str
    text: str
    base: TrainConfig
    part: Share
    drawn: list[dict[str, Any]] | None
    events: EventQueue

    @property
    def root(self) -> str:
        """Output of the search."""
        return self.base.output.root

    def training(self, number: int, values: dict[str, Any]) -> TrainConfig:
        """The config of a trial."""
        with tempfile.TemporaryDirectory() as folder:
            base = Path(folder, "base.yaml")
            base.write_text(self.text, encoding="utf-8")
            config = self.search().model_copy(update={"base": str(base)})
            found = trial_config(config, values, f"{self.root}/trials/{name(number)}")
        return found.model_copy(update={"data": found.data.model_copy(update={"root": self.base.data.root})})

    def folder(self, number: int) -> Place:
        """Of a trial."""
        return place(f"{self.root}/trials/{name(number)}")

    def search(self) -> SearchConfig:
        """Its config."""
        return SearchConfig.model_validate(yaml.safe_load(self.config))


def run_trial(drawn: dict[str, Any], task: TrialSetup) -> None:
    """One trial, in a process of Tune's: a training, whose validations are reported as they come."""
    number = population.own_number()
    try:
        _train_trial(number, drawn, task)
    except Exception as error:
        # Told here in its own words: Tune keeps a traceback in a file.
        task.events.put("failed", (number, str(error)), wait=True)
        raise
    task.events.put("finished", (number, {}), wait=True)


def _train_trial(number: int, drawn: dict[str, Any], task: TrialSetup) -> None:
    search, out = task.search(), task.folder(number)
    # The workers of this trial that Tune ended may be in their last epoch still.
    with lock(out, wait_s=LEAVE_S):
        clean(out)
        record = _settle(number, _values(number, drawn, task), task, drawn.get(population.CLONE))
        config = task.training(number, record.values)
        there = read_trial(out, number)
        if not there.finished:
            prepare(config.setup(), resume=there.started, overwrite=not there.started)
    reporting = _Reporting(number, search, task.events)
    if not there.finished:
        team_run(config, task.part, reporting, trial=True)
    if not reporting.said:
        # A trial that had no epoch left, or that Tune forgot and its folder remembers: Tune must still hear of it.
        last = read_trial(out, number).last(search.metric)
        if not last:
            raise _no_metric(search.metric, (key for row in read_trial(out, number).rows for key in row))
        population.report(last, hold=search.scheduler == "pbt")


def _values(number: int, drawn: dict[str, Any], task: TrialSetup) -> dict[str, Any]:
    """What was drawn for a trial, by its number or by the searcher."""
    if task.drawn is not None:
        return task.drawn[number]
    return {key: value for key, value in drawn.items() if key != "number"}


def _settle(number: int, values: dict[str, Any], task: TrialSetup, clone: str | None) -> Record:
    """The record of a trial as it shall go on: new, as it was left, or as the clone of another one."""
    out, search = task.folder(number), task.search()
    record = read_record(out, number)
    if search.scheduler != "pbt":
        if record.values and record.values != values:
            # Of proposals that Tune forgot, and which came out otherwise this time.
            out.remove("summary.json")
            out.remove("checkpoints", LAST)
        record = Record(number, values)
        record.write(out)
        return record
    if not record.values:
        record = Record(number, values, (Stage(number, 0, values, {}),))
        record.write(out)
    if record.pending is None:
        donor = population.donor()
        if donor is None or donor == number or _ended(task, donor):
            return record
        if clone is None or clone in {c.id for c in record.clones}:
            return record
        record = _begin(record, donor, clone, task)
    return _take_over(record, task)


def _ended(task: TrialSetup, donor: int) -> bool:
    """Whether a trial has trained to its end: its clone would have no epoch left."""
    folder = task.folder(donor)
    return folder.exists("summary.json") or epochs_of(folder) >= task.base.training.max_epochs


def _begin(record: Record, donor: int, clone: str, task: TrialSetup) -> Record:
    """Write down what is about to be taken over, so that a kill in between does no harm."""
    search, out = task.search(), task.folder(record.number)
    # Draws of the trial's own, for each of its clones.
    rng = np.random.default_rng([search.seed, record.number, len(record.clones) + 1])
    values = mutate(search.space, read_record(task.folder(donor), donor).values, rng)
    there = read_trial(out, record.number)
    best, epoch = there.best(search.metric, search.mode)
    left = {
        "row": {"epoch": epoch, search.metric: best},
        "values": there.best_values(search.metric, search.mode),
    }
    stage = Stage(record.number, 0, values, left if epoch else {})
    record = record.begun(Clone(clone, donor, 0, epochs_of(out), values), stage)
    record.write(out)
    return record


def _take_over(record: Record, task: TrialSetup) -> Record:
    """Carry out what `_begin` wrote down."""
    assert record.pending is not None
    clone, stage = record.pending
    out, source = task.folder(record.number), task.folder(clone.donor)
    while True:
        donor = read_record(source, clone.donor)
        config = task.training(record.number, stage.values)
        epoch, step = exploit(out, source, config.setup())
        # The donor may have become a clone itself meanwhile.
        if read_record(source, clone.donor) == donor:
            break
    record = record.done(donor, epoch)
    record.write(out)
    now = ", ".join(f"{key} {text(value)}" for key, value in record.values.items())
    said = f"goes on as trial {name(clone.donor)} of epoch {epoch}, with {now}"
    task.events.put("cloned", (record.number, said), wait=True)
    if config.output.tensorboard and out.local is not None:
        # Here and not above: TensorBoard takes seconds to import.
        from mocap_ray.training.tensorboard import write_text

        write_text(out.local / "tensorboard", "population", f"Trial {name(record.number)} {said}.", step=step)
    return record


def _no_metric(metric: str, known: Iterable[str]) -> ValueError:
    return ValueError(
        f"metric {metric}: the training has no such figure; it has {', '.join(sorted(set(known)))}"
    )


class _Reporting:
    """Tells Tune of every validation; Tune ends the trial from within this call."""

    def __init__(self, number: int, search: SearchConfig, events: EventQueue) -> None:
        self.number, self.search, self.events = number, search, events
        self.said = False

    def on_cluster(self, cluster: Any, part: Share) -> None:
        """Known to the search already."""

    def on_start(self, start: TrainStart) -> None:
        """Not worth a report."""

    def on_progress(self, progress: Progress) -> None:
        """Not worth a report."""

    def on_epoch_saved(self, report: EpochReport) -> None:
        row = report.row()
        self.events.put("epoch", (self.number, row))
        if self.search.metric in row:
            self.said = True
            population.report(row, hold=self.search.scheduler == "pbt")
        elif report.val:
            # Now, and not after the last epoch.
            raise _no_metric(self.search.metric, row)

    def on_note(self, text: str) -> None:
        """In the trial's own folder."""
