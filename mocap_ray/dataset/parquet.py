"""The Parquet files of a data set: shards, row groups, and one clip's entry of a column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mocap_ray.dataset import schema
from mocap_ray.dataset.views import DataSetError
from mocap_ray.storage import Place
from mocap_ray.wording import counted

REMEDY = "Copy the data set again, or run the same extract command again: it makes this shard again."
DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError)
"""What pyarrow raises for bytes in memory that are no sound Parquet; the last one for names that are not UTF-8."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One Parquet file as the manifest lists it; `path` is relative to the root."""

    path: str
    dataset: str
    split: str
    rows: int
    frames: int
    source: str = ""
    domain: str = ""


class ShardFile:
    """An open Parquet file whose content is checked: a context manager.

    What is wrong with the file itself is a `DataSetError` with its name; a disk or network that fails is an OSError.
    """

    def __init__(self, place: Place, shard: Shard, columns: Sequence[str]) -> None:
        """Open a shard.

        Args:
            place: root of the data set.
            shard: the shard.
            columns: as in `schema.schema`: the columns that the file must have.

        Raises:
            DataSetError: the file is missing, damaged, or not the one that the manifest lists.
            OSError: it cannot be read.
        """
        self.place, self.path, self.domain = place, shard.path, shard.domain
        self.where = f"{place.uri}/{shard.path}"
        try:
            with self._damage():
                self._file = pq.ParquetFile(place.join(shard.path), filesystem=place.fs, pre_buffer=True)
        except FileNotFoundError:
            raise DataSetError(f"{self.where}: listed in the manifest, but missing. {REMEDY}") from None
        try:
            self._require(shard, columns)
        except BaseException:
            self.close()
            raise

    def _require(self, shard: Shard, columns: Sequence[str]) -> None:
        """Raise DataSetError unless the file has the rows and columns that the manifest lists."""
        with self._damage():
            rows, found = self._file.metadata.num_rows, self._file.schema_arrow
        if rows != shard.rows:
            raise DataSetError(
                f"{self.where}: {counted(rows, 'row')}, but the manifest lists {shard.rows}. {REMEDY}"
            )
        for field in self.fields(columns):
            at = found.get_field_index(field.name)
            if at < 0 and field.name in schema.ADDED:
                continue  # from an earlier version: `_filled`
            if at < 0 or not found.field(at).equals(field):
                what = f"is {found.field(at).type}" if at >= 0 else "is missing"
                raise DataSetError(
                    f"{self.where}: the column '{field.name}' {what}. Expected {field.type}. {REMEDY}"
                )

    def fields(self, columns: Sequence[str]) -> pa.Schema:
        """The columns that the file must have."""
        return schema.schema(columns)

    def __enter__(self) -> ShardFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def num_row_groups(self) -> int:
        """Number of row groups."""
        return int(self._file.num_row_groups)

    def rows_of(self, group: int) -> int:
        """Number of rows of a row group."""
        with self._damage():
            return int(self._file.metadata.row_group(group).num_rows)

    def read(self, columns: Sequence[str], *, use_threads: bool = True) -> pa.Table:
        """The columns of all rows. Raises DataSetError or OSError."""
        with self._damage():
            return self._filled(
                checked(self._file.read(columns=list(columns), use_threads=use_threads)), columns
            )

    def read_row_group(self, group: int, columns: Sequence[str], *, use_threads: bool = True) -> pa.Table:
        """The columns of a row group. Raises DataSetError or OSError."""
        with self._damage():
            table = checked(self._file.read_row_group(group, columns=list(columns), use_threads=use_threads))
            return self._filled(table, columns)

    def _filled(self, table: pa.Table, columns: Sequence[str]) -> pa.Table:
        """The table with the columns that a file of an earlier version lacks."""
        lacking = [name for name in schema.ADDED if name in columns and name not in table.column_names]
        return table if not lacking else schema.with_added(table, self.domain).select(list(columns))

    @contextmanager
    def _damage(self) -> Iterator[None]:
        """Raise DataSetError if the content of the file is at fault, and the error itself if reading is.

        Arrow raises OSError for a disk that fails and for bytes that are no Parquet alike. So the file is read again,
        as plain bytes, and parsed from memory: only its content can be at fault there.
        """
        try:
            yield
        except FileNotFoundError:
            raise
        except DAMAGE as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            problem = _problem_of(self.place.read(self.path))
            if problem is None:
                raise
            raise DataSetError(f"{self.where}: damaged ({problem}). {REMEDY}") from error


def _problem_of(data: bytes) -> str | None:
    """What is wrong with the bytes of a Parquet file, on one line; None if all of it can be read."""
    try:
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            for group in range(file.num_row_groups):
                checked(file.read_row_group(group))
    except DAMAGE as error:
        return on_one_line(error)
    return None


def on_one_line(error: BaseException) -> str:
    """What an error says, on one line without a full stop, or its class if it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(". ")[:200]


def checked(table: pa.Table) -> pa.Table:
    """The table. Raises ArrowInvalid if offsets are inconsistent, or text is not UTF-8."""
    table.validate(full=True)
    return table


def group_of(file: ShardFile, row: int) -> tuple[int, int]:
    """Row group that holds `row` of a file, and the row's number within it."""
    for group in range(file.num_row_groups):
        rows = file.rows_of(group)
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
