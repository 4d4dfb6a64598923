"""Windows of features of a data set as rows of a training: cut at random in each epoch, domains balanced.

A clip of T frames gives ceil(T / L) windows of L frames; a shorter clip gives one, padded. In an epoch of training
each window starts at a random frame of its part of the clip, and domains have as many windows as their weights say:
the larger ones are subsampled anew. Windows for validation are spread evenly, so that they cover each clip.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mocap_ray.dataset.parquet import contiguous, owned
from mocap_ray.dataset.reader import DataSet, open
from mocap_ray.dataset.views import DataSetError, broken_clips
from mocap_ray.generation.batch import HEADER
from mocap_ray.generation.labels import Labels
from mocap_ray.generation.slots import Draw, Slots, slots_of
from mocap_ray.motion.features import WIDTH
from mocap_ray.training.rows import Block, Gather, HeldRows, NoRows, RowSource, not_finite

COLUMN = "features"
SAMPLE = 256
"""Windows of `HeldWindows.sample`; statistics come from the data set."""


class NoWindows(DataSetError, NoRows):
    """A split without windows."""


@dataclass(frozen=True)
class WindowRows(RowSource):
    """Windows of a data set, read shard by shard.

    Attributes:
        root: root of the data set.
        slots: the windows.
        starts: the first frame of each in its clip.
        draw: how an epoch draws its windows; None: these windows are those of an epoch, or never drawn.
        length: frames of a window.
        opened: the data set, if it is open already; other processes open it again.
    """

    root: str
    slots: Slots
    starts: Int[np.ndarray, "N"]
    length: int
    draw: Draw | None = None
    opened: DataSet | None = field(default=None, compare=False, repr=False)
    dtype = np.dtype(np.float32)

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("root", "slots", "starts", "length", "draw")} | {
            "opened": None
        }

    @classmethod
    def of(
        cls,
        source: DataSet,
        labels: Labels,
        *,
        splits: Sequence[str],
        draw: Draw,
        subjects: Collection[str] | None = None,
    ) -> WindowRows:
        """The windows of some splits, evenly spread; domains without a weight are left out."""
        domains = None if draw.weights is None else [labels.domains[d] for d in draw.weights]
        slots = slots_of(
            source, labels, splits=splits, length=draw.length, domains=domains, subjects=subjects
        )
        return cls(source.place.uri, slots, slots.spread(draw.length), draw.length, draw, source)

    @property
    def shape(self) -> tuple[int, ...]:
        """A header line and the frames."""
        return 1 + self.length, WIDTH

    @cached_property
    def source(self) -> DataSet:
        """The data set, opened once in each process."""
        return open(self.root) if self.opened is None else self.opened

    @cached_property
    def counts(self) -> Mapping[int, int]:
        """Number of windows of each shard."""
        shards, counts = np.unique(self.slots.shard, return_counts=True)
        return dict(zip(shards.tolist(), counts.tolist(), strict=True))

    def drawn(self, *, seed: int, epoch: int) -> WindowRows:
        """The windows of an epoch."""
        if self.draw is None:
            return self
        chosen, starts = self.draw(self.slots, seed=seed, epoch=epoch)
        return replace(self, slots=self.slots.take(chosen), starts=starts, draw=None)

    def blocks(self, shard: int) -> Iterator[Block]:
        """The windows of one clip after the other."""
        for name, features, index in self.clips(shard):
            rows = np.zeros((len(index), *self.shape), np.float32)
            rows[:, 0, : len(HEADER)] = self.headers(index)
            for row, k in zip(rows, index, strict=True):
                window = features[self.starts[k] : self.starts[k] + self.length]
                row[1 : 1 + len(window)] = window
            yield Block(rows, np.zeros(len(rows), np.int32), [name])

    def headers(self, index: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n H"]:
        """The header line of some windows."""
        slots = self.slots.take(index)
        length = np.minimum(slots.frames, self.length)
        columns = (length, self.starts[index], slots.domain, slots.style, slots.clip)
        return np.stack(columns, axis=1).astype(np.float32)

    def clips(self, shard: int) -> Iterator[tuple[str, Float[np.ndarray, "T 263"], Int[np.ndarray, "n"]]]:
        """Name and features of each clip of a shard that has windows, and the numbers of these."""
        own = np.flatnonzero(self.slots.shard == shard)
        with self.source.open_shard(shard) as file:
            first = 0
            for group in range(file.num_row_groups):
                rows = file.rows_of(group)
                inside = own[(self.slots.row[own] >= first) & (self.slots.row[own] < first + rows)]
                if len(inside):
                    table = file.read_row_group(group, ["clip_id", COLUMN])
                    column, names = contiguous(table[COLUMN]), table["clip_id"]
                    for row in np.unique(self.slots.row[inside]).tolist():
                        features = owned(column, row - first)
                        assert features is not None, "schema: features are never null"
                        index = inside[self.slots.row[inside] == row]
                        self._require_frames(shard, len(features), index)
                        yield names[row - first].as_py(), features, index
                first += rows

    def _require_frames(self, shard: int, frames: int, index: Int[np.ndarray, "n"]) -> None:
        if (self.slots.frames[index] != frames).any():
            raise self.too_many(shard)

    def load(self) -> HeldWindows:
        """Read the frames of all clips with windows, each once. Raises DataSetError."""
        parts: list[np.ndarray] = []
        names: list[str] = []
        end = 0
        first, item = np.zeros(len(self.slots), np.int64), np.zeros(len(self.slots), np.int32)
        for shard in self.counts:
            for name, features, index in self.clips(shard):
                if not_finite(features).any():
                    raise self.broken([name])
                first[index], item[index] = end, len(names)
                parts.append(features)
                names.append(name)
                end += len(features)
        if not parts:
            raise self.empty()
        return HeldWindows(self, Frames(np.concatenate(parts)), first, item, names)

    def empty(self) -> NoWindows:
        """The error for splits without windows."""
        return NoWindows(
            f"{self.root}: the split has no clips with features to train on. Choose another split, or other domains."
        )

    def too_many(self, shard: int) -> DataSetError:
        """The error if a clip is not as long as the index says."""
        path = self.source.shards[shard].path
        return DataSetError(
            f"{self.root}/{path}: a clip has another number of frames than the data set says. Run the same extract "
            "command again."
        )

    def broken(self, names: Sequence[str]) -> DataSetError:
        """The error if features are NaN or infinite."""
        return broken_clips(self.root, "features", names)


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """All frames in memory, and a copy for each device that was asked for.

    Attributes:
        data: [F, 263].
        copies: device -> the frames there.
    """

    data: Float[np.ndarray, "F 263"]
    copies: dict[str, Tensor] = field(default_factory=dict)

    def on(self, device: torch.device) -> Float[Tensor, "F 263"]:
        """The frames on a device; copied once."""
        if str(device) not in self.copies:
            self.copies[str(device)] = torch.from_numpy(self.data).to(device)
        return self.copies[str(device)]


@dataclass(frozen=True, slots=True, eq=False)
class HeldWindows(HeldRows):
    """Windows in memory: each frame once.

    Attributes:
        rows: the windows.
        frames: the frames of their clips.
        first: the place of the first frame of the clip of each window in `frames`.
        item: index of the clip of each window, into `item_names`.
        item_names: names of the clips.
    """

    rows: WindowRows
    frames: Frames
    first: Int[np.ndarray, "N"]
    item: Int[np.ndarray, "N"]
    item_names: list[str]

    def __len__(self) -> int:
        return len(self.first)

    @property
    def nbytes(self) -> int:
        """Size of the frames."""
        return int(self.frames.data.nbytes)

    def on(self, device: torch.device) -> Gather:
        """Copy the frames to the device, if they are not there yet, and return a function that cuts windows."""
        frames = self.frames.on(device)
        numbers = np.arange(len(self))
        header = torch.from_numpy(self.rows.headers(numbers)).to(device)
        starts = torch.from_numpy(self.first + self.rows.starts).to(device)
        steps = torch.arange(self.rows.length, device=device)

        def gather(index: Int[Tensor, "n"]) -> Float[Tensor, "n R 263"]:
            own = header[index]
            real = steps < own[:, :1]
            at = torch.where(real, starts[index][:, None] + steps, 0)
            out = frames.new_zeros(len(index), 1 + len(steps), WIDTH)
            out[:, 0, : own.shape[1]] = own
            torch.mul(frames[at], real[..., None], out=out[:, 1:])
            return out

        return gather

    def names(self, index: Int[np.ndarray, "n"]) -> list[str]:
        """Names of the clips of some windows."""
        return [self.item_names[k] for k in np.unique(self.item[index])]

    def sample(self) -> Float[np.ndarray, "m R 263"]:
        """Some windows, evenly spaced."""
        index = np.linspace(0, len(self) - 1, min(len(self), SAMPLE)).round().astype(np.int64)
        return np.asarray(self.on(torch.device("cpu"))(torch.from_numpy(index)).numpy())

    def drawn(self, *, seed: int, epoch: int) -> HeldWindows:
        """The windows of an epoch, of the same frames."""
        draw = self.rows.draw
        if draw is None:
            return self
        chosen, _ = draw(self.rows.slots, seed=seed, epoch=epoch)
        rows = self.rows.drawn(seed=seed, epoch=epoch)
        return replace(self, rows=rows, first=self.first[chosen], item=self.item[chosen])
