"""Training all folds of a cross-validation in one process, or in one process group, an epoch of each in turn.

After each epoch the figures of all folds are known, so their mean can decide when to stop, in a training as in a
search. The epoch with the lowest mean validation loss is the best one of all folds.

    <output.root>/config.yaml           the resolved config
    <output.root>/folds/0, 1, ...       each the folder of a training, see session.py
    <output.root>/metrics.csv           a row per epoch: the mean over the folds; spread of the validation metrics
    <output.root>/trackers.json         only if `output.tracker` is set: logs these rows
    <output.root>/summary.json          written at the end
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic

from mocap_ray.errors import UserError
from mocap_ray.storage import Place, place
from mocap_ray.training import session
from mocap_ray.training.callbacks import (
    Callback,
    CallbackList,
    EpochReport,
    MetricsFile,
    Progress,
    TrainStart,
)
from mocap_ray.training.checkpoint import BEST, LAST, Checkpoints
from mocap_ray.training.feeds import make_loaders
from mocap_ray.training.folds import Folded, each_fold
from mocap_ray.training.means import Means, Row, fold_rows
from mocap_ray.training.prepare import HASH, SUMMARY, prepare
from mocap_ray.training.rows import TrainingDataError
from mocap_ray.training.streaming import ShardReader
from mocap_ray.training.task import M, TrainingSetup
from mocap_ray.training.team import Team
from mocap_ray.training.trackers import Tracker, make_trackers
from mocap_ray.wording import listed


def run(
    setup: TrainingSetup[M],
    *,
    team: Team | None = None,
    callback: Callback | None = None,
    reader: Callable[[], ShardReader] | None = None,
) -> dict[str, Any]:
    """Run one process of a prepared training, with all folds if the config says so; see `session.run`."""
    if not setup.data.every_fold:
        return session.run(setup, team=team, callback=callback, reader=reader)
    team = team or session.alone(setup.training.device)
    rank0 = team.rank == 0
    callbacks = [callback] if callback is not None and rank0 else []
    out = place(setup.output.root)
    trackers: list[Tracker] = []
    if rank0:
        trackers = make_trackers(setup.output, setup.plain, out, CallbackList(callbacks).on_note)
    folds: list[_Fold[M]] = []
    summary = None
    try:
        for each in each_fold(setup):
            folds.append(_Fold(each, team, CallbackList(callbacks), reader))
        summary = _Lockstep(setup, folds, callbacks, trackers).run()
        if rank0:
            out.write_atomic((json.dumps(summary, indent=1) + "\n").encode(), SUMMARY)
        return summary
    finally:
        for fold in folds:
            fold.close()
        for tracker in trackers:
            tracker.close(summary)


def train_locally(
    setup: TrainingSetup[M],
    callback: Callback | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Run a complete training, or that of all folds, in this process, without Ray."""
    prepare(setup, resume=resume, overwrite=overwrite)
    return run(setup, callback=callback)


class _LastOnly(Checkpoints):
    """Writes `last.pt` alone; the mean over the folds decides which one becomes `best.pt`."""

    def save(self, state: Mapping[str, Any], *, best: bool) -> None:
        super().save(state, best=False)


class _OfFold(Callback):
    """Passes progress and notes of one fold on as those of all folds."""

    def __init__(self, callback: Callback, fold: int, folds: int) -> None:
        self.callback, self.fold, self.folds = callback, fold, folds

    def on_progress(self, progress: Progress) -> None:
        """The steps of the folds before it count as finished."""
        of = progress.of or 0
        self.callback.on_progress(
            replace(progress, done=progress.done + self.fold * of, of=of * self.folds or None)
        )

    def on_note(self, text: str) -> None:
        """Name the fold."""
        self.callback.on_note(f"Fold {self.fold}: {text}")


class _Fold(Generic[M]):
    """One fold: its training, and the rows of its metrics.csv by epoch."""

    def __init__(
        self,
        setup: TrainingSetup[M],
        team: Team,
        callback: Callback,
        reader: Callable[[], ShardReader] | None,
    ) -> None:
        number, count = setup.data.fold, setup.data.fold_count
        assert number is not None
        self.number, self.setup = number, setup
        self.out = place(setup.output.root)
        self.loaders = make_loaders(setup, team, reader, at_once=count)
        if self.loaders.val is None:
            self.loaders.close()
            assert isinstance(setup.task, Folded)
            names = listed(setup.task.held_out, most=5)
            raise TrainingDataError(
                f"{setup.data.root}: fold {number} has no {setup.words.rows} ({setup.words.group} {names}). Lower "
                "data.folds, or set it to lists."
            )
        # One fold alone must not stop: the mean decides.
        patient = replace(setup, training=setup.training.model_copy(update={"patience": None}))
        callbacks = [_OfFold(callback, number, count)] if team.rank == 0 else []
        self.training = session.Training(patient, self.loaders, team, callbacks, writer=_LastOnly)
        self.loop = self.training.fitting.loop
        self.rows: dict[int, Row] = fold_rows(self.out, until=self.loop.epoch)
        self.running: Iterator[EpochReport] | None = None

    def advance(self) -> EpochReport | None:
        """Train one epoch; None if the training has ended."""
        if self.running is None:
            self.training.fitting.start()
            self.running = self.training.fitting.epochs()
        try:
            report = next(self.running, None)
        except UserError as error:
            error.args = (f"Fold {self.number}: {error}",)
            raise
        finally:
            # A stream that reads ahead for each fold would need the memory of all of them.
            self.loaders.close()
        if report is not None:
            self.rows[report.epoch] = report.row()
        return report

    def keep_best(self) -> None:
        """Make the last checkpoint the best one."""
        if self.training.team.rank == 0:
            folder = self.training.folder
            folder.write_atomic(folder.read(LAST), BEST)

    def finish(self, *, best_epoch: int, reason: str) -> dict[str, Any]:
        """Write the export and summary.json; returns the summary."""
        result = self.training.fitting.result()
        loss = self.rows.get(best_epoch, {}).get("val_loss", math.nan)
        return self.training.finish(replace(result, reason=reason, best_epoch=best_epoch, best_loss=loss))

    def close(self) -> None:
        """Stop reading, and end the callbacks."""
        self.loaders.close()
        if self.running is not None:
            self.training.fitting.callback.on_end()


