"""The training loop in plain torch, for any model with a loss, in one process or in one of a process group."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from mocap_ray.training.callbacks import Callback
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
    words = words or TaskWords()
    run = Loop(model, options, team or Team(), kept=_kept(checkpoints), words=words, solved=solved)
    callback = callback or Callback()
    if resume is not None:
        run.restore(resume)
    callback.on_start(run.start())
    warned = False
    try:
        with own_random_numbers(run.team.device):
            while (reason := run.stop_reason()) is None:
                measured = run.train(batches, callback)
                with run.judged_weights():
                    val = run.validate(validate) if run.validation_due() else None
                    report = run.judge(measured, val)
                    if not math.isfinite(report.judged):
                        callback.on_note(
                            f"The loss of epoch {report.epoch} is {report.judged}, so it cannot be the best epoch."
                        )
                    callback.on_epoch_end(report, model)
                    if not warned and (found := run.divergence()) is not None:
                        warned = True
                        callback.on_note(advice(found, options, words, validated=validate is not None))
                if val is not None and checkpoints is not None:
                    checkpoints.save(run.state(), best=report.best)
                with run.judged_weights():
                    callback.on_epoch_saved(report, model)
    finally:
        callback.on_end()
    if run.ema is not None:
        run.ema.keep()
    return FitResult(
        reason, run.epoch, run.step, run.best_epoch, run.best_loss, run.seconds, run.divergence()
    )


def _kept(checkpoints: Checkpoints | None) -> str:
    """Where the last good checkpoint is, for an error message."""
    return (
        "no checkpoints were requested"
        if checkpoints is None
        else f"the last good checkpoint is in {checkpoints.folder.uri}"
    )
