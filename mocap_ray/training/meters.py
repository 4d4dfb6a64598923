"""What an epoch measures of itself: means of scalars, and the time spent waiting."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


class Means:
    """Means over steps, summed in float64 on the device: reading them waits for it, adding does not."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Count one step's scalars; a name may be missing in some steps."""
        for name, value in values.items():
            value = value.detach()
            if name not in self.sums:
                self.sums[name] = torch.zeros((), dtype=torch.float64, device=value.device)
                self.counts[name] = 0
            self.sums[name] += value
            self.counts[name] += 1

    def read(self) -> dict[str, float]:
        """The means so far."""
        return {name: float(total) / self.counts[name] for name, total in self.sums.items()}


class Waiting:
    """An iterator that measures for how long its consumer waited."""

    def __init__(self, batches: Iterable[Any]) -> None:
        self.batches = iter(batches)
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        since = time.perf_counter()
        try:
            return next(self.batches)
        finally:
            self.seconds += time.perf_counter() - since

    def close(self) -> None:
        """Tell the batches, where they can be told, that nobody asks for more."""
        close = getattr(self.batches, "close", None)
        if close is not None:
            close()