class _MeansFile(MetricsFile):
    """Writes the means, also those of earlier runs: they follow from the rows of the folds."""

    def __init__(self, out: Place, means: Means) -> None:
        super().__init__(out)
        self.means = means

    def on_start(self, start: TrainStart) -> None:
        """Write the rows of the epochs before a resume."""
        self.rows = [{**row} for row in self.means.rows]
        if self.rows:
            self.write()


class _Lockstep(Generic[M]):
    """All folds of a training, and the mean of their figures."""

    def __init__(
        self,
        setup: TrainingSetup[M],
        folds: Sequence[_Fold[M]],
        callbacks: Sequence[Callback],
        trackers: Sequence[Tracker],
    ) -> None:
        self.setup, self.folds = setup, folds
        self.means = Means(setup.training)
        team = folds[0].training.team
        files = (_MeansFile(place(setup.output.root), self.means), *trackers) if team.rank == 0 else ()
        self.callback = CallbackList([*callbacks, *files])
        self.epoch = min(fold.loop.epoch for fold in folds)

    def run(self) -> dict[str, Any]:
        """Train to the end; returns the summary, as in summary.json."""
        for epoch in range(1, self.epoch + 1):
            self._add(epoch)
        if self.epoch and self.means.best_epoch == self.epoch and self._together():
            self._keep_best()  # the last run may have been killed before it did
        self.callback.on_start(self._start())
        try:
            reason = self._stop_reason()
            while reason is None:
                reason = self._advance() or self._stop_reason()
        finally:
            self.callback.on_end()
        return self._summary(reason)

    def _start(self) -> TrainStart:
        first = self.folds[0].loop.start()
        row = self.means.rows[-1] if self.means.rows else {}
        return replace(first, epoch=self.epoch, step=int(row.get("step", 0)))

    def _together(self) -> bool:
        return all(fold.loop.epoch == self.epoch for fold in self.folds)

    def _stop_reason(self) -> str | None:
        """Why the training is finished, or None. After a kill some folds may be ahead: the others follow first."""
        if not self._together():
            return None
        if self.means.impatient:
            return "patience"
        return next(filter(None, (fold.loop.stop_reason() for fold in self.folds)), None)

    def _advance(self) -> str | None:
        """Train the next epoch of each fold that is behind; returns the reason if one of them has ended."""
        self.epoch += 1
        for fold in self.folds:
            if fold.loop.epoch < self.epoch and fold.advance() is None:
                return fold.loop.stop_reason()
        best = self._add()
        if best is None:
            return None
        model, epochs = self.folds[0].training.model, self.folds[0].loop.epochs
        report = self.means.report(best=best, folds=len(self.folds), epochs=epochs)
        self.callback.on_epoch_end(report, model)
        if best:
            self._keep_best()
        self.callback.on_epoch_saved(report, model)
        return None

    def _add(self, epoch: int | None = None) -> bool | None:
        """Add the mean of an epoch; returns whether it is the best so far, or None if the row of a fold is missing."""
        rows = [fold.rows.get(epoch or self.epoch) for fold in self.folds]
        found = [row for row in rows if row is not None]
        return self.means.add(found) if len(found) == len(rows) else None

    def _keep_best(self) -> None:
        for fold in self.folds:
            fold.keep_best()

    def _summary(self, reason: str) -> dict[str, Any]:
        """The summary, after those of the folds were written."""
        means, task = self.means, self.setup.task
        each = [fold.finish(best_epoch=means.best_epoch, reason=reason) for fold in self.folds]
        best = {
            f"best_{key.removeprefix('val_')}": x for key, x in means.best.items() if key.startswith("val_")
        }
        same = ("kind", "parameters", "feed", HASH, "workers", "device")
        return {
            **{key: each[0][key] for key in same},
            "folds": len(each),
            "reason": reason,
            "epochs": self.epoch,
            "best_epoch": means.best_epoch,
            "seconds": sum(summary["seconds"] for summary in each),
            **best,
            "caveat": task.caveat(each),
            "each": each,
            "root": self.setup.output.root,
        }
