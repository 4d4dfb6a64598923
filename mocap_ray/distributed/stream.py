"""Batches from a data set that memory does not hold, read anew each epoch by Ray Data.

Each worker of a team runs a pipeline of its own over its part of the rows. The tasks that read take no CPU of
Ray's: the workers hold all of them, and a pipeline that waited for one would wait for ever.

A thread iterates the pipeline, shuffles, and copies to the device. It goes on into the next epoch by itself, so that
a pipeline starts while the training is still busy with the epoch before, or validates.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data
import torch
from jaxtyping import Float, Int
from ray.data import DataContext, TaskPoolStrategy
from torch import Tensor

from mocap_ray.dataset.poses import ROW_BYTES, WIDTH, manifest_hash, shard_poses
from mocap_ray.dataset.reader import open
from mocap_ray.dataset.views import DataSetError
from mocap_ray.runs.train import TrainConfig
from mocap_ray.training.feed import fits_in_memory
from mocap_ray.training.feeds import VAL_BATCH, Feeds, copied_ahead
from mocap_ray.training.fit import Batch, Team
from mocap_ray.training.prefetch import Prefetched, depth, on_device
from mocap_ray.training.shuffle import BUFFER_ROWS, Piece, Rows, even, generator, pieces, shuffled

SAMPLE_ROWS = 100_000
"""Poses from which the coordinates' statistics are taken, spread evenly over all shards."""
COUNT = pa.schema(
    [("shard", pa.int32()), ("rows", pa.int64()), ("broken", pa.string()), ("sample", pa.binary())]
)
BLOCK = pa.schema([("poses", pa.list_(pa.float32(), WIDTH)), ("shard", pa.int32()), ("clip", pa.int32())])
READERS = 2
"""Pieces that are read at the same time, ahead of the training."""
MAKING = threading.Lock()
"""Held while a pipeline is made: the settings of Ray Data are one object for all threads of a process."""


def stream_feeds(config: TrainConfig, team: Team) -> Feeds:
    """Count the rows, take a sample, and read the rest as it is asked for.

    Raises:
        DataSetError: no poses, poses that are not finite, or fewer poses than processes.
    """
    data = config.data
    source = open(data.root)
    train = _counted(
        data.root, source.selected(split=data.train, dataset=data.dataset), team, sample=SAMPLE_ROWS
    )
    rows = sum(train.counts.values())
    if rows < team.world:
        raise DataSetError(
            f"{data.root}: {rows} poses in split '{data.train}' for {team.world} workers. Extract recordings with "
            "pose parameters, or lower ray.workers."
        )
    val = _Counted({}, np.empty((0, WIDTH), np.float32))
    if data.val in source.splits:
        val = _counted(data.root, source.selected(split=data.val, dataset=data.dataset), team, sample=0)
    feed = Streamed(
        data.root,
        train.counts,
        batch_size=data.batch_size,
        seed=config.training.seed,
        epochs=config.training.max_epochs,
        team=team,
    )
    return Feeds(
        train=feed.epoch,
        val=_validation(data.root, val.counts, team, share=data.memory_share) if val.counts else None,
        sample=train.sample.reshape(-1, 55, 3),
        rows=rows,
        val_rows=sum(val.counts.values()),
        manifest_hash=manifest_hash(source),
        held="Ray Data",
        close=feed.close,
    )


