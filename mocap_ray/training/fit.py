"""A training: plain torch, for any model that has a loss, on one process or as one of a team."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from mocap_ray.training.callbacks import Callback
from mocap_ray.training.checkpoint import Checkpoints
from mocap_ray.training.loop import Loop
from mocap_ray.training.options import TrainingOptions
from mocap_ray.training.task import TaskWords
from mocap_ray.training.team import Team, own_random_numbers


@dataclass(frozen=True, slots=True)
class FitResult:
    """How a training ended.

    Attributes:
        reason: `max_epochs`, `patience` or `max_minutes`.
        epochs: finished, those before a resume included.
        step: optimiser steps, likewise.
        best_epoch, best_loss: of the judged loss (validation, or training without one); epochs count from 1.
        seconds: of training, those before a resume included.
    """

    reason: str
    epochs: int
    step: int
    best_epoch: int
    best_loss: float
    seconds: float


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
) -> FitResult:
    """Train `model` in place; see `batch.Trainable` for what it must offer.

    The random numbers of an epoch depend on (seed, epoch, rank) alone, so that a resumed training draws what
    an uninterrupted one draws, and equal seeds give equal losses. The caller's own generators are put back.

    Args:
        model: on `team.device`; its weights are the last ones afterwards (averaged ones with `ema`).
        batches: the batches of an epoch, counted from 0: whatever `model.loss` takes, or `Batch`. All members
            of a team must get equally many.
        options: see `TrainingOptions`.
        validate: `{"loss": judged, ...}`, equal in all members of a team; called in eval mode, without
            gradients, with the averaged weights where `ema` is set.
        checkpoints: a `checkpoint.Checkpoints`, which writes best and last; None in ranks other than 0.
        callback: hears of progress, see `callback.Callback`.
        resume: the state of a checkpoint, as `checkpoint.read(...)["state"]` gives it.
        team: alone by default.
        words: for messages.

    Raises:
        NonFinite: a loss or gradient that is not finite; names the items of that batch. The checkpoints stay
            as they were.
    """
    run = Loop(model, options, team or Team(), kept=_kept(checkpoints), words=words or TaskWords())
    callback = callback or Callback()
    if resume is not None:
        run.restore(resume)
    callback.on_start(run.start())
    try:
        with own_random_numbers(run.team.device):
            while (reason := run.over()) is None:
                measured = run.train(batches, callback)
                with run.judged_weights():
                    val = run.validate(validate) if run.due() else None
                    report = run.judge(measured, val)
                    if not math.isfinite(report.judged):
                        callback.on_note(
                            f"The judged loss of epoch {report.epoch} is {report.judged}: not the best."
                        )
                    callback.on_epoch_end(report, model)
                if val is not None and checkpoints is not None:
                    checkpoints.save(run.state(), best=report.best)
                with run.judged_weights():
                    callback.on_epoch_saved(report, model)
    finally:
        callback.on_end()
    if run.ema is not None:
        run.ema.keep()
    return FitResult(reason, run.epoch, run.step, run.best_epoch, run.best_loss, run.seconds)


def _kept(checkpoints: Checkpoints | None) -> str:
    return (
        "no checkpoints were asked for"
        if checkpoints is None
        else f"{checkpoints.folder.uri} has the last good one"
    )
