"""The poses of a split as rows, for training on single frames."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int

from mocap_ray.dataset.parquet import contiguous
from mocap_ray.dataset.reader import DataSet, open, read_manifest
from mocap_ray.dataset.single.reader import PoseSet, pose_set
from mocap_ray.dataset.single.schema import PRODUCT
from mocap_ray.dataset.views import DataSetError, broken_clips, product_of
from mocap_ray.training.rows import ArrayRows, Block, NoRows, RowSource
from mocap_ray.wording import listed

COLUMN = "poses"
SHAPE = (55, 3)
ROW_BYTES = 55 * 3 * 4 + 4
"""Bytes of a row in memory: the pose and the number of its clip."""


Source = DataSet | PoseSet
"""A data set with poses: of clips, or of single poses."""


def open_source(root: str | os.PathLike[str]) -> Source:
    """Open a data set of clips or of single poses, whichever its manifest says. Raises DataSetError."""
    where, data = read_manifest(root)
    return pose_set(where, data) if product_of(data) == PRODUCT else open(root)


@dataclass(frozen=True, slots=True, eq=False)
class Poses:
    """Frames of a split, clip after clip in the order of the manifest; of single poses, subject after subject.

    Attributes:
        rotvecs: axis-angle, rad, Y up, SMPL-X joint order.
        clip_index: the clip of each frame, as an index into `clip_ids`.
        clip_ids: clips with poses; mirrored twins and sources of joints alone have none and are left out.
        manifest_hash: sha256 of the data set's manifest, which fixes every byte of it.
    """

    rotvecs: Float[np.ndarray, "N 55 3"]
    clip_index: Int[np.ndarray, "N"]
    clip_ids: list[str]
    manifest_hash: str

    def __len__(self) -> int:
        return len(self.rotvecs)


class NoPoses(DataSetError, NoRows):
    """A split in which no clip has poses."""


@dataclass(frozen=True)
class PoseRows(RowSource):
    """Each frame of each clip of a split that has poses, as axis-angle [55, 3] float32, rad; or each single pose.

    Attributes:
        root: root of the data set.
        split: name of the split, or of several.
        dataset: only this sub-dataset.
        domain: only this domain.
        subjects: only the clips, or single poses, of these.
        opened: the data set, if it is open already; other processes open it again.
        parts: parts that a single pose has to give, if any pose of the data set does (`single.instances.PARTS`);
            None: all. A part that is missing would be taken for one at rest.
    """

    root: str
    split: str | tuple[str, ...]
    dataset: str | None = None
    domain: str | None = None
    subjects: frozenset[str] | None = None
    opened: Source | None = field(default=None, compare=False, repr=False)
    parts: tuple[str, ...] | None = None
    shape = SHAPE
    dtype = np.dtype(np.float32)

    def __getstate__(self) -> dict[str, object]:
        return {
            name: getattr(self, name) for name in ("root", "split", "dataset", "domain", "subjects", "parts")
        }

    @cached_property
    def source(self) -> Source:
        """The data set, opened once in each process. Raises DataSetError."""
        return open_source(self.root) if self.opened is None else self.opened

    @cached_property
    def counts(self) -> Mapping[int, int]:
        """Upper bound on the poses of each shard.

        Raises:
            DataSetError: no such split, sub-dataset or domain, or no column `poses`.
        """
        numbers = self._shards()
        self.source.checked_columns([COLUMN])
        if self.subjects is None:
            return {k: self.source.most_poses(k) for k in numbers}
        rows = {k: sum(rows for who, rows in self._items(k) if who in self.subjects) for k in numbers}
        return {k: count for k, count in rows.items() if count}

    def _shards(self) -> list[int]:
        """Numbers of the shards of the splits, in the order of the manifest."""
        names = (self.split,) if isinstance(self.split, str) else self.split
        chosen = (
            self.source.selected(split=name, dataset=self.dataset, domain=self.domain) for name in names
        )
        return sorted({number for numbers in chosen for number in numbers})

    def _items(self, shard: int) -> list[tuple[str, int]]:
        """Subject and largest number of poses of each clip of a shard; or of each single pose, which is one."""
        first = sum(s.rows for s in self.source.shards[:shard])
        rows = self._wanted(self.source.index.slice(first, self.source.shards[shard].rows))
        who = rows["subject"].to_pylist()
        if isinstance(self.source, PoseSet):
            return [(name, 1) for name in who]
        return [(name, count + 1) for name, count in zip(who, rows["num_frames"].to_pylist(), strict=True)]

    def _wanted(self, table: pa.Table) -> pa.Table:
        """The rows of a table that give all parts."""
        for name in self.source.needed(self.parts):
            table = table.filter(table[name])
        return table

    def by_subject(self) -> dict[str, int]:
        """Largest number of poses of each subject. Raises DataSetError as `counts` does."""
        found: dict[str, int] = {}
        for shard in self._shards():
            for who, rows in self._items(shard):
                found[who] = found.get(who, 0) + rows
        return found

    def blocks(self, shard: int) -> Iterator[Block]:
        """Row group after row group (about 100 clips, or 8,192 single poses, each)."""
        item = self.source.item
        # The item of a single pose is its subject.
        who = () if self.subjects is None else ("subject",)
        columns = list(dict.fromkeys((item, *who, *self.source.needed(self.parts), COLUMN)))
        with self.source.open_shard(shard) as file:
            for group in range(file.num_row_groups):
                table = self._wanted(file.read_row_group(group, columns))
                if self.subjects is None:
                    yield _block(table, item)
                    continue
                chosen = pc.is_in(table["subject"], value_set=pa.array(sorted(self.subjects), pa.string()))
                if pc.any(chosen).as_py():
                    yield _block(table.filter(chosen), item)

    def empty(self) -> NoPoses:
        """The error if no clip has poses."""
        of = f" of dataset '{self.dataset}'" if self.dataset else ""
        of += f" of domain '{self.domain}'" if self.domain else ""
        splits = self.split if isinstance(self.split, str) else ", ".join(self.split)
        if isinstance(self.source, PoseSet):
            parts = [name.removeprefix("has_").replace("_", " ") for name in self.source.needed(self.parts)]
            return NoPoses(
                f"{self.source.place.uri}: no pose of split '{splits}'{of} gives all of {listed(parts)}. Choose "
                "another split, or fewer joints: data.joints=body needs none of them."
            )
        return NoPoses(
            f"{self.source.place.uri}: no clip of split '{splits}'{of} has poses (mirrored twins and sources of "
            "joints alone have none). Choose another split, or extract recordings with pose parameters."
        )

    def too_many(self, shard: int) -> DataSetError:
        """The error if the files hold more poses than the manifest says."""
        path = self.source.shards[shard].path
        return DataSetError(
            f"{self.source.place.uri}/{path}: more poses than the manifest's frames. Run the same extract command "
            "again."
        )

    def broken(self, names: Sequence[str]) -> DataSetError:
        """The error if poses are NaN or infinite."""
        return broken_clips(self.source.place.uri, "poses", names)


def read_poses(
    root: str | os.PathLike[str],
    *,
    split: str,
    dataset: str | None = None,
    domain: str | None = None,
    parts: tuple[str, ...] | None = None,
) -> Poses:
    """Read all poses of a split into memory: about 660 bytes a frame, the 40 hours of AMASS at 20 fps 1.9 GB.

    Args:
        root: a data set that `mocap-ray extract` wrote, a path or an address.
        split: name of the split.
        dataset: only this sub-dataset.
        domain: only this domain.
        parts: as in `PoseRows`.

    Raises:
        DataSetError: no data set, no such split, no column `poses`, only clips without poses, or numbers that
            are not finite; the message says what to do.
    """
    return poses_of(PoseRows(os.fspath(root), split, dataset, domain, parts=parts))


def poses_of(rows: PoseRows) -> Poses:
    """Read rows into memory, with the names of their clips. Raises DataSetError."""
    loaded = rows.load()
    assert isinstance(loaded, ArrayRows)
    # A clip is in one row group; the single poses of a subject may be in several.
    names = {name: k for k, name in enumerate(dict.fromkeys(loaded.item_names))}
    numbers = np.array([names[name] for name in loaded.item_names], np.int32)
    return Poses(loaded.data, numbers[loaded.item], list(names), manifest_hash(rows.source))


def pose_rows(source: Source, *, split: str, dataset: str | None = None, domain: str | None = None) -> int:
    """Upper bound on the poses of a split, from the manifest.

    Raises:
        DataSetError: no such split, sub-dataset or domain.
    """
    chosen = source.selected(split=split, dataset=dataset, domain=domain)
    return sum(source.most_poses(k) for k in chosen)


def manifest_hash(source: Source) -> str:
    """sha256 of manifest.json: data sets with equal hashes are equal byte for byte."""
    return hashlib.sha256(source.place.read("manifest.json")).hexdigest()


def _block(table: pa.Table, item: str) -> Block:
    """Poses of a row group; clips without poses are left out.

    Args:
        table: its rows: one pose each, or one clip each with a list of poses.
        item: the column that names where the poses come from.
    """
    column = contiguous(table[COLUMN]) if len(table) else pa.array([], table.schema.field(COLUMN).type)
    if pa.types.is_fixed_size_list(column.type):
        found = table[item].combine_chunks().dictionary_encode()
        single: Float[np.ndarray, "n"] = column.flatten().to_numpy(zero_copy_only=False)
        index = np.asarray(found.indices, np.int32)
        return Block(single.reshape(-1, *SHAPE), index, found.dictionary.to_pylist())
    lengths = pc.list_value_length(column)
    has_poses = np.asarray(lengths.is_valid())
    names = [name for name, has in zip(table[item].to_pylist(), has_poses, strict=True) if has]
    # `flatten` skips what null rows may hide.
    values: Float[np.ndarray, "n"] = column.flatten().flatten().to_numpy(zero_copy_only=False)
    frames = np.asarray(lengths.drop_null()).astype(np.int64)
    rows: Int[np.ndarray, "n"] = np.repeat(np.arange(len(names), dtype=np.int32), frames)
    return Block(values.reshape(-1, *SHAPE), rows, names)
