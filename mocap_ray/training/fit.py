"""The loop: plain torch, for any model that has a loss, on one process or as one of a team (floor 5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from mocap_ray.training.options import TrainingOptions


class Batch(NamedTuple):
    """What a feed yields where it knows the clips of a batch; plain tensors do as well."""

    data: Any
    """What `model.loss` takes, on the model's device."""
    clips: Callable[[], list[str]]
    """Ids of the clips in it, asked for only when the loss is not finite."""


class Trainable(Protocol):
    """What `fit` asks of a model, which is an `nn.Module`."""

    def loss(self, batch: Any, *, step: int = 0) -> tuple[Tensor, dict[str, Tensor]]:
        """Scalar to minimise, a mean over the batch's rows, and detached scalars worth a curve."""
        ...


def _alone(values: dict[str, float]) -> dict[str, float]:
    return values


def _as_it_is(module: nn.Module) -> nn.Module:
    return module


@dataclass(frozen=True)
class Team:
    """The processes that share each step; alone by default. `distributed/train.py` makes the others.

    Attributes:
        rank, world: which of how many. Rank 0 writes the files.
        device: of this process.
        wrap: makes the module whose `forward(batch, step)` is the model's loss average its gradients over the
            team (DistributedDataParallel).
        mean: the mean over the team of each value of a dict with the same keys in every process.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    wrap: Callable[[nn.Module], nn.Module] = _as_it_is
    mean: Callable[[dict[str, float]], dict[str, float]] = _alone


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
    checkpoints: Any = None,
    listener: Any = None,
    resume: Mapping[str, Any] | None = None,
    team: Team | None = None,
) -> FitResult:
    """Train `model` in place; see `Trainable` for what it must offer.

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
        listener: hears of progress, see `listener.Listener`.
        resume: the state of a checkpoint, as `checkpoint.read(...)["state"]` gives it.
        team: alone by default.

    Raises:
        NonFinite: a loss or gradient that is not finite; names the clips of that batch. The checkpoints stay
            as they were.
    """
    raise NotImplementedError
