"""The learning rate: none, step, cosine or plateau, each with a warm-up."""

from __future__ import annotations

import math
from typing import Any

from mocap_ray.training.options import TrainingOptions


class Schedule:
    """Learning rate as a function of how far the training is, and for `plateau` of how it went.

    `torch.optim.lr_scheduler` counts its own calls, and chaining a warm-up with a plateau is not supported
    there; a function of (step, epochs) has nothing to restore but the plateau's three numbers.
    """

    def __init__(self, options: TrainingOptions) -> None:
        self.options = options
        self.decay, self.best, self.waited = 1.0, math.inf, 0

    def rate(self, *, step: int, epochs: float) -> float:
        """Learning rate of a step.

        Args:
            step: steps taken before it.
            epochs: epochs done before it, with the part of the current one (2.5: half of the third).
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

    def judged(self, loss: float) -> None:
        """Tell of a validation; only `plateau` listens."""
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
        """Go on from `state()`."""
        self.decay, self.best, self.waited = state["decay"], state["best"], state["waited"]
