"""Shuffling of a data set that is read shard by shard: first the order of the shards, then the rows in a buffer.

Nothing here reads a file. Each row occurs once per epoch over all processes, for any number of processes. The order
depends only on (seed, epoch). It is less random than a permutation of all rows: rows of the same shard stay close
together, within the size of the buffer.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Shaped

BUFFER_ROWS = 65_536
"""Rows in the shuffle buffer."""
BUFFER_BYTES = 256 << 20
"""Largest size of the shuffle buffer; it holds fewer rows if they are large."""


def buffer_rows(row_bytes: int) -> int:
    """Number of rows in the shuffle buffer.

    >>> buffer_rows(664), buffer_rows(60 * 263 * 4)
    (65536, 4252)
    """
    return max(1, min(BUFFER_ROWS, BUFFER_BYTES // row_bytes))


@dataclass(frozen=True, slots=True)
class Piece:
    """The rows `first` to `last` (exclusive) of a shard."""

    shard: int
    first: int
    last: int


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows, with the shard that each comes from and the index of its item in that shard."""

    data: Shaped[np.ndarray, "n ..."]
    shard: Int[np.ndarray, "n"]
    item: Int[np.ndarray, "n"]

    def __len__(self) -> int:
        return len(self.data)

    def take(self, index: Int[np.ndarray, "m"] | slice) -> Rows:
        """Select rows; an index copies them, a slice does not."""
        return Rows(self.data[index], self.shard[index], self.item[index])


def join(parts: Sequence[Rows]) -> Rows:
    """Concatenate."""
    if len(parts) == 1:
        return parts[0]
    return Rows(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("data", "shard", "item")))


def generator(seed: int, epoch: int, rank: int = 0) -> np.random.Generator:
    """The random generator of an epoch."""
    return np.random.default_rng(np.random.SeedSequence([seed, epoch, rank]))


def pieces(counts: Mapping[int, int], order: Iterable[int], *, rank: int, world: int) -> list[Piece]:
    """The pieces of one rank, for shards in a given order; the row counts of the ranks differ by at most one.

    >>> pieces({0: 3, 1: 4}, [1, 0], rank=1, world=2)
    [Piece(shard=1, first=3, last=4), Piece(shard=0, first=0, last=3)]
    """
    total = sum(counts.values())
    first, last = total * rank // world, total * (rank + 1) // world
    found, start = [], 0
    for shard in order:
        a, b = max(first - start, 0), min(last - start, counts[shard])
        if a < b:
            found.append(Piece(shard, a, b))
        start += counts[shard]
    return found


def steps_per_epoch(rows: int, *, batch_size: int, world: int) -> int:
    """Number of steps in which all ranks together see each row once; every rank gets a row in each of them.

    >>> steps_per_epoch(10, batch_size=4, world=1), steps_per_epoch(3, batch_size=1, world=2)
    (3, 1)
    """
    return max(1, min(-(-rows // batch_size), rows // world))


def even(rows: int, steps: int) -> list[int]:
    """Split `rows` into `steps` batch sizes that differ by at most one.

    >>> even(7, 3)
    [2, 2, 3]
    """
    ends = [rows * k // steps for k in range(steps + 1)]
    return [b - a for a, b in itertools.pairwise(ends)]


def shuffled(
    blocks: Iterable[Rows], sizes: Iterable[int], *, capacity: int, rng: np.random.Generator
) -> Iterator[Rows]:
    """Shuffle the rows of blocks into batches of the given sizes; each row occurs once.

    A buffer of at least `capacity` rows (or all, if there are fewer) is permuted. The first half is yielded, the other
    half stays and is mixed with the next blocks.

    Args:
        blocks: in the order of reading; their rows must add up to the sum of the sizes.
        sizes: sizes of the batches.
        capacity: rows of the buffer; the last block may exceed it.
        rng: for the permutations.
    """
    ready = mixed(blocks, capacity=capacity, keep=0.5, rng=rng)
    parts: list[Rows] = []
    count = 0
    for size in sizes:
        while count < size:
            parts.append(next(ready))
            count += len(parts[-1])
        joined = join(parts)
        yield joined.take(slice(size))
        parts, count = [joined.take(slice(size, None))], count - size


def mixed(blocks: Iterable[Rows], *, capacity: int, keep: float, rng: np.random.Generator) -> Iterator[Rows]:
    """Shuffle rows with a buffer; each row occurs once. Used by the streams and by `DataSet.torch`.

    Args:
        blocks: in the order of reading.
        capacity: rows to collect before some are yielded.
        keep: fraction of them that stays in the buffer; with 0, rows are only mixed with the rows of the same buffer.
        rng: for the permutations.
    """
    buffer: list[Rows] = []
    count = 0
    for block in blocks:
        buffer.append(block)
        count += len(block)
        if count >= capacity:
            permuted = join(buffer).take(rng.permutation(count))
            yielded = count - math.ceil(keep * count)
            yield permuted.take(slice(yielded))
            buffer = [permuted.take(slice(yielded, None))] if yielded < count else []
            count -= yielded
    if count:
        yield join(buffer).take(rng.permutation(count))
