"""The poses of a split as one array, for training on single frames."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int

from mocap_ray.dataset.reader import DataSet, contiguous, open
from mocap_ray.dataset.views import DataSetError

COLUMN = "poses"
WIDTH = 165
ROW_BYTES = WIDTH * 4 + 4
"""Of a row in memory: the pose and the number of its clip."""


@dataclass(frozen=True, slots=True, eq=False)
class Poses:
    """Frames of a split, clip after clip in the order of the manifest.

    Attributes:
        rotvecs: axis-angle, rad, Y up, SMPL-X joint order.
        clip_index: which clip each frame is of, an index into `clip_ids`.
        clip_ids: clips with poses; mirrored twins and sources of joints alone have none and are left out.
        manifest_hash: sha256 of the data set's manifest, which fixes every byte of it.
    """

    rotvecs: Float[np.ndarray, "N 55 3"]
    clip_index: Int[np.ndarray, "N"]
    clip_ids: list[str]
    manifest_hash: str

    def __len__(self) -> int:
        return len(self.rotvecs)


def read_poses(root: str | os.PathLike[str], *, split: str, dataset: str | None = None) -> Poses:
    """Read all poses of a split into memory: about 660 bytes a frame, the 40 hours of AMASS at 20 fps 1.9 GB.

    Args:
        root: a data set that `mocap-ray extract` wrote, a path or an address.
        split: its name.
        dataset: only this sub-dataset.

    Raises:
        DataSetError: no data set, no such split, no column `poses`, only clips without poses, or numbers that
            are not finite; each says what to do.
    """
    source = open(root)
    numbers = source.selected(split=split, dataset=dataset)
    source.checked_columns([COLUMN])
    out = np.empty((pose_rows(source, split=split, dataset=dataset), WIDTH), np.float32)
    index = np.empty(len(out), np.int32)
    clip_ids: list[str] = []
    end = 0
    for number in numbers:
        with source.open_shard(number) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=["clip_id", COLUMN])
                frames, lengths, names = _frames(table)
                if end + len(frames) > len(out):
                    raise DataSetError(
                        f"{source.place.uri}/{source.shards[number].path}: more poses than the manifest's frames. "
                        "Run the same extract command again."
                    )
                out[end : end + len(frames)] = frames
                index[end : end + len(frames)] = np.repeat(np.arange(len(names)) + len(clip_ids), lengths)
                clip_ids += names
                end += len(frames)
    # Views would keep the unused end; it was never touched, so it takes address space alone.
    rotvecs, index = out[:end].reshape(end, 55, 3), index[:end]
    _check(source, rotvecs, index, clip_ids, split)
    return Poses(rotvecs, index, clip_ids, manifest_hash(source))


def shard_poses(
    source: DataSet, number: int
) -> Iterator[tuple[Float[np.ndarray, "n 165"], Int[np.ndarray, "c"], list[str]]]:
    """Poses of one shard, row group after row group: frames, frames of each clip, ids of these clips."""
    with source.open_shard(number) as file:
        for group in range(file.num_row_groups):
            yield _frames(file.read_row_group(group, columns=["clip_id", COLUMN]))


def pose_rows(source: DataSet, *, split: str, dataset: str | None = None) -> int:
    """At most so many poses of a split, from the manifest alone: a clip has one more than rows of features.

    Raises:
        DataSetError: no such split or sub-dataset.
    """
    entries = source.manifest["shards"]
    chosen = source.selected(split=split, dataset=dataset)
    return sum(int(entries[k]["frames"]) + int(entries[k]["rows"]) for k in chosen)


def manifest_hash(source: DataSet) -> str:
    """sha256 of manifest.json: two data sets with the same one are the same to the byte."""
    return hashlib.sha256(source.place.read("manifest.json")).hexdigest()


def _frames(
    table: pa.Table,
) -> tuple[Float[np.ndarray, "n 165"], Int[np.ndarray, "c"], list[str]]:
    """Poses of a row group, frames of each clip, and their ids; clips without poses are left out."""
    column = contiguous(table[COLUMN]) if len(table) else pa.array([], table.schema.field(COLUMN).type)
    lengths = pc.list_value_length(column)
    there = np.asarray(lengths.is_valid())
    names = [name for name, has in zip(table["clip_id"].to_pylist(), there, strict=True) if has]
    # `flatten` skips what null rows may hide.
    values = column.flatten().flatten().to_numpy(zero_copy_only=False)
    return values.reshape(-1, WIDTH), np.asarray(lengths.drop_null()).astype(np.int64), names


def _check(
    source: DataSet,
    rotvecs: Float[np.ndarray, "N 55 3"],
    index: Int[np.ndarray, "N"],
    clip_ids: list[str],
    split: str,
) -> None:
    where = source.place.uri
    if not len(rotvecs):
        raise DataSetError(
            f"{where}: no clip of split '{split}' has poses (mirrored twins and sources of joints alone have "
            "none). Choose another split, or extract recordings with pose parameters."
        )
    size = 1 << 16
    for start in range(0, len(rotvecs), size):
        broken = ~np.isfinite(rotvecs[start : start + size]).all(axis=(1, 2))
        if broken.any():
            names = [clip_ids[k] for k in np.unique(index[start : start + size][broken])]
            raise DataSetError(
                f"{where}: poses that are not finite in {', '.join(names[:5])}. Extract anew without these "
                "recordings (source.exclude)."
            )
