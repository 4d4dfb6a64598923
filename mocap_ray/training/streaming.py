"""Batches from data that memory does not hold, read anew each epoch.

A `ShardReader` reads shards: `PlainReader` in the thread that asks, the one of `distributed/stream.py` by Ray Data,
ahead of the training. A thread takes what it reads, shuffles, and copies to the device. It goes on into the next epoch
by itself, so that reading starts while the training is still busy with the epoch before, or validates.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from mocap_ray.training.batch import Batch
from mocap_ray.training.loaders import Loaders, copied_ahead, val_batch
from mocap_ray.training.memory import fits_in_memory
from mocap_ray.training.prefetch import Prefetched, depth, on_device
from mocap_ray.training.rows import RowSource, not_finite
from mocap_ray.training.shuffle import Piece, Rows, buffer_rows, even, generator, pieces, shuffled
from mocap_ray.training.task import TrainingSetup, too_few
from mocap_ray.training.team import Team

SAMPLE_ROWS = 100_000
"""Rows from which a model's statistics are taken, spread evenly over all shards."""


@dataclass(frozen=True, slots=True, eq=False)
class ShardCount:
    """What one reading of a shard found.

    Attributes:
        shard: its number.
        rows: in it.
        broken: an item with numbers that are not finite; empty where all are.
        sample: some of its rows, at even distances.
    """

    shard: int
    rows: int
    broken: str
    sample: Shaped[np.ndarray, "m ..."]


@runtime_checkable
class ShardReader(Protocol):
    """Reads shards, ahead of whoever takes what it read."""

    @property
    def name(self) -> str:
        """For the summary of a training."""
        ...

    def count(self, source: RowSource, shards: Sequence[int], *, sample: int) -> Iterable[ShardCount]:
        """Read each shard once; up to `sample` rows of each come back."""
        ...

    def read(self, source: RowSource, todo: Sequence[Piece]) -> Generator[Rows]:
        """The rows of the pieces, in their order; closing it ends the reading."""
        ...


class PlainReader:
    """Reads in the thread that asks."""

    name = "disk"

    def count(self, source: RowSource, shards: Sequence[int], *, sample: int) -> Iterator[ShardCount]:
        """One shard after the other."""
        return (count_shard(source, shard, sample=sample) for shard in shards)

    def read(self, source: RowSource, todo: Sequence[Piece]) -> Generator[Rows]:
        """One piece after the other."""
        for piece in todo:
            yield from read_piece(source, piece)


def count_shard(source: RowSource, shard: int, *, sample: int) -> ShardCount:
    """Read a shard for its number of rows, and up to `sample` of them."""
    parts, broken = [np.empty((0, *source.shape), source.dtype)], ""
    for block in source.blocks(shard):
        parts.append(block.rows)
        wrong = not_finite(block.rows)
        if wrong.any() and not broken:
            broken = block.names[int(block.item[np.argmax(wrong)])]
    rows = sum(map(len, parts))
    taken = parts[0]
    if rows and sample:
        every = np.concatenate(parts)
        taken = every[np.linspace(0, rows - 1, min(rows, sample)).round().astype(np.int64)]
    return ShardCount(shard, rows, broken, taken)


def read_piece(source: RowSource, piece: Piece) -> Iterator[Rows]:
    """Rows of a piece, block by block, each with the number of its item among those of the shard."""
    start = items = 0
    for block in source.blocks(piece.shard):
        a, b = max(piece.first - start, 0), min(piece.last - start, len(block.rows))
        if a < b:
            item = block.item[a:b].astype(np.int32) + np.int32(items)
            yield Rows(block.rows[a:b], np.full(b - a, piece.shard, np.int32), item)
        start, items = start + len(block.rows), items + len(block.names)


