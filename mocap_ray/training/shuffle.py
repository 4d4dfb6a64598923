"""The order of a data set that is read shard by shard: whole shards in turn, then rows within a buffer.

Nothing here reads a file. Every row comes once per epoch over all processes, whatever their number, and the
order follows from (seed, epoch); it is less random than a permutation of all rows: rows of one shard stay
within a buffer of each other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Shaped

BUFFER_ROWS = 65_536
"""Rows among which each batch is drawn."""
BUFFER_BYTES = 256 << 20
"""Of these rows at most; larger ones are drawn among fewer."""


def buffer_rows(row_bytes: int) -> int:
    """Rows among which each batch is drawn.

    >>> buffer_rows(664), buffer_rows(60 * 263 * 4)
    (65536, 4252)
    """
    return max(1, min(BUFFER_ROWS, BUFFER_BYTES // row_bytes))


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows `first` to `last` (exclusive) of a shard."""

    shard: int
    first: int
    last: int


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Some rows, and where they come from: shard, and the item's place among those of the shard."""

    data: Shaped[np.ndarray, "n ..."]
    shard: Int[np.ndarray, "n"]
    item: Int[np.ndarray, "n"]

    def __len__(self) -> int:
        return len(self.data)

    def take(self, index: Int[np.ndarray, "m"] | slice) -> Rows:
        """A selection, copied where it is an index."""
        return Rows(self.data[index], self.shard[index], self.item[index])


def join(parts: Sequence[Rows]) -> Rows:
    """One after the other."""
    if len(parts) == 1:
        return parts[0]
    return Rows(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("data", "shard", "item")))


def generator(seed: int, epoch: int, rank: int = 0) -> np.random.Generator:
    """Of the orders of an epoch."""
    return np.random.default_rng(np.random.SeedSequence([seed, epoch, rank]))


def pieces(counts: Mapping[int, int], order: Iterable[int], *, rank: int, world: int) -> list[Piece]:
    """One process's part of the shards in an order: the same number of rows for each, give or take one.

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


def even(rows: int, steps: int) -> list[int]:
    """Sizes of `steps` batches that differ by one at most.

    >>> even(7, 3)
    [2, 2, 3]
    """
    ends = [rows * k // steps for k in range(steps + 1)]
    return [b - a for a, b in itertools.pairwise(ends)]


def shuffled(
    blocks: Iterable[Rows], sizes: Iterable[int], *, capacity: int, rng: np.random.Generator
) -> Iterator[Rows]:
    """Batches of the given sizes out of blocks, each row once.

    A pool of at least `capacity` rows (all, where there are fewer) is permuted; its first half is given away,
    the other half stays and mixes with what comes next.

    Args:
        blocks: in the order of reading; as many rows in all as the sizes sum to.
        sizes: of the batches.
        capacity: rows of the pool, beyond which whole blocks may add.
        rng: of the permutations.
    """
    ready = mixed(blocks, capacity=capacity, keep=0.5, rng=rng)
    stock: list[Rows] = []
    there = 0
    for size in sizes:
        while there < size:
            stock.append(next(ready))
            there += len(stock[-1])
        whole = join(stock)
        yield whole.take(slice(size))
        stock, there = [whole.take(slice(size, None))], there - size


def mixed(blocks: Iterable[Rows], *, capacity: int, keep: float, rng: np.random.Generator) -> Iterator[Rows]:
    """Rows in a new order, each once: the one shuffle behind streams and `DataSet.torch`.

    Args:
        blocks: in the order of reading.
        capacity: rows that are collected before some are given away.
        keep: share of them that stays to mix with what comes next; with 0 no row leaves its neighbourhood.
        rng: of the permutations.
    """
    pool: list[Rows] = []
    there = 0
    for block in blocks:
        pool.append(block)
        there += len(block)
        if there >= capacity:
            whole = join(pool).take(rng.permutation(there))
            given = there - math.ceil(keep * there)
            yield whole.take(slice(given))
            pool = [whole.take(slice(given, None))] if given < there else []
            there -= given
    if there:
        yield join(pool).take(rng.permutation(there))
