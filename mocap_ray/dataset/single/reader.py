"""Open a finished data set of single poses.

poses = mocap_ray.open_poses("out/humandata")
for table in poses.tables(split="train"):
print(table["poses"].combine_chunks().flatten().to_numpy().reshape(-1, 55, 3).shape)
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
from pydantic_core import from_json

from mocap_ray.dataset.parquet import ShardFile
from mocap_ray.dataset.reader import read_manifest
from mocap_ray.dataset.recipe import recipes_of
from mocap_ray.dataset.sharded import ShardedSet, listed_shards
from mocap_ray.dataset.single.instances import OPTIONAL_PARTS
from mocap_ray.dataset.single.schema import (
    COLUMN,
    PRODUCT,
    SCHEMA,
    SCHEMA_VERSION,
    PoseManifest,
    given_column,
    given_parts,
)
from mocap_ray.dataset.views import DataSetError, product_of
from mocap_ray.shards.manifest import parse_manifest
from mocap_ray.storage import Place


def open_poses(root: str | os.PathLike[str]) -> PoseSet:
    """Open a finished data set of single poses, as `mocap-ray extract humandata` and `extract poses` write them.

    Args:
        root: its folder, or an address such as `s3://bucket/folder`.

    Raises:
        DataSetError: no data set of single poses, or an unfinished one.
    """
    where, data = read_manifest(root)
    if product_of(data) != PRODUCT:
        raise DataSetError(
            f"{where.uri}: a data set of clips, and not of single poses. Open it with mocap_ray.open."
        )
    return pose_set(where, data)


def pose_set(where: Place, data: bytes) -> PoseSet:
    """The data set of a manifest. Raises DataSetError."""
    found = parse_manifest(data, PoseManifest, version=SCHEMA_VERSION, out=where, error=DataSetError)
    values = from_json(data)
    shards = listed_shards(found.shards, recipes_of(values["recipe"]))
    return PoseSet(where, values, shards, tuple(given_parts(found.totals)))


class PoseShard(ShardFile):
    """An open file of single poses."""

    def fields(self, columns: Sequence[str]) -> pa.Schema:
        """The columns that every file has."""
        return SCHEMA


@dataclass(frozen=True)
class PoseSet(ShardedSet):
    """A finished data set of single poses. Holds no open files, so it can be pickled and copied.

    Attributes:
        place: root of the data set.
        manifest: the content of `manifest.json`.
        shards: the files that the manifest lists, in its order.
        parts: the parts besides the body that at least one pose gives, of `instances.OPTIONAL_PARTS`.
    """

    parts: tuple[str, ...]
    item = "subject"
    """The column that names where a pose comes from: poses of one subject or sequence are alike."""
    columns = (COLUMN,)

    def __repr__(self) -> str:
        return f"PoseSet({self.place.uri!r}: {len(self)} single poses, splits {', '.join(self.splits)})"

    @cached_property
    def index(self) -> pa.Table:
        """One row per pose, in reading order, with dataset and split, and all columns but the poses and betas."""
        names = [name for name in SCHEMA.names if name not in (COLUMN, "betas")]
        parts = []
        for number, shard in enumerate(self.shards):
            with self.open_shard(number) as file:
                part = file.read(names, use_threads=False)
            for name, value in (("dataset", shard.dataset), ("split", shard.split)):
                part = part.append_column(name, pa.repeat(pa.scalar(value), len(part)))
            parts.append(part.replace_schema_metadata(None))
        empty = pa.schema([*map(SCHEMA.field, names), ("dataset", pa.string()), ("split", pa.string())])
        return pa.concat_tables(parts) if parts else empty.empty_table()

    def checked_columns(self, columns: Sequence[str] | None) -> tuple[str, ...]:
        """`columns`; None means the poses. Raises DataSetError for a column of motion."""
        for name in columns or ():
            if name not in SCHEMA.names:
                raise DataSetError(
                    f"{self.place.uri}: single poses have no column '{name}'. There are {', '.join(SCHEMA.names)}."
                )
        return self.columns if columns is None else tuple(columns)

    def open_shard(self, number: int) -> PoseShard:
        """Open shard `number` and check it against the manifest; the caller closes it. Raises DataSetError, OSError."""
        return PoseShard(self.place, self.shards[number], SCHEMA.names)

    def most_poses(self, number: int) -> int:
        """Number of poses of a shard."""
        return self.shards[number].rows

    def needed(self, parts: Sequence[str] | None = None) -> tuple[str, ...]:
        """The columns that must be true where these parts are wanted: of those that at least one pose gives.

        Args:
            parts: of `instances.PARTS`; None: all.
        """
        wanted = OPTIONAL_PARTS if parts is None else parts
        return tuple(given_column(part) for part in self.parts if part in wanted)

    def tables(
        self,
        *,
        split: str | None = None,
        dataset: str | None = None,
        domain: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> Iterator[pa.Table]:
        """Rows as Arrow tables of up to 8,192 rows, in reading order.

        Args:
            split: only poses of this split.
            dataset: only poses of this sub-dataset.
            domain: only poses of this domain.
            columns: by default all.

        Raises:
            DataSetError: unknown split, dataset, domain or column, before the first row is read.
        """
        numbers = self.selected(split=split, dataset=dataset, domain=domain)
        chosen = SCHEMA.names if columns is None else self.checked_columns(columns)

        def read() -> Iterator[pa.Table]:
            for number in numbers:
                with self.open_shard(number) as file:
                    for group in range(file.num_row_groups):
                        yield file.read_row_group(group, chosen)

        return read()
