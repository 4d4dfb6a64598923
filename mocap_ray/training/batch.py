"""The inputs of a training step: a batch, and a model that has a loss for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from torch import Tensor


class Batch(NamedTuple):
    """A batch with the names of its items; loaders may also yield plain tensors."""

    data: Any
    """The input of `model.loss`, on the device of the model."""
    items: Callable[[], list[str]]
    """Returns the names of the items in the batch; only called when the loss is not finite."""


class Trainable(Protocol):
    """The methods that `fit` needs of a model, which is also an `nn.Module`."""

    def loss(self, batch: Any, *, epoch: float = 0.0) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss to minimise, a mean over the rows of the batch, and detached scalars to log.

        Args:
            batch: data from the loader.
            epoch: number of epochs before this step, including the fraction of the current one (2.5: half of the
                third) if the loader knows its length.
        """
        ...


def row_count(data: Any) -> int:
    """Number of rows of a batch: the length of its tensor, or of its first tensor."""
    if isinstance(data, Mapping):
        data = next(iter(data.values()))
    return len(data[0] if isinstance(data, tuple) else data)
