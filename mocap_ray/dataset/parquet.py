"""The Parquet files of a data set: shards, row groups, and one clip's entry of a column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mocap_ray.dataset import schema


@dataclass(frozen=True, slots=True)
class Shard:
    """One Parquet file as the manifest lists it; `path` is relative to the root."""

    path: str
    dataset: str
    split: str
    rows: int


def group_of(file: pq.ParquetFile, row: int) -> tuple[int, int]:
    """Row group that holds `row` of a file, and the row's number within it."""
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if row < rows:
            return group, row
        row -= rows
    raise AssertionError("row beyond the end of the file")


def contiguous(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array; copied only if Parquet returned it in several chunks."""
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def owned(column: pa.Array, row: int) -> np.ndarray | None:
    """A frame entry as a copy: a view would keep its whole row group in memory."""
    array = schema.frames(column, row)
    return None if array is None else array.copy()
