"""Open a finished data set without Ray: clips as numpy arrays, statistics, splits.

    ds = mocap_ray.open("out/cmu")
    for clip in ds.clips(split="train", columns=["features"]):
        print(clip.clip_id, clip.features.shape, clip.fps)

`manifest.json` is authoritative: only the shards that it lists are read, and its presence means that the run
finished. Works on a local folder, `s3://` and `gs://`. `ds.torch(...)` returns a torch `Dataset`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float
from pydantic_core import from_json

from mocap_ray.dataset import schema
from mocap_ray.dataset.manifest import ClipManifest
from mocap_ray.dataset.parquet import ShardFile, contiguous, group_of, owned
from mocap_ray.dataset.recipe import recipes_of
from mocap_ray.dataset.sharded import ShardedSet, listed_shards
from mocap_ray.dataset.views import REFLOW, ClipView, DataSetError, Statistics, not_written, product_of
from mocap_ray.motion.clip import Caption
from mocap_ray.npz import NpzError, open_npz
from mocap_ray.shards.manifest import NAME as MANIFEST
from mocap_ray.shards.manifest import parse_manifest
from mocap_ray.storage import Place, place

if TYPE_CHECKING:
    from mocap_ray.dataset.tensors import ClipTensors

PLAIN_COLUMNS: tuple[str, ...] = tuple(f.name for f in schema.schema(()))
"""Columns with one value per clip, in every data set."""


STATISTICS_REMEDY = (
    "Copy the data set again, or delete manifest.json and run the same extract command again: it writes "
    "this file again."
)


def open(root: str | os.PathLike[str]) -> DataSet:
    """Open a finished data set.

    Args:
        root: its folder, or an address such as `s3://bucket/folder`.

    Raises:
        DataSetError: no folder, no manifest (an unfinished run, or not a data set), a manifest that cannot
            be read, or one of a newer format; or a data set of single poses.
    """
    where, data = read_manifest(root)
    if product_of(data) == REFLOW:
        raise DataSetError(
            f"{where.uri}: pairs of noise and latents that `mocap-ray reflow` wrote, without motion. A motion_flow is "
            "trained on them; to look at motion, generate some: mocap-ray generate."
        )
    if product_of(data) != "clips":
        raise DataSetError(
            f"{where.uri}: a data set of single poses, without motion: it has no clips, features or joints to play, "
            "show or export. Priors are trained and judged on it: mocap-ray train gaussian_prior --override "
            f"data.root={where.uri}. In Python, mocap_ray.open_poses reads it."
        )
    found = parse_manifest(data, ClipManifest, version=schema.SCHEMA_VERSION, out=where, error=DataSetError)
    values = from_json(data)
    return DataSet(where, values, listed_shards(found.shards, recipes_of(values["recipe"])))


def read_manifest(root: str | os.PathLike[str]) -> tuple[Place, bytes]:
    """The place of a data set of any kind, and its manifest. Raises DataSetError."""
    where = place(root)
    try:
        data = where.read(MANIFEST)
    except (FileNotFoundError, NotADirectoryError):
        raise _no_manifest(where) from None
    if product_of(data) == "people":
        raise DataSetError(
            f"{where.uri}: people in the frames of videos, which `mocap-ray estimate` makes first. The data set of "
            f"their motion is the folder beside it, {where.uri.rpartition('/')[0]}/motion."
        )
    return where, data


def _no_manifest(where: Place) -> DataSetError:
    """Why a folder without a manifest cannot be opened, judging by its content."""
    if where.local is not None and not where.exists():
        return DataSetError(
            f"{where.uri}: no such folder. Expected a data set that `mocap-ray extract` wrote."
        )
    found = where.names()  # not all files below: it may be anything, such as a home folder
    if "receipts" in found or "clips" in found:
        return DataSetError(
            f"{where.uri}: no manifest.json, so the run that writes this data set has not finished. "
            "Run the same extract command again: finished shards are kept, and the manifest comes last."
        )
    names = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "") if found else "nothing"
    return DataSetError(
        f"{where.uri}: not a data set: no manifest.json (found {names}). "
        "Expected the output.root of a `mocap-ray extract` run."
    )


@dataclass(frozen=True)
class DataSet(ShardedSet):
    """A finished data set, as returned by `open`. Holds no open files, so it can be pickled and copied.

    Attributes:
        place: root of the data set.
        manifest: the content of `manifest.json`: counts, recipe, totals; checked by `ClipManifest`.
        shards: the files that the manifest lists, in its order.
    """

    item = "clip_id"
    """The column that names where a pose comes from."""

    def __repr__(self) -> str:
        return (
            f"DataSet({self.place.uri!r}: {len(self)} clips, {self.profile}, splits {', '.join(self.splits)})"
        )

    @property
    def profile(self) -> str:
        """`humanml3d` or `flowmimic`."""
        return str(self.manifest["profile"])

    @property
    def columns(self) -> tuple[str, ...]:
        """The frame columns that were written."""
        return tuple(self.manifest["columns"])

    @property
    def plain_columns(self) -> tuple[str, ...]:
        """Columns with one value per clip; they are small and always read."""
        return PLAIN_COLUMNS

    @cached_property
    def statistics(self) -> Statistics:
        """Mean and std of the train split. Raises DataSetError if the data set has none, or damaged ones."""
        name = "statistics.npz"
        try:
            with open_npz(self.place, name) as arrays:
                read = {key: np.array(arrays.read(key)) for key in ("mean", "std")}
        except FileNotFoundError:
            raise DataSetError(
                f"{self.place.uri}: no statistics.npz. It is made from the train split; the splits here are "
                f"{', '.join(self.splits) or 'none'}."
            ) from None
        except NpzError as error:
            raise DataSetError(f"{self.place.uri}/{name}: damaged ({error}). {STATISTICS_REMEDY}") from error
        width = schema.FRAME_COLUMNS["features"]
        for key, array in read.items():
            if array.shape != (width,) or array.dtype.kind != "f" or not np.isfinite(array).all():
                raise DataSetError(
                    f"{self.place.uri}/{name}: '{key}' is {array.dtype} of shape {array.shape}. Expected {width} "
                    f"finite numbers. {STATISTICS_REMEDY}"
                )
        return Statistics(read["mean"].astype(np.float32), read["std"].astype(np.float32))

    def normalised(self, features: Float[np.ndarray, "*B 263"]) -> Float[np.ndarray, "*B 263"]:
        """(features - mean) / std, with 1 in place of a std of 0; float32."""
        s = self.statistics
        return np.asarray((features - s.mean) / s.divisor, np.float32)

    def denormalised(self, features: Float[np.ndarray, "*B 263"]) -> Float[np.ndarray, "*B 263"]:
        """The inverse of `normalised`."""
        s = self.statistics
        return np.asarray(features * s.divisor + s.mean, np.float32)

    @cached_property
    def index(self) -> pa.Table:
        """One row per clip, in reading order, with the plain columns, dataset and split, without frame columns.

        `ds.index.to_pandas()` gives a quick overview; row k is the k-th clip of `ds.clips()`.
        """
        with ThreadPoolExecutor(8) as pool:  # on an object store each shard costs a few round trips
            parts = list(pool.map(self._index_of, range(len(self.shards))))
        if parts:
            return pa.concat_tables(parts)
        names = (*schema.schema(()), pa.field("dataset", pa.string()), pa.field("split", pa.string()))
        return pa.schema(names).empty_table()

    def _index_of(self, number: int) -> pa.Table:
        """The index's rows for one shard."""
        shard = self.shards[number]
        with self.open_shard(number) as file:
            part = file.read(self.plain_columns, use_threads=False)
        for name, value in (("dataset", shard.dataset), ("split", shard.split)):
            part = part.append_column(name, pa.repeat(pa.scalar(value), len(part)))
        return part.replace_schema_metadata(None)

    def checked_columns(self, columns: Sequence[str] | None) -> tuple[str, ...]:
        """`columns`; None means all that were written. Raises DataSetError for a column that was not written."""
        if columns is None:
            return self.columns
        for name in columns:
            if name not in self.columns:
                raise not_written(self.place.uri, name, self.columns)
        return tuple(columns)

    def open_shard(self, number: int) -> ShardFile:
        """Open shard `number` as a Parquet file and check it against the manifest; the caller closes it.

        Raises:
            DataSetError: the file is missing, damaged, or not the one that the manifest lists.
            OSError: it cannot be read.
        """
        return ShardFile(self.place, self.shards[number], self.columns)

    def most_poses(self, number: int) -> int:
        """Upper bound on the poses of a shard: a clip has at most one more than rows of features."""
        return self.shards[number].frames + self.shards[number].rows

    def needed(self, parts: Sequence[str] | None = None) -> tuple[str, ...]:
        """Columns that must be true where these parts of a pose are wanted: none, since a clip gives all of them."""
        return ()

    def __iter__(self) -> Iterator[ClipView]:
        return self.clips()

    def clips(
        self,
        *,
        split: str | None = None,
        dataset: str | None = None,
        domain: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> Iterator[ClipView]:
        """Iterate over clips, reading one row group (about 100 clips) at a time.

        Args:
            split: only clips of this split.
            dataset: only clips of this sub-dataset.
            domain: only clips of this domain.
            columns: frame columns to read, by default all that were written; fewer columns are faster.

        Raises:
            DataSetError: unknown split, dataset, domain or column, before the first clip is read.
        """
        numbers = self.selected(split=split, dataset=dataset, domain=domain)
        chosen = self.checked_columns(columns)
        return (
            clip
            for number in numbers
            for table in self._groups(number, chosen)
            for clip in self.views(table, number)
        )

    def _groups(self, number: int, columns: Sequence[str]) -> Iterator[pa.Table]:
        with self.open_shard(number) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group, [*self.plain_columns, *columns])

    def views(self, table: pa.Table, number: int, rows: Sequence[int] | None = None) -> Iterator[ClipView]:
        """Rows of a table that was read from shard `number`, by default all, as `ClipView`s."""
        shard = self.shards[number]
        names = [name for name in self.columns if name in table.column_names]
        chunks = {name: contiguous(table[name]) for name in names}
        for row in range(len(table)) if rows is None else rows:
            plain = {name: table[name][row].as_py() for name in self.plain_columns}
            plain["texts"] = tuple(plain["texts"])
            plain["captions"] = tuple(Caption(**caption) for caption in plain.get("captions", ()))
            plain["betas"] = np.asarray(plain["betas"], np.float32)
            yield ClipView(
                **plain,
                dataset=shard.dataset,
                split=shard.split,
                frames={name: owned(chunks[name], row) for name in names},
                written=self.columns,
            )

    def clip(self, clip_id: str, *, columns: Sequence[str] | None = None) -> ClipView:
        """One clip by its id. Raises DataSetError if there is none."""
        chosen = self.checked_columns(columns)
        position = pc.index(self.index["clip_id"], pa.scalar(clip_id)).as_py()
        if position < 0:
            names = self.index["clip_id"][:3].to_pylist()
            raise DataSetError(
                f"{self.place.uri}: no clip '{clip_id}'. Ids look like {', '.join(names) or 'none'}."
            )
        ends = np.cumsum([s.rows for s in self.shards])
        number = int(np.searchsorted(ends, position, side="right"))
        row = position - int(ends[number] - self.shards[number].rows)
        with self.open_shard(number) as file:
            group, row = group_of(file, row)
            table = file.read_row_group(group, [*self.plain_columns, *chosen])
        return next(self.views(table, number, [row]))

    def joints(self, clip: ClipView) -> Float[np.ndarray, "T 22 3"]:
        """[T, 22, 3] metres: the joints column if it was read, otherwise decoded from the features.

        Decoded joints start at the origin, face +Z in frame 0 and have as many frames as `features` rows.
        """
        if clip.frames.get("joints") is not None:
            stored = clip.joints
            assert stored is not None
            return stored
        from mocap_ray.motion.features import decode

        return np.asarray(decode(clip.features), np.float32)

    def torch(
        self,
        *,
        split: str | None = None,
        dataset: str | None = None,
        domain: str | None = None,
        length: int | None = None,
        stride: int | None = None,
        normalise: bool = True,
        columns: Sequence[str] = ("features",),
    ) -> ClipTensors:
        """A map-style torch `Dataset` of windows or whole clips; see `tensors.ClipTensors`.

        Args:
            split: only clips of this split.
            dataset: only clips of this sub-dataset.
            domain: only clips of this domain.
            length: rows of a window; None gives whole clips (use `tensors.pad` as `collate_fn`).
            stride: rows between the starts of windows; default: `length`.
            normalise: whether to normalise features, as `normalised` does.
            columns: frame columns in an item.
        """
        from mocap_ray.dataset.tensors import ClipTensors

        ends = np.cumsum([s.rows for s in self.shards])[:-1]
        return ClipTensors(
            self.open_shard,
            frames=np.split(np.asarray(self.index["num_frames"], np.int64), ends),
            shards=self.selected(split=split, dataset=dataset, domain=domain),
            length=length,
            stride=stride,
            statistics=self.statistics if normalise else None,
            columns=self.checked_columns(columns),
        )
