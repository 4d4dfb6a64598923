"""The training loop in plain torch, for any model with a loss, in one process or in one of a process group."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from mocap_ray.training.callbacks import Callback, EpochReport
from mocap_ray.training.checkpoint import Checkpoints
from mocap_ray.training.divergence import Divergence, advice
from mocap_ray.training.loop import Loop
from mocap_ray.training.options import TrainingOptions
from mocap_ray.training.task import TaskWords
from mocap_ray.training.team import Team, own_random_numbers


@dataclass(frozen=True, slots=True)
class FitResult:
    """How a training ended.

    Attributes:
        reason: `max_epochs`, `patience` or `max_minutes`; `closed_form` if the model was solved.
        epochs: finished epochs, including those before a resume.
        step: optimiser steps, including those before a resume.
        best_epoch, best_loss: by the validation loss, or by the training loss without validation; epochs count from 1.
        seconds: training time, including the time before a resume.
        diverged: how the validation loss diverges at the end; None if it does not.
    """

    reason: str
    epochs: int
    step: int
    best_epoch: int
    best_loss: float
    seconds: float
    diverged: Divergence | None = None


def fit(
    model: nn.Module,
    batches: Callable[[int], Iterable[Any]],
    *,
    options: TrainingOptions,
    validate: Callable[[], Mapping[str, float]] | None = None,
    checkpoints: Checkpoints | None = None,
    callback: Callback | None = None,
    resume: Mapping[str, Any] | None = None,
    team: Team | None = None,
    words: TaskWords | None = None,
    solved: bool = False,
) -> FitResult:
    """Train `model` in place; see `batch.Trainable` for the methods it needs.

    The random numbers of an epoch depend only on (seed, epoch, rank). So a resumed training draws the same numbers as
    an uninterrupted one, and equal seeds give equal losses. The state of the caller's generators is restored.

    Args:
        model: on `team.device`; ends with the weights of the last epoch (the averaged ones with `ema`).
        batches: returns the batches of an epoch, counted from 0: inputs of `model.loss`, or `Batch`. Every rank must
            get the same number of batches.
        options: see `TrainingOptions`.
        validate: returns `{"loss": ..., ...}`, equal on all ranks; called in eval mode, without gradients, with the
            averaged weights if `ema` is set.
        checkpoints: a `checkpoint.Checkpoints`, which writes best and last; None on ranks other than 0.
        callback: is called on progress, see `callbacks.Callback`.
        resume: the state of a checkpoint: `checkpoint.read(...)["state"]`.
        team: the process group; by default a single process.
        words: nouns for messages.
        solved: the model is at its closed-form solution: one epoch measures its losses, and changes nothing.

    Raises:
        NonFinite: a loss or gradient is not finite; the message names the items of that batch. The checkpoints are
            not changed.
        ValueError: an epoch has no batches.
    """
    return Fitting(
        model,
        batches,
        options=options,
        validate=validate,
        checkpoints=checkpoints,
        callback=callback,
        resume=resume,
        team=team,
        words=words,
        solved=solved,
    ).run()


class Fitting:
    """A run of `fit` that its caller advances epoch by epoch, so that several can take turns in one process."""

    def __init__(
        self,
        model: nn.Module,
        batches: Callable[[int], Iterable[Any]],
        *,
        options: TrainingOptions,
        validate: Callable[[], Mapping[str, float]] | None = None,
        checkpoints: Checkpoints | None = None,
        callback: Callback | None = None,
        resume: Mapping[str, Any] | None = None,
        team: Team | None = None,
        words: TaskWords | None = None,
        solved: bool = False,
    ) -> None:
        """Take what `fit` takes, and restore the state to resume."""
        self.model, self.batches, self.options, self.validate = model, batches, options, validate
        self.checkpoints, self.callback, self.words = (
            checkpoints,
            callback or Callback(),
            words or TaskWords(),
        )
        self.loop = Loop(
            model, options, team or Team(), kept=_kept(checkpoints), words=self.words, solved=solved
        )
        if resume is not None:
            self.loop.restore(resume)
        self.warned = False

    def run(self) -> FitResult:
        """Train until the end."""
        self.start()
        try:
            for _ in self.epochs():
                pass
        finally:
            self.callback.on_end()
        return self.result()

    def start(self) -> None:
        """Call `Callback.on_start`."""
        self.callback.on_start(self.loop.start())

    def epochs(self) -> Iterator[EpochReport]:
        """Train until the end; yields after each epoch and its checkpoints. See `fit` for what it raises."""
        loop = self.loop
        loop.clock = time.perf_counter()
        while loop.stop_reason() is None:
            with own_random_numbers(loop.team.device):
                report = self._epoch()
            paused = time.perf_counter()
            yield report
            loop.clock += time.perf_counter() - paused  # the time of others is not counted

    def _epoch(self) -> EpochReport:
        loop, callback = self.loop, self.callback
        measured = loop.train(self.batches, callback)
        with loop.judged_weights():
            val = loop.validate(self.validate) if loop.validation_due() else None
            report = loop.judge(measured, val)
            if not math.isfinite(report.judged):
                callback.on_note(
                    f"The loss of epoch {report.epoch} is {report.judged}, so it cannot be the best epoch."
                )
            callback.on_epoch_end(report, self.model)
            if not self.warned and (found := loop.divergence()) is not None:
                self.warned = True
                callback.on_note(advice(found, self.options, self.words, validated=self.validate is not None))
        if val is not None and self.checkpoints is not None:
            self.checkpoints.save(loop.state(), best=report.best)
        with loop.judged_weights():
            callback.on_epoch_saved(report, self.model)
        return report

    def result(self) -> FitResult:
        """How the training ended, or how far it is; the model keeps the weights that were validated."""
        loop = self.loop
        if loop.ema is not None:
            loop.ema.keep()
        return FitResult(
            loop.stop_reason() or "",
            loop.epoch,
            loop.step,
            loop.best_epoch,
            loop.best_loss,
            loop.seconds,
            loop.divergence(),
        )


def _kept(checkpoints: Checkpoints | None) -> str:
    """Where the last good checkpoint is, for an error message."""
    return (
        "no checkpoints were requested"
        if checkpoints is None
        else f"the last good checkpoint is in {checkpoints.folder.uri}"
    )
