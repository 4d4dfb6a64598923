"""Exponential moving average (EMA) of weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """Exponential moving average of the parameters of a model; buffers are not averaged.

    The decay rises as (1 + t) / (10 + t) up to its value, so that the average of a short training is not dominated by
    the initial weights.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.live = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.mean = {name: p.detach().clone() for name, p in self.live.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Update the average with the current weights."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        live = [p.detach() for p in self.live.values()]
        torch._foreach_lerp_(list(self.mean.values()), live, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Use the averaged weights inside the block, and restore the current ones after it."""
        own = {name: p.detach().clone() for name, p in self.live.items()}
        self._put(self.mean)
        try:
            yield
        finally:
            self._put(own)

    def keep(self) -> None:
        """Replace the weights of the model by the averaged ones."""
        self._put(self.mean)

    @torch.no_grad()
    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, p in self.live.items():
            p.copy_(values[name])

    def restore(self, mean: Mapping[str, Tensor], updates: int) -> None:
        """Restore the averages from a checkpoint."""
        for name, value in self.mean.items():
            value.copy_(mean[name])
        self.updates = updates
