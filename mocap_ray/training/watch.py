"""Stops a training whose loss or gradient is no longer finite, and says where it happened."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mocap_ray.errors import UserError
from mocap_ray.training.options import TrainingOptions

EVERY_ON_GPU = 32
"""Steps between two looks on a GPU: looking waits for it."""
SHOWN = 20
"""Clip ids in the message; the exception has them all."""


class NonFinite(UserError):
    """A loss or gradient is infinite or not a number.

    Attributes:
        epoch, step: from 1, and steps taken before it.
        clips: ids of the clips of that batch; empty where the feed does not know them.
    """

    def __init__(self, message: str, *, epoch: int, step: int, clips: tuple[str, ...]) -> None:
        super().__init__(message)
        self.epoch, self.step, self.clips = epoch, step, clips

    def __reduce__(self) -> tuple[Callable[..., NonFinite], tuple[object, ...]]:
        # Exceptions with keyword arguments do not survive pickling by themselves; Ray sends them to the driver.
        return _again, (str(self), self.epoch, self.step, self.clips)


def _again(message: str, epoch: int, step: int, clips: tuple[str, ...]) -> NonFinite:
    return NonFinite(message, epoch=epoch, step=step, clips=clips)


@dataclass(frozen=True, slots=True)
class _Step:
    epoch: int
    step: int
    loss: Tensor
    norm: Tensor
    rate: float
    clips: Callable[[], list[str]]


class Watch:
    """Looks at every step on the CPU, before its update; on a GPU at 32 together."""

    def __init__(self, options: TrainingOptions, *, every: int, kept: str) -> None:
        """`kept` says in the message where the last good checkpoint is."""
        self.options, self.every, self.kept = options, every, kept
        self.pending: list[_Step] = []
        self.largest_norm = 0.0

    def see(
        self,
        *,
        epoch: int,
        step: int,
        loss: Tensor,
        norm: Tensor,
        rate: float,
        clips: Callable[[], list[str]],
    ) -> None:
        """Note a step. Raises NonFinite, perhaps for one of the steps before it."""
        self.pending.append(_Step(epoch, step, loss.detach(), norm.detach(), rate, clips))
        if len(self.pending) >= self.every:
            self.look()

    def look(self) -> None:
        """Look at the steps not yet looked at. Raises NonFinite for the first that is not finite."""
        if not self.pending:
            return
        steps, self.pending = self.pending, []
        values = torch.stack([torch.stack([s.loss.float(), s.norm.float()]) for s in steps]).tolist()
        for step, (loss, norm) in zip(steps, values, strict=True):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise self._error(step, loss, norm)
            self.largest_norm = max(self.largest_norm, norm)

    def _error(self, s: _Step, loss: float, norm: float) -> NonFinite:
        clips = tuple(s.clips())
        shown = ", ".join(clips[:SHOWN]) + (f" and {len(clips) - SHOWN} more" if len(clips) > SHOWN else "")
        batch = f"on a batch of the clips {shown}" if clips else "on a batch of unknown clips"
        tries = [f"training.learning_rate={s.rate / 10:.1g} (it was {s.rate:.1g})"]
        if self.options.grad_clip is None or self.options.grad_clip > 1:
            tries.append("training.grad_clip=1.0")
        if self.options.precision == "bf16":
            tries.append("training.precision=fp32")
        if self.options.warmup_steps == 0:
            tries.append("training.warmup_steps=500")
        message = (
            f"Epoch {s.epoch + 1}, step {s.step}: the loss is {loss:g} and the norm of its gradient {norm:g}, {batch}. "
            f"Training stopped; {self.kept}. Try --override {', or '.join(tries)}; if it happens again on the same "
            "clips, look at them and leave them out (source.exclude of the extraction)."
        )
        return NonFinite(message, epoch=s.epoch + 1, step=s.step, clips=clips)
