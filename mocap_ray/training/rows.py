"""Rows to train on: a source that reads them shard by shard, and rows in memory.

A row is one training sample, an array of a fixed shape. Each row belongs to a named item, so that an error can be
traced to the file that it comes from.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from mocap_ray.errors import UserError

CHECKED_ROWS = 1 << 16
"""Number of rows that are checked for NaN and infinity at a time."""

Gather = Callable[[Int[Tensor, "n"]], Tensor]
"""Row indices, on the device of the rows -> the rows [n, *shape] on that device."""


class TrainingDataError(UserError):
    """Data that cannot be trained on."""


class NoRows(TrainingDataError):
    """A split without rows; without rows to validate on, the training loss decides which epoch is the best."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Consecutive rows of a shard.

    Attributes:
        rows: [n, *shape].
        item: index of the item of each row, into `names`.
        names: names of the items in this block.
    """

    rows: Shaped[np.ndarray, "n ..."]
    item: Int[np.ndarray, "n"]
    names: Sequence[str]


class HeldRows(ABC):
    """The rows of a split in memory."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of rows."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Size in bytes on a device."""

    @abstractmethod
    def on(self, device: torch.device) -> Gather:
        """Copy the rows to a device if needed, and return a function that indexes them there."""

    @abstractmethod
    def names(self, index: Int[np.ndarray, "n"]) -> list[str]:
        """Names of the items of some rows, without duplicates."""

    @abstractmethod
    def sample(self) -> Shaped[np.ndarray, "m ..."]:
        """Rows for the statistics of a model: all of them, or enough."""

    def drawn(self, *, seed: int, epoch: int) -> HeldRows:
        """The rows of an epoch of training; see `RowSource.drawn`."""
        return self


@dataclass(frozen=True, slots=True, eq=False)
class ArrayRows(HeldRows):
    """One array with a copy of each row.

    Attributes:
        data: [N, *shape].
        item: index of the item of each row, into `item_names`.
        item_names: names of all items, in the order of reading.
    """

    data: Shaped[np.ndarray, "N ..."]
    item: Int[np.ndarray, "N"]
    item_names: list[str]

    def __len__(self) -> int:
        return len(self.data)

    @property
    def nbytes(self) -> int:
        """Size of the rows."""
        return int(self.data.nbytes)

    def on(self, device: torch.device) -> Gather:
        """Copy the rows to the device (on the CPU: no copy), and return a function that indexes them."""
        rows = torch.from_numpy(self.data).to(device)
        return lambda index: rows[index]

    def names(self, index: Int[np.ndarray, "n"]) -> list[str]:
        """Names of the items of some rows, in the order of reading."""
        return [self.item_names[k] for k in np.unique(self.item[index])]

    def sample(self) -> Shaped[np.ndarray, "N ..."]:
        """All rows."""
        return self.data


class RowSource(ABC):
    """The rows of a split, read shard by shard. Picklable: it is sent to the processes that read."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of a row."""

    @property
    @abstractmethod
    def dtype(self) -> np.dtype:
        """Dtype of a row."""

    @property
    @abstractmethod
    def counts(self) -> Mapping[int, int]:
        """Index of each shard of the split -> largest number of its rows; read from the manifest only."""

    @abstractmethod
    def blocks(self, shard: int) -> Iterator[Block]:
        """The rows of a shard, in the same order each time."""

    def drawn(self, *, seed: int, epoch: int) -> RowSource:
        """The rows of an epoch of training; by default these, the same in each epoch.

        A source that draws other rows in each epoch (random parts of long items, a random half of the items) returns a
        source of these. They depend on (seed, epoch) alone, their number is the same in each epoch, and their `counts`
        are exact. The same class in memory (`load`) draws the same rows. Validation always uses the rows as they are.
        """
        return self

    def load(self) -> HeldRows:
        """Read all rows into memory, one copy of each; a source with overlapping rows may store shared parts once.

        Raises:
            NoRows: there are no rows.
            UserError: more rows than `counts` says, or non-finite numbers.
        """
        counts = self.counts
        # Memory pages at the unused end are never touched, so they only take address space.
        out = np.empty((sum(counts.values()), *self.shape), self.dtype)
        item = np.empty(len(out), np.int32)
        names: list[str] = []
        end = 0
        for shard in counts:
            for block in self.blocks(shard):
                following = end + len(block.rows)
                if following > len(out):
                    raise self.too_many(shard)
                out[end:following] = block.rows
                item[end:following] = block.item + len(names)
                names += block.names
                end = following
        if not end:
            raise self.empty()
        rows = ArrayRows(out[:end], item[:end], names)
        for start in range(0, end, CHECKED_ROWS):
            wrong = not_finite(rows.data[start : start + CHECKED_ROWS])
            if wrong.any():
                raise self.broken(rows.names(start + np.flatnonzero(wrong)))
        return rows

    @property
    def row_bytes(self) -> int:
        """Size of a row in bytes, including the index of its item."""
        return math.prod(self.shape) * self.dtype.itemsize + 4

    def empty(self) -> NoRows:
        """The error for a split without rows."""
        return NoRows("The split to train on has no rows. Choose another one.")

    def too_many(self, shard: int) -> UserError:
        """The error for a shard with more rows than the manifest says."""
        return TrainingDataError(
            f"Shard {shard} has more rows than its manifest says. Create the data set again."
        )

    def broken(self, names: Sequence[str]) -> UserError:
        """The error for items with non-finite rows."""
        return TrainingDataError(
            f"Non-finite numbers in {', '.join(names[:5])}. Exclude these items, and create the data set again."
        )


def not_finite(rows: Shaped[np.ndarray, "n ..."]) -> Shaped[np.ndarray, "n"]:
    """Which rows contain NaN or infinity; always false for integer rows."""
    if not np.issubdtype(rows.dtype, np.floating):
        return np.zeros(len(rows), bool)
    return np.asarray(~np.isfinite(rows).all(axis=tuple(range(1, rows.ndim))))