def stream_loaders(setup: TrainingSetup[Any], team: Team, reader: ShardReader) -> Loaders:
    """Count the rows, take a sample, and read the rest as it is asked for.

    Raises:
        UserError: no rows, rows that are not finite, or fewer rows than processes.
    """
    task, data = setup.task, setup.data
    source, val_source = task.rows("train"), task.rows("val")
    assert source is not None, "rows('train') raises where there are none"
    train = _counted(source, team, reader, sample=SAMPLE_ROWS)
    rows = sum(train.counts.values())
    if rows < team.world:
        raise too_few(rows, world=team.world, words=setup.words) if rows else source.empty()
    feed = StreamLoader(
        source,
        train.counts,
        reader=reader,
        batch_size=data.batch_size,
        seed=setup.training.seed,
        epochs=setup.training.max_epochs,
        team=team,
    )
    val = None if val_source is None else _counted(val_source, team, reader, sample=0)
    share = data.memory_share
    return Loaders(
        train=feed.epoch,
        val=_validation(val_source, val.counts, team, share=share)
        if val_source and val and val.counts
        else None,
        sample=train.sample,
        rows=rows,
        val_rows=sum(val.counts.values()) if val else 0,
        source_hash=task.check().source_hash,
        held=reader.name,
        close=feed.close,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Counted:
    """Rows of each shard that has any, and some of them in the order of the shards."""

    counts: dict[int, int]
    sample: Shaped[np.ndarray, "m ..."]


def _counted(source: RowSource, team: Team, reader: ShardReader, *, sample: int) -> _Counted:
    """Read each shard once, shared among the team; every process gets the whole answer.

    Raises:
        UserError: rows that are not finite.
    """
    every = sorted(source.counts)
    each = -(-sample // max(1, len(every)))
    mine = list(reader.count(source, every[team.rank :: team.world], sample=each))
    found = sorted((count for part in team.gather(mine) for count in part), key=lambda count: count.shard)
    if broken := [count.broken for count in found if count.broken]:
        raise source.broken(broken)
    empty = np.empty((0, *source.shape), source.dtype)
    joined = np.concatenate([empty, *(count.sample for count in found)])
    return _Counted({count.shard: count.rows for count in found if count.rows}, joined)


class StreamLoader:
    """The batches of a stream, for one rank; the same interface as `feed.InMemoryLoader`, and one to `close`."""

    def __init__(
        self,
        source: RowSource,
        counts: dict[int, int],
        *,
        reader: ShardReader,
        batch_size: int,
        seed: int,
        epochs: int,
        team: Team,
    ) -> None:
        """Take the rows of each shard; nothing is read ahead beyond `epochs` epochs."""
        self.source, self.counts, self.reader, self.seed, self.team = source, counts, reader, seed, team
        self.batch_size, self.epochs = batch_size, epochs
        total = sum(counts.values())
        self.steps = max(1, min(-(-total // batch_size), total // team.world))
        self._ahead: Prefetched[Batch | None] | None = None
        self._next = 0

    def epoch(self, number: int) -> StreamedEpoch:
        """The batches of an epoch, counted from 0."""
        return StreamedEpoch(self, number)

    def take(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch from the thread that reads ahead, or from a new one where it reads another."""
        if self._ahead is None or self._next != number:
            self.close()
            batches = depth(self.batch_size, self.source.row_bytes)
            self._ahead = Prefetched(self._from(number), depth=batches)
        whole = False
        try:
            for batch in self._ahead:
                if batch is None:
                    whole, self._next = True, number + 1
                    break
                yield batch
        finally:
            if not whole:
                self.close()

    def close(self) -> None:
        """End the thread and its reading; another epoch starts new ones."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.close()

    def _from(self, first: int) -> Iterator[Batch | None]:
        """One epoch after the other, with None at the end of each."""
        for number in range(first, max(first + 1, self.epochs)):
            yield from self._read(number)
            yield None

    def _read(self, number: int) -> Iterator[Batch]:
        team, source = self.team, self.source
        shards = sorted(self.counts)
        order = [shards[k] for k in generator(self.seed, number).permutation(len(shards))]
        mine = pieces(self.counts, order, rank=team.rank, world=team.world)
        sizes = even(sum(p.last - p.first for p in mine), self.steps)
        rng = generator(self.seed, number, team.rank + 1)
        capacity = buffer_rows(source.row_bytes)
        with closing(self.reader.read(source, mine)) as blocks:
            for rows in shuffled(blocks, sizes, capacity=capacity, rng=rng):
                yield Batch(on_device(torch.from_numpy(rows.data), team.device), _names(source, rows))


class StreamedEpoch:
    """The batches of one epoch, with a length; each iteration reads them anew."""

    def __init__(self, feed: StreamLoader, number: int) -> None:
        self.feed, self.number = feed, number

    def __len__(self) -> int:
        return self.feed.steps

    def __iter__(self) -> Iterator[Batch]:
        return self.feed.take(self.number)


def _names(source: RowSource, rows: Rows) -> Callable[[], list[str]]:
    """Names of the items of some rows; the files are read again only where they are asked for."""
    shards, items = rows.shard, rows.item  # not the rows themselves, which would stay in memory

    def names() -> list[str]:
        found = set()
        for shard in np.unique(shards):
            there = [name for block in source.blocks(int(shard)) for name in block.names]
            found |= {there[k] for k in np.unique(items[shards == shard])}
        return sorted(found)

    return names


def _validation(
    source: RowSource, counts: dict[int, int], team: Team, *, share: float
) -> Callable[[], Iterator[Tensor]]:
    """The part of this process, in batches; kept in memory after the first reading where it fits its share.

    Read here and not by the reader of the epochs: that of the next epoch is at work, and a second pipeline of Ray Data
    at the same time would wait for new worker processes while those of the first stand still.
    """
    mine = pieces(counts, sorted(counts), rank=team.rank, world=team.world)
    keep = fits_in_memory(sum(counts.values()) * source.row_bytes, share=share)
    size = val_batch(source)
    kept: list[Tensor] = []

    def read() -> Iterator[Tensor]:
        parts = []
        for rows in PlainReader().read(source, mine):
            for part in torch.split(torch.tensor(rows.data), size):
                if keep:
                    parts.append(part)
                yield part
        kept.extend(parts)  # not before the end: half a reading would be taken for all of it

    return lambda: copied_ahead(kept or read(), team.device)
