"""Reading shards ahead with Ray Data.

Each worker of a training runs its own pipeline over its share of the rows. The reading tasks request no CPU from Ray:
the workers may occupy all of them, and the pipeline would never start.
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
"""Number of pieces that are read at the same time."""
CONTEXT_LOCK = threading.Lock()
"""Lock for creating a pipeline: all threads of a process share the settings of Ray Data."""


class RayDataReader:
    """A `ShardReader` with tasks on the cluster that this process is connected to."""

    name = "Ray Data"

    def count(self, source: RowSource, shards: Sequence[int], *, sample: int) -> Iterator[ShardCount]:
        """Read each shard once, in tasks."""
        items = [{"shard": k} for k in shards]
        for table in _run(items, _count, source=source, sample=sample):
            for row in table.to_pylist():
                rows = np.frombuffer(row["sample"], source.dtype).reshape(-1, *source.shape)
                yield ShardCount(row["shard"], row["rows"], row["broken"], rows)

    def read(self, source: RowSource, todo: Sequence[Piece]) -> Generator[Rows]:
        """The rows of the pieces, in order."""
        items = [{"shard": p.shard, "first": p.first, "last": p.last} for p in todo]
        expected = iter([p.shard for p in todo])
        current: int | None = None
        with closing(_run(items, _read_piece, source=source)) as tables:
            for table in tables:
                if not len(table):
                    continue
                flat = table["rows"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
                shard, item = (table[name].to_numpy() for name in ("shard", "item"))
                if shard[0] != current:
                    # Equal seeds give equal losses only if the order holds, which depends on the settings of Ray Data.
                    current = next(expected, None)
                    assert shard[0] == shard[-1] == current, f"got shard {shard[0]} instead of {current}"
                # Copied, because Arrow's memory is read-only and torch needs writable memory.
                yield Rows(np.array(flat, source.dtype).reshape(-1, *source.shape), shard, item)


def _count(table: pa.Table, *, source: RowSource, sample: int) -> pa.Table:
    """A task: see `count_shard`."""
    (shard,) = table["shard"].to_pylist()
    result = count_shard(source, shard, sample=sample)
    columns = {
        "shard": [shard],
        "rows": [result.rows],
        "broken": [result.broken],
        "sample": [np.ascontiguousarray(result.sample, source.dtype).tobytes()],
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
    """The results of the tasks, in the order of the items, a few of them prefetched."""
    if not items:
        return
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    with CONTEXT_LOCK:
        context = DataContext.get_current().copy()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.execution_options.preserve_order = True
        with DataContext.current(context):  # only during creation: a pipeline keeps its settings
            data = ray.data.from_items(list(items), override_num_blocks=len(items)).map_batches(
                task,
                batch_size=1,
                batch_format="pyarrow",
                compute=TaskPoolStrategy(size=READERS),
                fn_kwargs=arguments,
                num_cpus=0,
            )
    yield from data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1)
