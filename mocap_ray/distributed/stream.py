"""Batches from a data set that memory does not hold, read anew each epoch by Ray Data (floor 6).

Each worker of a team runs a pipeline of its own over its part of the rows. The tasks that read take no CPU of
Ray's: the workers hold all of them, and a pipeline that waited for one would wait for ever.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data
import torch
from ray.data import DataContext, TaskPoolStrategy
from torch import Tensor

from mocap_ray.dataset.poses import WIDTH, manifest_hash, shard_poses
from mocap_ray.dataset.reader import open
from mocap_ray.dataset.views import DataSetError
from mocap_ray.training.feeds import VAL_BATCH, Feeds
from mocap_ray.training.fit import Batch, Team
from mocap_ray.training.options import TrainConfig
from mocap_ray.training.shuffle import BUFFER_ROWS, Piece, Rows, even, generator, pieces, shuffled

SAMPLE_ROWS = 100_000
"""Poses from which the coordinates' statistics are taken, spread evenly over all shards."""
COUNT = pa.schema(
    [("shard", pa.int32()), ("rows", pa.int64()), ("broken", pa.string()), ("sample", pa.binary())]
)
BLOCK = pa.schema([("poses", pa.list_(pa.float32(), WIDTH)), ("shard", pa.int32()), ("clip", pa.int32())])
READERS = 2
"""Pieces that are read at the same time, ahead of the training."""


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
    feed = Streamed(data.root, train.counts, data.batch_size, config.training.seed, team)
    return Feeds(
        train=feed.epoch,
        val=_validation(data.root, val.counts, team) if val.counts else None,
        sample=train.sample.reshape(-1, 55, 3),
        rows=rows,
        val_rows=sum(val.counts.values()),
        manifest_hash=manifest_hash(source),
        held="Ray Data",
    )


class Streamed:
    """The batches of a stream, for one rank; the same interface as `feed.InMemory`."""

    def __init__(self, root: str, counts: dict[int, int], batch_size: int, seed: int, team: Team) -> None:
        self.root, self.counts, self.seed, self.team = root, counts, seed, team
        total = sum(counts.values())
        self.steps = max(1, min(-(-total // batch_size), total // team.world))

    def epoch(self, number: int) -> StreamedEpoch:
        """The batches of an epoch, counted from 0."""
        return StreamedEpoch(self, number)


class StreamedEpoch:
    """The batches of one epoch; each iteration reads them anew."""

    def __init__(self, feed: Streamed, number: int) -> None:
        self.feed, self.number = feed, number

    def __len__(self) -> int:
        return self.feed.steps

    def __iter__(self) -> Iterator[Batch]:
        feed, team = self.feed, self.feed.team
        shards = sorted(feed.counts)
        order = [shards[k] for k in generator(feed.seed, self.number).permutation(len(shards))]
        mine = pieces(feed.counts, order, rank=team.rank, world=team.world)
        sizes = even(sum(p.last - p.first for p in mine), feed.steps)
        rng = generator(feed.seed, self.number, team.rank + 1)
        for rows in shuffled(_read(feed.root, mine), sizes, capacity=BUFFER_ROWS, rng=rng):
            data = torch.from_numpy(rows.poses.reshape(-1, 55, 3)).to(team.device)
            yield Batch(data, _names(feed.root, rows))


def _names(root: str, rows: Rows) -> Callable[[], list[str]]:
    """Ids of the clips of some rows; the files are asked only when somebody wants to know."""

    def names() -> list[str]:
        found = set()
        for shard in np.unique(rows.shard):
            there = [name for _, _, part in shard_poses(open(root), int(shard)) for name in part]
            found |= {there[k] for k in np.unique(rows.clip[rows.shard == shard])}
        return sorted(found)

    return names


def _validation(root: str, counts: dict[int, int], team: Team) -> Callable[[], Iterator[Tensor]]:
    mine = pieces(counts, sorted(counts), rank=team.rank, world=team.world)

    def batches() -> Iterator[Tensor]:
        for block in _read(root, mine):
            for part in torch.split(torch.from_numpy(block.poses.reshape(-1, 55, 3)), VAL_BATCH):
                yield part.to(team.device)

    return batches


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


def _read(root: str, todo: Sequence[Piece]) -> Iterator[Rows]:
    """Rows of the pieces, in their order."""
    items = [{"shard": p.shard, "first": p.first, "last": p.last} for p in todo]
    for table in _run(items, _read_piece, root=root):
        if not len(table):
            continue
        poses = table["poses"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        shard, clip = (table[name].to_numpy() for name in ("shard", "clip"))
        # Copied: Arrow's memory cannot be written to, and torch wants to be able to.
        yield Rows(np.array(poses, np.float32).reshape(-1, WIDTH), shard, clip)


def _read_piece(table: pa.Table, *, root: str) -> Iterator[pa.Table]:
    """A task: the poses of a piece, block by block."""
    (piece,) = table.to_pylist()
    shard, first, last = piece["shard"], piece["first"], piece["last"]
    start = clips = 0
    for frames, lengths, names in shard_poses(open(root), shard):
        a, b = max(first - start, 0), min(last - start, len(frames))
        if a < b:
            clip = np.repeat(np.arange(len(names), dtype=np.int32) + clips, lengths)[a:b]
            flat = pa.array(np.ascontiguousarray(frames[a:b], np.float32).reshape(-1))
            poses = pa.FixedSizeListArray.from_arrays(flat, WIDTH)
            yield pa.table(
                {"poses": poses, "shard": np.full(b - a, shard, np.int32), "clip": clip}, schema=BLOCK
            )
        start, clips = start + len(frames), clips + len(names)


def _run(items: Sequence[dict[str, int]], task: Callable[..., Any], **arguments: Any) -> Iterator[pa.Table]:
    """What the tasks give, in the order of the items, a few of them ahead of the reader."""
    if not items:
        return
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = True
    with DataContext.current(context):
        data = ray.data.from_items(list(items), override_num_blocks=len(items)).map_batches(
            task,
            batch_size=1,
            batch_format="pyarrow",
            compute=TaskPoolStrategy(size=READERS),
            fn_kwargs=arguments,
            num_cpus=0,
        )
        yield from data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1)
