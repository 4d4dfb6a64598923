"""Shards read ahead by Ray Data.

Each worker of a team runs a pipeline of its own over its part of the rows. The tasks that read take no CPU of
Ray's: the workers hold all of them, and a pipeline that waited for one would wait for ever.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data
from ray.data import DataContext, TaskPoolStrategy

from mocap_ray.training.rows import RowSource
from mocap_ray.training.shuffle import Piece, Rows
from mocap_ray.training.streaming import ShardCount, count_shard, read_piece

COUNT = pa.schema(
    [("shard", pa.int32()), ("rows", pa.int64()), ("broken", pa.string()), ("sample", pa.binary())]
)
READERS = 2
"""Pieces that are read at the same time, ahead of the training."""
MAKING = threading.Lock()
"""Held while a pipeline is made: the settings of Ray Data are one object for all threads of a process."""


class RayDataReader:
    """A `ShardReader` whose tasks run on the cluster that this process is connected to."""

    name = "Ray Data"

    def count(self, source: RowSource, shards: Sequence[int], *, sample: int) -> Iterator[ShardCount]:
        """Each shard once, in tasks."""
        items = [{"shard": k} for k in shards]
        for table in _run(items, _count, source=source, sample=sample):
            for row in table.to_pylist():
                taken = np.frombuffer(row["sample"], source.dtype).reshape(-1, *source.shape)
                yield ShardCount(row["shard"], row["rows"], row["broken"], taken)

    def read(self, source: RowSource, todo: Sequence[Piece]) -> Generator[Rows]:
        """Rows of the pieces, in their order."""
        items = [{"shard": p.shard, "first": p.first, "last": p.last} for p in todo]
        expected = iter([p.shard for p in todo])
        present: int | None = None
        with closing(_run(items, _read_piece, source=source)) as tables:
            for table in tables:
                if not len(table):
                    continue
                flat = table["rows"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
                shard, item = (table[name].to_numpy() for name in ("shard", "item"))
                if shard[0] != present:
                    # Losses are the same for the same seed only if this holds, and Ray's settings decide it.
                    present = next(expected, None)
                    assert shard[0] == shard[-1] == present, f"shard {shard[0]} came instead of {present}"
                # Copied: Arrow's memory cannot be written to, and torch wants to be able to.
                yield Rows(np.array(flat, source.dtype).reshape(-1, *source.shape), shard, item)


def _count(table: pa.Table, *, source: RowSource, sample: int) -> pa.Table:
    """A task: see `count_shard`."""
    (shard,) = table["shard"].to_pylist()
    found = count_shard(source, shard, sample=sample)
    columns = {
        "shard": [shard],
        "rows": [found.rows],
        "broken": [found.broken],
        "sample": [np.ascontiguousarray(found.sample, source.dtype).tobytes()],
    }
    return pa.table(columns, schema=COUNT)


def _read_piece(table: pa.Table, *, source: RowSource) -> Iterator[pa.Table]:
    """A task: the rows of a piece, block by block."""
    (item,) = table.to_pylist()
    width = math.prod(source.shape)
    for rows in read_piece(source, Piece(item["shard"], item["first"], item["last"])):
        flat = pa.array(np.ascontiguousarray(rows.data, source.dtype).reshape(-1))
        data = pa.FixedSizeListArray.from_arrays(flat, width)
        yield pa.table({"rows": data, "shard": rows.shard, "item": rows.item})


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