class Streamed:
    """The batches of a stream, for one rank; the same interface as `feed.InMemory`, and one to `close`."""

    def __init__(
        self, root: str, counts: dict[int, int], *, batch_size: int, seed: int, epochs: int, team: Team
    ) -> None:
        """Take the rows of each shard; nothing is read ahead beyond `epochs` epochs."""
        self.root, self.counts, self.seed, self.team = root, counts, seed, team
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
            self._ahead = Prefetched(self._from(number), depth=depth(self.batch_size))
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
        """End the thread and its pipeline; another epoch starts new ones."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.close()

    def _from(self, first: int) -> Iterator[Batch | None]:
        """One epoch after the other, with None at the end of each."""
        for number in range(first, max(first + 1, self.epochs)):
            yield from self._read(number)
            yield None

    def _read(self, number: int) -> Iterator[Batch]:
        team = self.team
        shards = sorted(self.counts)
        order = [shards[k] for k in generator(self.seed, number).permutation(len(shards))]
        mine = pieces(self.counts, order, rank=team.rank, world=team.world)
        sizes = even(sum(p.last - p.first for p in mine), self.steps)
        rng = generator(self.seed, number, team.rank + 1)
        with closing(_read(self.root, mine)) as blocks:
            for rows in shuffled(blocks, sizes, capacity=BUFFER_ROWS, rng=rng):
                data = on_device(torch.from_numpy(rows.poses.reshape(-1, 55, 3)), team.device)
                yield Batch(data, _names(self.root, rows))


class StreamedEpoch:
    """The batches of one epoch, with a length; each iteration reads them anew."""

    def __init__(self, feed: Streamed, number: int) -> None:
        self.feed, self.number = feed, number

    def __len__(self) -> int:
        return self.feed.steps

    def __iter__(self) -> Iterator[Batch]:
        return self.feed.take(self.number)


def _names(root: str, rows: Rows) -> Callable[[], list[str]]:
    """Ids of the clips of some rows; the files are asked only when somebody wants to know."""

    def names() -> list[str]:
        found = set()
        for shard in np.unique(rows.shard):
            there = [name for _, _, part in shard_poses(open(root), int(shard)) for name in part]
            found |= {there[k] for k in np.unique(rows.clip[rows.shard == shard])}
        return sorted(found)

    return names


def _validation(
    root: str, counts: dict[int, int], team: Team, *, share: float
) -> Callable[[], Iterator[Tensor]]:
    """The part of this process, in batches; kept in memory after the first reading where it fits its share.

    Read here and not by Ray Data: the pipeline of the next epoch is running, and a second one at the same time
    would wait for new worker processes while those of the first stand still.
    """
    mine = pieces(counts, sorted(counts), rank=team.rank, world=team.world)
    keep = fits_in_memory(sum(counts.values()) * ROW_BYTES, share=share)
    kept: list[Tensor] = []

    def read() -> Iterator[Tensor]:
        parts = []
        for piece in mine:
            for poses, _ in _rows(root, piece):
                for part in torch.split(torch.tensor(poses.reshape(-1, 55, 3)), VAL_BATCH):
                    if keep:
                        parts.append(part)
                    yield part
        kept.extend(parts)  # not before the end: half a reading would be taken for all of it

    return lambda: copied_ahead(kept or read(), team.device)


@dataclass(frozen=True, slots=True, eq=False)
class _Counted:
    """Rows of each shard, and some of them in the order of the shards."""

    counts: dict[int, int]
    sample: np.ndarray


def _counted(root: str, shards: Iterable[int], team: Team, *, sample: int) -> _Counted:
    """Read each shard once, shared among the team; every process gets the whole answer.

    Raises:
        DataSetError: poses that are not finite.
    """
    every = sorted(shards)
    each = -(-sample // max(1, len(every)))
    items = [{"shard": k} for k in every[team.rank :: team.world]]
    mine = [row for table in _run(items, _count, root=root, sample=each) for row in table.to_pylist()]
    found = mine
    if team.world > 1:
        parts: list[Any] = [None] * team.world
        torch.distributed.all_gather_object(parts, mine)
        found = [row for part in parts for row in part]
    found.sort(key=lambda row: row["shard"])
    broken = [row["broken"] for row in found if row["broken"]]
    if broken:
        raise DataSetError(
            f"{root}: poses that are not finite in {', '.join(broken[:5])}. Extract anew without these recordings "
            "(source.exclude)."
        )
    rows = [np.frombuffer(row["sample"], np.float32) for row in found]
    joined = np.concatenate(rows or [np.empty(0, np.float32)]).reshape(-1, WIDTH)
    return _Counted({row["shard"]: row["rows"] for row in found if row["rows"]}, joined)


def _count(table: pa.Table, *, root: str, sample: int) -> pa.Table:
    """A task: rows of a shard, up to `sample` of them at even distances, and a clip that is broken, if any."""
    (shard,) = table["shard"].to_pylist()
    parts, broken = [], ""
    for frames, lengths, names in shard_poses(open(root), shard):
        parts.append(frames)
        bad = ~np.isfinite(frames).all(axis=1)
        if bad.any() and not broken:
            broken = names[int(np.searchsorted(np.cumsum(lengths), np.argmax(bad), side="right"))]
    rows = sum(map(len, parts))
    taken = np.empty((0, WIDTH), np.float32)
    if rows and sample:
        every = np.concatenate(parts)
        taken = every[np.linspace(0, rows - 1, min(rows, sample)).round().astype(np.int64)]
    columns = {
        "shard": [shard],
        "rows": [rows],
        "broken": [broken],
        "sample": [taken.astype(np.float32).tobytes()],
    }
    return pa.table(columns, schema=COUNT)


def _read(root: str, todo: Sequence[Piece]) -> Generator[Rows]:
    """Rows of the pieces, in their order."""
    items = [{"shard": p.shard, "first": p.first, "last": p.last} for p in todo]
    expected = iter([p.shard for p in todo])
    present: int | None = None
    with closing(_run(items, _read_piece, root=root)) as tables:
        for table in tables:
            if not len(table):
                continue
            poses = table["poses"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
            shard, clip = (table[name].to_numpy() for name in ("shard", "clip"))
            if shard[0] != present:
                # Losses are the same for the same seed only if this holds, and Ray's settings decide it.
                present = next(expected, None)
                assert shard[0] == shard[-1] == present, f"shard {shard[0]} came instead of {present}"
            # Copied: Arrow's memory cannot be written to, and torch wants to be able to.
            yield Rows(np.array(poses, np.float32).reshape(-1, WIDTH), shard, clip)


def _read_piece(table: pa.Table, *, root: str) -> Iterator[pa.Table]:
    """A task: the poses of a piece, block by block."""
    (item,) = table.to_pylist()
    piece = Piece(item["shard"], item["first"], item["last"])
    for frames, clip in _rows(root, piece):
        flat = pa.array(np.ascontiguousarray(frames, np.float32).reshape(-1))
        poses = pa.FixedSizeListArray.from_arrays(flat, WIDTH)
        yield pa.table(
            {"poses": poses, "shard": np.full(len(clip), piece.shard, np.int32), "clip": clip}, schema=BLOCK
        )


def _rows(root: str, piece: Piece) -> Iterator[tuple[Float[np.ndarray, "n 165"], Int[np.ndarray, "n"]]]:
    """Poses of a piece and the number of their clip among those of the shard, block by block."""
    start = clips = 0
    for frames, lengths, names in shard_poses(open(root), piece.shard):
        a, b = max(piece.first - start, 0), min(piece.last - start, len(frames))
        if a < b:
            yield frames[a:b], np.repeat(np.arange(len(names), dtype=np.int32) + clips, lengths)[a:b]
        start, clips = start + len(frames), clips + len(names)


def _run(items: Sequence[dict[str, int]], task: Callable[..., Any], **arguments: Any) -> Generator[pa.Table]:
    """What the tasks give, in the order of the items, a few of them ahead of the reader."""
    if not items:
        return
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    with MAKING:
        context = DataContext.get_current().copy()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.execution_options.preserve_order = True
        with DataContext.current(context):  # only while it is made: a pipeline keeps its own settings
            data = ray.data.from_items(list(items), override_num_blocks=len(items)).map_batches(
                task,
                batch_size=1,
                batch_format="pyarrow",
                compute=TaskPoolStrategy(size=READERS),
                fn_kwargs=arguments,
                num_cpus=0,
            )
    yield from data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1)
