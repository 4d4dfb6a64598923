"""A torch `Dataset` over a finished data set; imported only by `DataSet.torch`, because it imports torch."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Int
from torch.utils.data import Dataset, Sampler

from mocap_ray.dataset.parquet import ShardFile, contiguous, group_of, owned
from mocap_ray.dataset.schema import ROW_GROUP_CLIPS
from mocap_ray.dataset.views import DataSetError, Statistics
from mocap_ray.training.shuffle import Rows, mixed


class ClipTensors(Dataset[dict[str, Any]]):
    """Windows of fixed length, or whole clips, as float32 tensors.

    An item is a dict: one tensor per frame column, cut to the rows of `features` so that row t of each
    is the same moment; `length`, the number of rows; `start`, the first row within the clip; `clip_id`.

    Files are opened lazily by the process that reads them, so it works in `DataLoader` workers started by
    fork or spawn (use spawn for `s3://`). A process caches the last `cached_groups` row groups (about 100
    clips each). With a fully random order, a large data set would read a row group for each item: pass
    `sampler=windows.sampler(seed=epoch)` to the `DataLoader`, which shuffles within the cached groups.

    Attributes:
        left_out: number of clips shorter than `length`.
    """

    def __init__(
        self,
        open_shard: Callable[[int], ShardFile],
        *,
        frames: Sequence[Int[np.ndarray, "_"]],
        shards: Sequence[int],
        length: int | None,
        stride: int | None,
        statistics: Statistics | None,
        columns: Sequence[str],
        cached_groups: int = 8,
    ) -> None:
        """Called by `DataSet.torch`.

        Args:
            open_shard: opens a shard by its number; picklable.
            frames: for each shard, the number of feature rows of each clip.
            shards: numbers of the shards to use.
            length: rows of a window; None means whole clips.
            stride: rows between the starts of windows; default: `length`.
            statistics: used to normalise features; None means no normalisation.
            columns: frame columns in an item.
            cached_groups: number of row groups that a process caches.

        Raises:
            DataSetError: a length or stride below 1, or a stride without a length.
        """
        for name, value in (("length", length), ("stride", stride)):
            if value is not None and value < 1:
                raise DataSetError(f"{name} is {value}; expected None or at least 1 row.")
        if stride is not None and length is None:
            raise DataSetError("stride is given without length; whole clips have no windows.")
        self.open_shard, self.columns, self.length = open_shard, tuple(columns), length
        self._mean = None if statistics is None else statistics.mean
        self._divisor = None if statistics is None else statistics.divisor
        self._cached_groups = cached_groups
        self._items, self.left_out = windows(frames, shards, length=length, stride=stride or length)
        self._reset()

    def _reset(self) -> None:
        """Start without open files and cached groups in the current process."""
        self._pid = os.getpid()
        self._files: dict[int, ShardFile] = {}
        self._groups: OrderedDict[tuple[int, int], pa.Table] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_pid", "_files", "_groups")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, item: int) -> dict[str, Any]:
        shard, row, start, rows = (int(x) for x in self._items[range(len(self))[item]])
        table, row = self._table(shard, row)
        out: dict[str, Any] = {"clip_id": table["clip_id"][row].as_py(), "start": start, "length": rows}
        for name in self.columns:
            array = owned(contiguous(table[name]), row)
            if array is None:
                raise DataSetError(
                    f"{out['clip_id']}: no {name} (mirrored twins and sources of joints alone have none). "
                    f"Leave {name} out of columns, or use torch.utils.data.Subset."
                )
            array = array[start : start + rows]
            if name == "features" and self._mean is not None and self._divisor is not None:
                array = (array - self._mean) / self._divisor
            if name in ("joints", "poses"):
                array = array.reshape(rows, -1, 3)
            out[name] = torch.from_numpy(np.ascontiguousarray(array))
        return out

    def _table(self, shard: int, row: int) -> tuple[pa.Table, int]:
        """The row group with `row` of a shard, from the cache or the file, and the row within it."""
        if self._pid != os.getpid():  # forked: file handles shared with the parent must not be used
            self._reset()
        if shard not in self._files:
            if len(self._files) >= 64:
                self._files.pop(next(iter(self._files))).close()
            self._files[shard] = self.open_shard(shard)
        file = self._files[shard]
        group, row = group_of(file, row)
        table = self._groups.pop((shard, group), None)
        if table is None:
            # One thread, because the DataLoader's workers already use all cores.
            table = file.read_row_group(group, ["clip_id", *self.columns], use_threads=False)
        self._groups[(shard, group)] = table
        if len(self._groups) > self._cached_groups:
            self._groups.popitem(last=False)
        return table, row

    def denormalised(self, features: torch.Tensor) -> torch.Tensor:
        """The inverse of the normalisation, for [..., 263] features on any device."""
        if self._mean is None or self._divisor is None:
            return features
        mean, divisor = (torch.from_numpy(a).to(features) for a in (self._mean, self._divisor))
        return features * divisor + mean

    def sampler(self, *, seed: int, groups: int = 4) -> NearbyShuffle:
        """A sampler with a random order that reads each row group about once; the seed decides the order."""
        return NearbyShuffle(self._items, seed=seed, groups=min(groups, self._cached_groups))


def windows(
    frames: Sequence[Int[np.ndarray, "_"]],
    shards: Sequence[int],
    *,
    length: int | None,
    stride: int | None,
) -> tuple[Int[np.ndarray, "N 4"], int]:
    """Windows as [N, 4] int64 (shard, row in the shard, first feature row, feature rows), and the count of short clips.

    A clip with fewer rows than `length` gives no window and is counted as short.
    """
    parts, left_out = [np.zeros((0, 4), np.int64)], 0
    for shard in shards:
        rows = np.asarray(frames[shard], np.int64)
        if length is None or stride is None:
            row = np.arange(len(rows))
            first, size = np.zeros_like(row), rows
        else:
            many = np.maximum((rows - length) // stride + 1, 0)
            left_out += int(np.sum(many == 0))
            row = np.repeat(np.arange(len(rows)), many)
            first = (np.arange(len(row)) - np.repeat(np.cumsum(many) - many, many)) * stride
            size = np.full_like(row, length)
        parts.append(np.stack([np.full_like(row, shard), row, first, size], axis=1))
    return np.concatenate(parts), left_out


class NearbyShuffle(Sampler[int]):
    """Shuffles items within runs of a few row groups, which are drawn at random.

    Assumes row groups of 100 clips (`schema.ROW_GROUP_CLIPS`); if a file has others, only the speed differs.
    """

    def __init__(self, items: np.ndarray, *, seed: int, groups: int) -> None:
        self._blocks = np.unique(items[:, :2] // (1, ROW_GROUP_CLIPS), axis=0, return_inverse=True)[1].ravel()
        self._seed, self._groups = seed, groups

    def __len__(self) -> int:
        return len(self._blocks)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng(self._seed)
        # keep=0 empties the buffer after each run; otherwise some items would come long after their group was read.
        for items in mixed(self._runs(rng), capacity=1, keep=0.0, rng=rng):
            yield from items.data.tolist()

    def _runs(self, rng: np.random.Generator) -> Iterator[Rows]:
        """The items of a few row groups at a time, the groups in random order."""
        order = np.argsort(self._blocks, kind="stable")
        pieces = np.split(order, np.flatnonzero(np.diff(self._blocks[order])) + 1) if len(order) else []
        drawn = rng.permutation(len(pieces))
        for at in range(0, len(drawn), self._groups):
            run = np.concatenate([pieces[k] for k in drawn[at : at + self._groups]])
            yield Rows(run, self._blocks[run], run)


def pad(items: list[dict[str, Any]]) -> dict[str, Any]:
    """`collate_fn` for whole clips: pads frame columns with zeros to [N, longest, ...].

    `mask` [N, longest] is True for real rows and False for padding; `length` and `start` become int64 tensors, and
    `clip_id` a list.
    """
    assert items, "a DataLoader never collates an empty batch"
    out: dict[str, Any] = {"clip_id": [item["clip_id"] for item in items]}
    for name in ("length", "start"):
        out[name] = torch.tensor([item[name] for item in items])
    for name, value in items[0].items():
        if isinstance(value, torch.Tensor):
            out[name] = torch.nn.utils.rnn.pad_sequence([item[name] for item in items], batch_first=True)
    out["mask"] = torch.arange(int(out["length"].max()))[None] < out["length"][:, None]
    return out
