"""The learning rate: none, step, cosine or plateau, each with a warm-up."""

from __future__ import annotations

import math
from typing import Any

from mocap_ray.training.options import TrainingOptions


class Schedule:
    """The learning rate as a function of step and epoch, and for `plateau` also of the validation losses.

    `torch.optim.lr_scheduler` counts its own calls and cannot chain a warm-up with a plateau. A function of
    (step, epochs) has no state to restore except the three numbers of the plateau.
    """

    def __init__(self, options: TrainingOptions) -> None:
        self.options = options
        self.decay, self.best, self.waited = 1.0, math.inf, 0

    def rate(self, *, step: int, epochs: float) -> float:
        """The learning rate of a step.

        Args:
            step: number of steps before it.
            epochs: number of epochs before it, including the fraction of the current one (2.5: half of the third).
        """
        o = self.options
        warm = min(1.0, (step + 1) / o.warmup_steps) if o.warmup_steps else 1.0
        if o.scheduler == "step":
            factor = o.gamma ** (int(epochs) // o.step_size)
        elif o.scheduler == "cosine":
            factor = 0.5 * (1 + math.cos(math.pi * min(epochs / o.max_epochs, 1.0)))
        else:
            factor = self.decay
        return o.learning_rate * warm * factor

    def record(self, loss: float) -> None:
        """Record a validation loss; only `plateau` uses it."""
        if self.options.scheduler != "plateau":
            return
        if loss < self.best - self.options.min_delta:
            self.best, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited > self.options.plateau_patience:
            self.decay, self.waited = self.decay * self.options.gamma, 0

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"decay": self.decay, "best": self.best, "waited": self.waited}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore from `state()`."""
        self.decay, self.best, self.waited = state["decay"], state["best"], state["waited"]
