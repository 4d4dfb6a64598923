"""Stops a training whose loss or gradient is no longer finite, and says where it happened."""

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
"""Steps between two looks on a GPU: looking waits for it."""
SHOWN = 20
"""Names of items in the message; the exception has them all."""


class NonFinite(UserError):
    """A loss or gradient is infinite or not a number.

    Attributes:
        epoch, step: from 1, and steps taken before it.
        items: names of the items of that batch; empty where the feed does not know them.
    """

    def __init__(self, message: str, *, epoch: int, step: int, items: tuple[str, ...]) -> None:
        super().__init__(message)
        self.epoch, self.step, self.items = epoch, step, items

    def __reduce__(self) -> tuple[Callable[..., NonFinite], tuple[object, ...]]:
        # Exceptions with keyword arguments do not survive pickling by themselves; Ray sends them to the driver.
        return _again, (str(self), self.epoch, self.step, self.items)


def _again(message: str, epoch: int, step: int, items: tuple[str, ...]) -> NonFinite:
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
    """Looks at every step on the CPU, before its update; on a GPU at 32 together."""

    def __init__(self, options: TrainingOptions, *, every: int, kept: str, words: TaskWords) -> None:
        """`kept` says in the message where the last good checkpoint is."""
        self.options, self.every, self.kept, self.words = options, every, kept, words
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
        items: Callable[[], list[str]],
    ) -> None:
        """Note a step. Raises NonFinite, perhaps for one of the steps before it."""
        self.pending.append(_Step(epoch, step, loss.detach(), norm.detach(), rate, items))
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
        items, word = tuple(s.items()), self.words.items
        shown = ", ".join(items[:SHOWN]) + (f" and {len(items) - SHOWN} more" if len(items) > SHOWN else "")
        batch = f"on a batch of the {word} {shown}" if items else f"on a batch of unknown {word}"
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
            f"{word}, look at them and leave them out ({self.words.leave_out})."
        )
        return NonFinite(message, epoch=s.epoch + 1, step=s.step, items=items)
