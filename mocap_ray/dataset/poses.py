"""The poses of a split as rows, for training on single frames."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int

from mocap_ray.dataset.parquet import contiguous
from mocap_ray.dataset.reader import DataSet, open
from mocap_ray.dataset.views import DataSetError
from mocap_ray.training.rows import ArrayRows, Block, NoRows, RowSource

COLUMN = "poses"
SHAPE = (55, 3)
ROW_BYTES = 55 * 3 * 4 + 4
"""Bytes of a row in memory: the pose and the number of its clip."""


@dataclass(frozen=True, slots=True, eq=False)
class Poses:
    """Frames of a split, clip after clip in the order of the manifest.

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
    """Each frame of each clip of a split that has poses, as axis-angle [55, 3] float32, rad.

    Attributes:
        root: root of the data set.
        split: name of the split, or of several.
        dataset: only this sub-dataset.
        domain: only this domain.
        subjects: only the clips of these.
        opened: the data set, if it is open already; other processes open it again.
    """

    root: str
    split: str | tuple[str, ...]
    dataset: str | None = None
    domain: str | None = None
    subjects: frozenset[str] | None = None
    opened: DataSet | None = field(default=None, compare=False, repr=False)
    shape = SHAPE
    dtype = np.dtype(np.float32)

    def __getstate__(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in ("root", "split", "dataset", "domain", "subjects")}

    @cached_property
    def source(self) -> DataSet:
        """The data set, opened once in each process. Raises DataSetError."""
        return open(self.root) if self.opened is None else self.opened

    @cached_property
    def counts(self) -> Mapping[int, int]:
        """Upper bound on the frames of each shard: a clip has at most one frame more than rows of features.

        Raises:
            DataSetError: no such split, sub-dataset or domain, or no column `poses`.
        """
        numbers = self._shards()
        self.source.checked_columns([COLUMN])
        shards = self.source.shards
        if self.subjects is None:
            return {k: shards[k].frames + shards[k].rows for k in numbers}
        rows = {k: sum(rows for who, rows in self._clips(k) if who in self.subjects) for k in numbers}
        return {k: count for k, count in rows.items() if count}

    def _shards(self) -> list[int]:
        """Numbers of the shards of the splits, in the order of the manifest."""
        names = (self.split,) if isinstance(self.split, str) else self.split
        chosen = (
            self.source.selected(split=name, dataset=self.dataset, domain=self.domain) for name in names
        )
        return sorted({number for numbers in chosen for number in numbers})

    def _clips(self, shard: int) -> list[tuple[str, int]]:
        """Subject and largest number of poses of each clip of a shard."""
        first = sum(s.rows for s in self.source.shards[:shard])
        clips = self.source.index.slice(first, self.source.shards[shard].rows)
        return [
            (who, rows + 1)
            for who, rows in zip(clips["subject"].to_pylist(), clips["num_frames"].to_pylist(), strict=True)
        ]

    def by_subject(self) -> dict[str, int]:
        """Largest number of poses of each subject. Raises DataSetError as `counts` does."""
        found: dict[str, int] = {}
        for shard in self._shards():
            for who, rows in self._clips(shard):
                found[who] = found.get(who, 0) + rows
        return found

    def blocks(self, shard: int) -> Iterator[Block]:
        """Row group after row group (about 100 clips each)."""
        with self.source.open_shard(shard) as file:
            for group in range(file.num_row_groups):
                if self.subjects is None:
                    yield _block(file.read_row_group(group, ["clip_id", COLUMN]))
                    continue
                table = file.read_row_group(group, ["clip_id", "subject", COLUMN])
                chosen = pc.is_in(table["subject"], value_set=pa.array(sorted(self.subjects), pa.string()))
                if pc.any(chosen).as_py():
                    yield _block(table.filter(chosen))

    def empty(self) -> NoPoses:
        """The error if no clip has poses."""
        of = f" of dataset '{self.dataset}'" if self.dataset else ""
        of += f" of domain '{self.domain}'" if self.domain else ""
        splits = self.split if isinstance(self.split, str) else ", ".join(self.split)
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
        return DataSetError(
            f"{self.source.place.uri}: poses that are not finite in {', '.join(names[:5])}. Take them out: "
            f"{shlex.join(['mocap-ray', 'dataset', 'exclude', self.source.place.uri, *names[:5]])} --reason '...'"
        )


def read_poses(
    root: str | os.PathLike[str], *, split: str, dataset: str | None = None, domain: str | None = None
) -> Poses:
    """Read all poses of a split into memory: about 660 bytes a frame, the 40 hours of AMASS at 20 fps 1.9 GB.

    Args:
        root: a data set that `mocap-ray extract` wrote, a path or an address.
        split: name of the split.
        dataset: only this sub-dataset.
        domain: only this domain.

    Raises:
        DataSetError: no data set, no such split, no column `poses`, only clips without poses, or numbers that
            are not finite; the message says what to do.
    """
    return poses_of(PoseRows(os.fspath(root), split, dataset, domain))


def poses_of(rows: PoseRows) -> Poses:
    """Read rows into memory, with the names of their clips. Raises DataSetError."""
    loaded = rows.load()
    assert isinstance(loaded, ArrayRows)
    return Poses(loaded.data, loaded.item, loaded.item_names, manifest_hash(rows.source))


def pose_rows(source: DataSet, *, split: str, dataset: str | None = None, domain: str | None = None) -> int:
    """Upper bound on the poses of a split, from the manifest: a clip has at most one more than rows of features.

    Raises:
        DataSetError: no such split, sub-dataset or domain.
    """
    chosen = source.selected(split=split, dataset=dataset, domain=domain)
    return sum(source.shards[k].frames + source.shards[k].rows for k in chosen)


def manifest_hash(source: DataSet) -> str:
    """sha256 of manifest.json: data sets with equal hashes are equal byte for byte."""
    return hashlib.sha256(source.place.read("manifest.json")).hexdigest()


def _block(table: pa.Table) -> Block:
    """Poses of a row group; clips without poses are left out."""
    column = contiguous(table[COLUMN]) if len(table) else pa.array([], table.schema.field(COLUMN).type)
    lengths = pc.list_value_length(column)
    has_poses = np.asarray(lengths.is_valid())
    names = [name for name, has in zip(table["clip_id"].to_pylist(), has_poses, strict=True) if has]
    # `flatten` skips what null rows may hide.
    values: Float[np.ndarray, "n"] = column.flatten().flatten().to_numpy(zero_copy_only=False)
    frames = np.asarray(lengths.drop_null()).astype(np.int64)
    item: Int[np.ndarray, "n"] = np.repeat(np.arange(len(names), dtype=np.int32), frames)
    return Block(values.reshape(-1, *SHAPE), item, names)
