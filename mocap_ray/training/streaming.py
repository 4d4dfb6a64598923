"""Batches from data that does not fit into memory, read again in each epoch.

A `ShardReader` reads the shards: `PlainReader` in the calling thread, `RayDataReader` of `distributed/stream.py` with
Ray Data, ahead of the training. A background thread shuffles the rows and copies the batches to the device. It
continues with the next epoch without waiting, while the training still finishes the previous epoch or validates.
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
from mocap_ray.training.shuffle import (
    Piece,
    Rows,
    buffer_rows,
    even,
    generator,
    pieces,
    shuffled,
    steps_per_epoch,
)
from mocap_ray.training.task import TrainingSetup, too_few
from mocap_ray.training.team import Team

SAMPLE_ROWS = 100_000
"""Number of rows for the statistics of a model, spread evenly over all shards."""
SAMPLE_BYTES = 256 << 20
"""Largest size of these rows; there are fewer if they are large."""


@dataclass(frozen=True, slots=True, eq=False)
class ShardCount:
    """The result of reading a shard once.

    Attributes:
        shard: index of the shard.
        rows: number of rows.
        broken: an item with non-finite numbers; empty if there is none.
        sample: some of the rows, evenly spaced.
    """

    shard: int
    rows: int
    broken: str
    sample: Shaped[np.ndarray, "m ..."]


@runtime_checkable
class ShardReader(Protocol):
    """Reads shards, possibly ahead of the consumer."""

    @property
    def name(self) -> str:
        """How the rows are read, for the summary of a training."""
        ...

    def count(self, source: RowSource, shards: Sequence[int], *, sample: int) -> Iterable[ShardCount]:
        """Read each shard once, and return up to `sample` rows of each."""
        ...

    def read(self, source: RowSource, todo: Sequence[Piece]) -> Generator[Rows]:
        """The rows of the pieces, in order; closing the generator stops the reading."""
        ...


class PlainReader:
    """Reads in the calling thread."""

    name = "disk"

    def count(self, source: RowSource, shards: Sequence[int], *, sample: int) -> Iterator[ShardCount]:
        """Read the shards one by one."""
        return (count_shard(source, shard, sample=sample) for shard in shards)

    def read(self, source: RowSource, todo: Sequence[Piece]) -> Generator[Rows]:
        """Read the pieces one by one."""
        for piece in todo:
            yield from read_piece(source, piece)


def count_shard(source: RowSource, shard: int, *, sample: int) -> ShardCount:
    """Read a shard to count its rows, and to take up to `sample` of them."""
    parts, broken = [np.empty((0, *source.shape), source.dtype)], ""
    for block in source.blocks(shard):
        parts.append(block.rows)
        wrong = not_finite(block.rows)
        if wrong.any() and not broken:
            broken = block.names[int(block.item[np.argmax(wrong)])]
    rows = sum(map(len, parts))
    sampled = parts[0]
    if rows and sample:
        joined = np.concatenate(parts)
        sampled = joined[np.linspace(0, rows - 1, min(rows, sample)).round().astype(np.int64)]
    return ShardCount(shard, rows, broken, sampled)


def read_piece(source: RowSource, piece: Piece) -> Iterator[Rows]:
    """The rows of a piece, block by block, with the index of their item in the shard."""
    start = items = 0
    for block in source.blocks(piece.shard):
        a, b = max(piece.first - start, 0), min(piece.last - start, len(block.rows))
        if a < b:
            item = block.item[a:b].astype(np.int32) + np.int32(items)
            yield Rows(block.rows[a:b], np.full(b - a, piece.shard, np.int32), item)
        start, items = start + len(block.rows), items + len(block.names)


def stream_loaders(setup: TrainingSetup[Any], team: Team, reader: ShardReader) -> Loaders:
    """Count the rows and take a sample; the loaders read the rows when they are needed.

    Raises:
        UserError: there are no rows, non-finite rows, or fewer rows than processes.
    """
    task, data = setup.task, setup.data
    source, val_source = task.rows("train"), task.rows("val")
    assert source is not None, "rows('train') raises if the split does not exist"
    sample = max(1, min(SAMPLE_ROWS, SAMPLE_BYTES // source.row_bytes))
    train = _counted(source, team, reader, sample=sample)
    rows = sum(_of_epoch(source, train.counts, seed=setup.training.seed, epoch=0)[1].values())
    if rows < team.world:
        raise too_few(rows, world=team.world, words=setup.words) if rows else source.empty()
    loader = StreamLoader(
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
        train=loader.epoch,
        val=_validation(val_source, val.counts, team, share=share)
        if val_source and val and val.counts
        else None,
        sample=train.sample,
        rows=rows,
        val_rows=sum(val.counts.values()) if val else 0,
        source_hash=task.check().source_hash,
        location=reader.name,
        close=loader.close,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Counted:
    """Row counts of the non-empty shards, and a sample of rows in the order of the shards."""

    counts: dict[int, int]
    sample: Shaped[np.ndarray, "m ..."]


def _counted(source: RowSource, team: Team, reader: ShardReader, *, sample: int) -> _Counted:
    """Read each shard once, distributed over the ranks; every rank gets the result for all shards.

    Raises:
        UserError: some rows are not finite.
    """
    shards = sorted(source.counts)
    each = -(-sample // max(1, len(shards)))
    own = list(reader.count(source, shards[team.rank :: team.world], sample=each))
    counts = sorted((count for part in team.gather(own) for count in part), key=lambda count: count.shard)
    if broken := [count.broken for count in counts if count.broken]:
        raise source.broken(broken)
    empty = np.empty((0, *source.shape), source.dtype)
    joined = np.concatenate([empty, *(count.sample for count in counts)])
    return _Counted({count.shard: count.rows for count in counts if count.rows}, joined)


class StreamLoader:
    """The batches of a stream on one rank; has the interface of `in_memory.InMemoryLoader`, and `close`."""

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
        """`counts` has the number of rows of each shard; nothing is read ahead beyond `epochs` epochs."""
        self.source, self.counts, self.reader, self.seed, self.team = source, counts, reader, seed, team
        self.batch_size, self.epochs = batch_size, epochs
        drawn = _of_epoch(source, counts, seed=seed, epoch=0)[1]
        self.steps = steps_per_epoch(sum(drawn.values()), batch_size=batch_size, world=team.world)
        self._ahead: Prefetched[Batch | None] | None = None
        self._next = 0

    def epoch(self, number: int) -> StreamedEpoch:
        """The batches of an epoch, counted from 0."""
        return StreamedEpoch(self, number)

    def take(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch, from the running thread, or from a new one if that reads another epoch."""
        if self._ahead is None or self._next != number:
            self.close()
            batches = depth(self.batch_size, self.source.row_bytes)
            self._ahead = Prefetched(self._from(number), depth=batches)
        complete = False
        try:
            for batch in self._ahead:
                if batch is None:
                    complete, self._next = True, number + 1
                    break
                yield batch
        finally:
            if not complete:
                self.close()

    def close(self) -> None:
        """Stop the thread and its reading; the next call of `take` starts a new one."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.close()

    def _from(self, first: int) -> Iterator[Batch | None]:
        """The batches of all epochs from `first` on, with None after each epoch."""
        for number in range(first, max(first + 1, self.epochs)):
            yield from self._read(number)
            yield None

    def _read(self, number: int) -> Iterator[Batch]:
        team = self.team
        source, counts = _of_epoch(self.source, self.counts, seed=self.seed, epoch=number)
        shards = sorted(counts)
        order = [shards[k] for k in generator(self.seed, number).permutation(len(shards))]
        own = pieces(counts, order, rank=team.rank, world=team.world)
        sizes = even(sum(p.last - p.first for p in own), self.steps)
        rng = generator(self.seed, number, team.rank + 1)
        capacity = buffer_rows(source.row_bytes)
        with closing(self.reader.read(source, own)) as blocks:
            for rows in shuffled(blocks, sizes, capacity=capacity, rng=rng):
                yield Batch(on_device(torch.from_numpy(rows.data), team.device), _names(source, rows))


def _of_epoch(
    source: RowSource, counts: dict[int, int], *, seed: int, epoch: int
) -> tuple[RowSource, dict[int, int]]:
    """The rows of an epoch, and their number in each shard: `counts`, unless each epoch has its own rows."""
    drawn = source.drawn(seed=seed, epoch=epoch)
    return (source, counts) if drawn is source else (drawn, dict(drawn.counts))


class StreamedEpoch:
    """The batches of one epoch, with a length; each iteration reads them again."""

    def __init__(self, loader: StreamLoader, number: int) -> None:
        self.loader, self.number = loader, number

    def __len__(self) -> int:
        return self.loader.steps

    def __iter__(self) -> Iterator[Batch]:
        return self.loader.take(self.number)


def _names(source: RowSource, rows: Rows) -> Callable[[], list[str]]:
    """A function that names the items of some rows; it reads the files again when it is called."""
    shards, items = rows.shard, rows.item  # not the rows themselves, which would stay in memory

    def names() -> list[str]:
        found = set()
        for shard in np.unique(shards):
            in_shard = [name for block in source.blocks(int(shard)) for name in block.names]
            found |= {in_shard[k] for k in np.unique(items[shards == shard])}
        return sorted(found)

    return names


def _validation(
    source: RowSource, counts: dict[int, int], team: Team, *, share: float
) -> Callable[[], Iterator[Tensor]]:
    """The validation batches of this rank; cached in memory after the first pass if they fit.

    They are not read by the reader of the epochs. It already reads the next epoch, and a second Ray Data pipeline at
    the same time would wait for new worker processes while those of the first are idle.
    """
    own = pieces(counts, sorted(counts), rank=team.rank, world=team.world)
    cache = fits_in_memory(sum(counts.values()) * source.row_bytes, share=share)
    size = val_batch(source)
    cached: list[Tensor] = []

    def read() -> Iterator[Tensor]:
        parts = []
        for rows in PlainReader().read(source, own):
            for part in torch.split(torch.tensor(rows.data), size):
                if cache:
                    parts.append(part)
                yield part
        cached.extend(parts)  # only at the end: an incomplete pass must not be taken for all rows

    return lambda: copied_ahead(cached or read(), team.device)
