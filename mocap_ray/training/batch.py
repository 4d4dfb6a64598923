"""What goes into a training step: a batch, and the model that has a loss for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from torch import Tensor


class Batch(NamedTuple):
    """What a feed yields where it knows the items of a batch; plain tensors do as well."""

    data: Any
    """What `model.loss` takes, on the model's device."""
    items: Callable[[], list[str]]
    """Names of the items that its rows are of, asked for only when the loss is not finite."""


class Trainable(Protocol):
    """What `fit` asks of a model, which is an `nn.Module`."""

    def loss(self, batch: Any, *, epoch: float = 0.0) -> tuple[Tensor, dict[str, Tensor]]:
        """Scalar to minimise, a mean over the batch's rows, and detached scalars worth a curve.

        Args:
            batch: what the feed yields.
            epoch: epochs done before this step, with the part of the present one (2.5: half of the third)
                where the feed knows its length.
        """
        ...


def row_count(data: Any) -> int:
    """Rows of a batch: of its tensor, or of the first one in it."""
    if isinstance(data, Mapping):
        data = next(iter(data.values()))
    return len(data[0] if isinstance(data, tuple) else data)
