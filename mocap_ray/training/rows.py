"""Rows to train on: a source that reads them shard by shard, and rows that memory holds.

A row is whatever a task trains on, as one array of a fixed shape. Rows belong to items with names, so that a fault
can be traced to the file that it came from.
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
"""Rows that are checked for NaN and infinity at a time."""

Gather = Callable[[Int[Tensor, "n"]], Tensor]
"""Indices of rows, on the device where the rows are -> the rows [n, *shape] on that device."""


class TrainingDataError(UserError):
    """Data that cannot be trained on."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Consecutive rows of a shard.

    Attributes:
        rows: [n, *shape].
        item: for each row the item that it is of, an index into `names`.
        names: of the items in this block.
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
        """Bytes that `on` needs on a device."""

    @abstractmethod
    def on(self, device: torch.device) -> Gather:
        """Copy the rows to a device (not where they are there already), and return what indexes them there."""

    @abstractmethod
    def names(self, index: Int[np.ndarray, "n"]) -> list[str]:
        """Names of the items that some rows are of, each once."""

    @abstractmethod
    def sample(self) -> Shaped[np.ndarray, "m ..."]:
        """Rows from which a model may take statistics: all of them, or enough."""


@dataclass(frozen=True, slots=True, eq=False)
class ArrayRows(HeldRows):
    """One array with a copy of each row.

    Attributes:
        data: [N, *shape].
        item: for each row an index into `item_names`.
        item_names: of all items, in the order of reading.
    """

    data: Shaped[np.ndarray, "N ..."]
    item: Int[np.ndarray, "N"]
    item_names: list[str]

    def __len__(self) -> int:
        return len(self.data)

    @property
    def nbytes(self) -> int:
        """Of the rows alone."""
        return int(self.data.nbytes)

    def on(self, device: torch.device) -> Gather:
        """Index the rows on a device; on the CPU without a copy."""
        rows = torch.from_numpy(self.data).to(device)
        return lambda index: rows[index]

    def names(self, index: Int[np.ndarray, "n"]) -> list[str]:
        """In the order of reading."""
        return [self.item_names[k] for k in np.unique(self.item[index])]

    def sample(self) -> Shaped[np.ndarray, "N ..."]:
        """All of them."""
        return self.data


class RowSource(ABC):
    """The rows of a split, read shard by shard. Picklable: it travels to the processes that read.

    Attributes:
        shape: of a row.
        dtype: of its numbers.
    """

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    @abstractmethod
    def counts(self) -> Mapping[int, int]:
        """Number of each shard of the split -> rows in it, at most; from a manifest alone."""

    @abstractmethod
    def blocks(self, shard: int) -> Iterator[Block]:
        """The rows of a shard, the same ones in the same order each time."""

    def load(self) -> HeldRows:
        """Read all rows into memory: one copy of each. A source whose rows overlap may hold what they share.

        Raises:
            UserError: no rows, more than `counts` says, or numbers that are not finite.
        """
        counts = self.counts
        # Pages of the end that stays unused are never touched, so they take address space alone.
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
        held = ArrayRows(out[:end], item[:end], names)
        for start in range(0, end, CHECKED_ROWS):
            wrong = not_finite(held.data[start : start + CHECKED_ROWS])
            if wrong.any():
                raise self.broken(held.names(start + np.flatnonzero(wrong)))
        return held

    @property
    def row_bytes(self) -> int:
        """Bytes of a row that is copied, with the number of its item."""
        return math.prod(self.shape) * self.dtype.itemsize + 4

    def empty(self) -> UserError:
        """What to tell the user where the split has no rows."""
        return TrainingDataError("The split to train on has no rows. Choose another one.")

    def too_many(self, shard: int) -> UserError:
        """What to tell the user where a shard has more rows than the manifest says."""
        return TrainingDataError(f"Shard {shard} has more rows than expected. Make the data set again.")

    def broken(self, names: Sequence[str]) -> UserError:
        """What to tell the user where rows of these items are not finite."""
        return TrainingDataError(
            f"Numbers that are not finite in {', '.join(names[:5])}. Leave these items out, and make the data "
            "set again."
        )


def not_finite(rows: Shaped[np.ndarray, "n ..."]) -> Shaped[np.ndarray, "n"]:
    """Which rows hold NaN or infinity; no row of whole numbers does."""
    if not np.issubdtype(rows.dtype, np.floating):
        return np.zeros(len(rows), bool)
    return np.asarray(~np.isfinite(rows).all(axis=tuple(range(1, rows.ndim))))
