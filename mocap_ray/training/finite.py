"""Stops a training when its loss or gradient is not finite, and reports the step and its items."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mocap_ray.errors import UserError
from mocap_ray.training.options import TrainingOptions
from mocap_ray.training.task import TaskWords

EVERY_ON_GPU = 32
"""Steps between two checks on a GPU, because a check synchronizes with it."""
SHOWN = 20
"""Number of item names in the message; the exception has all of them."""


class NonFinite(UserError):
    """A loss or gradient is infinite or not a number.

    Attributes:
        epoch, step: the epoch, from 1, and the number of steps before this one.
        items: names of the items in the batch; empty if the loader does not know them.
    """

    def __init__(self, message: str, *, epoch: int, step: int, items: tuple[str, ...]) -> None:
        super().__init__(message)
        self.epoch, self.step, self.items = epoch, step, items

    def __reduce__(self) -> tuple[Callable[..., NonFinite], tuple[object, ...]]:
        # Exceptions with keyword arguments need this to be pickled; Ray sends them to the driver.
        return _rebuild, (str(self), self.epoch, self.step, self.items)


def _rebuild(message: str, epoch: int, step: int, items: tuple[str, ...]) -> NonFinite:
    return NonFinite(message, epoch=epoch, step=step, items=items)


@dataclass(frozen=True, slots=True)
class _Step:
    epoch: int
    step: int
    loss: Tensor
    norm: Tensor
    rate: float
    items: Callable[[], list[str]]


class FiniteCheck:
    """Checks each step on the CPU before its update; on a GPU, 32 steps together."""

    def __init__(self, options: TrainingOptions, *, every: int, kept: str, words: TaskWords) -> None:
        """`kept` is the part of the message that says where the last good checkpoint is."""
        self.options, self.every, self.kept, self.words = options, every, kept, words
        self.pending: list[_Step] = []
        self.largest_norm = 0.0

    def add(
        self,
        *,
        epoch: int,
        step: int,
        loss: Tensor,
        norm: Tensor,
        rate: float,
        items: Callable[[], list[str]],
    ) -> None:
        """Add a step. Raises NonFinite, possibly for an earlier step."""
        self.pending.append(_Step(epoch, step, loss.detach(), norm.detach(), rate, items))
        if len(self.pending) >= self.every:
            self.check()

    def check(self) -> None:
        """Check the pending steps. Raises NonFinite for the first one that is not finite."""
        if not self.pending:
            return
        steps, self.pending = self.pending, []
        values = torch.stack([torch.stack([s.loss.float(), s.norm.float()]) for s in steps]).tolist()
        for step, (loss, norm) in zip(steps, values, strict=True):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise self._error(step, loss, norm)
            self.largest_norm = max(self.largest_norm, norm)

    def _error(self, s: _Step, loss: float, norm: float) -> NonFinite:
        items, plural = tuple(s.items()), self.words.items
        noun = self.words.item if len(items) == 1 else plural
        shown = ", ".join(items[:SHOWN]) + (f" and {len(items) - SHOWN} more" if len(items) > SHOWN else "")
        batch = f"on a batch with the {noun} {shown}" if items else f"on a batch of unknown {plural}"
        fixes = [f"training.learning_rate={s.rate / 10:.1g} (now {s.rate:.1g})"]
        if self.options.grad_clip is None or self.options.grad_clip > 1:
            fixes.append("training.grad_clip=1.0")
        if self.options.precision == "bf16":
            fixes.append("training.precision=fp32")
        if self.options.warmup_steps == 0:
            fixes.append("training.warmup_steps=500")
        message = (
            f"Epoch {s.epoch + 1}, step {s.step}: the loss is {loss:g} and its gradient norm is {norm:g}, {batch}. "
            f"The training stopped; {self.kept}. Try --override {' or '.join(fixes)}. If it happens again with the "
            f"same {plural}, inspect them and exclude them ({self.words.leave_out})."
        )
        return NonFinite(message, epoch=s.epoch + 1, step=s.step, items=items)
