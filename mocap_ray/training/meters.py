"""Measurements of an epoch: means of scalars, and the time spent waiting for batches."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


class Means:
    """Means over steps, summed in float64 on the device; `read` synchronizes with the device, `add` does not."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add the scalars of one step; a name may be missing in some steps."""
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
    """An iterator that measures how long its consumer waits."""

    def __init__(self, batches: Iterable[Any]) -> None:
        self.batches = iter(batches)
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        start = time.perf_counter()
        try:
            return next(self.batches)
        finally:
            self.seconds += time.perf_counter() - start

    def close(self) -> None:
        """Close the iterator of batches, if it has a `close` method."""
        close = getattr(self.batches, "close", None)
        if close is not None:
            close()
