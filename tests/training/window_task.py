"""A complete custom task of training: windows of 263-D features and a tiny autoencoder on them.

`model.kind: tests.training.window_task:WINDOWS` names it in a training and in a search. Nothing in the package knows
it. Its windows overlap, so memory holds the frames once and indexes them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from mocap_ray.dataset.poses import manifest_hash
from mocap_ray.dataset.reader import DataSet, open
from mocap_ray.dataset.tensors import windows
from mocap_ray.options import MAY_CHANGE
from mocap_ray.training.options import DataOptions, ModelOptions
from mocap_ray.training.rows import Block, Gather, HeldRows, RowSource
from mocap_ray.training.task import Facts, Role, TaskKind, TaskWords, TrainingTask

SAMPLE = 1000
"""Number of windows for the statistics of the model."""


class WindowModel(ModelOptions):
    """The section `model`."""

    hidden: Annotated[int, Field(ge=1)] = 4
    noise: Annotated[float, Field(ge=0), MAY_CHANGE] = 0.0


class WindowData(DataOptions):
    """The section `data`."""

    length: Annotated[int, Field(ge=1)] = 8
    stride: Annotated[int, Field(ge=1)] = 4


@dataclass(frozen=True, slots=True, eq=False)
class HeldWindows(HeldRows):
    """Each frame once, and the starts of the windows."""

    frames: Float[np.ndarray, "F 263"]
    starts: Int[np.ndarray, "N"]
    item: Int[np.ndarray, "N"]
    item_names: list[str]
    length: int

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def nbytes(self) -> int:
        return int(self.frames.nbytes)

    def on(self, device: torch.device) -> Gather:
        frames, starts = (torch.from_numpy(a).to(device) for a in (self.frames, self.starts))
        steps = torch.arange(self.length, device=device)
        return lambda index: frames[starts[index][:, None] + steps]

    def names(self, index: Int[np.ndarray, "n"]) -> list[str]:
        return [self.item_names[k] for k in np.unique(self.item[index])]

    def sample(self) -> Float[np.ndarray, "m W 263"]:
        index = np.linspace(0, len(self) - 1, min(len(self), SAMPLE)).round().astype(np.int64)
        return self.on(torch.device("cpu"))(torch.from_numpy(index)).numpy()


@dataclass(frozen=True)
class WindowRows(RowSource):
    """Windows [W, 263] of the features of some splits, and of some subjects."""

    root: str
    splits: tuple[str, ...]
    length: int
    stride: int
    subjects: frozenset[str] | None = None
    dtype = np.dtype(np.float32)

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("root", "splits", "length", "stride", "subjects")}

    @property
    def shape(self) -> tuple[int, ...]:
        return self.length, 263

    @cached_property
    def source(self) -> DataSet:
        return open(self.root)

    @cached_property
    def places(self) -> Int[np.ndarray, "N 4"]:
        """For each window: shard, index of its clip in the shard, first row, number of rows."""
        ends = np.cumsum([s.rows for s in self.source.shards])[:-1]
        frames = np.split(np.asarray(self.source.index["num_frames"], np.int64), ends)
        shards = sorted({k for split in self.splits for k in self.source.selected(split=split)})
        found = windows(frames, shards, length=self.length, stride=self.stride)[0]
        return found if self.subjects is None else found[np.isin(self.owners(found), [*self.subjects])]

    def owners(self, places: Int[np.ndarray, "N 4"]) -> np.ndarray:
        """The subject of each window."""
        firsts = np.cumsum([0, *(s.rows for s in self.source.shards)])
        return np.asarray(self.source.index["subject"].to_pylist())[firsts[places[:, 0]] + places[:, 1]]

    @cached_property
    def counts(self) -> Mapping[int, int]:
        shards, counts = np.unique(self.places[:, 0], return_counts=True)
        return dict(zip(shards.tolist(), counts.tolist(), strict=True))

    def blocks(self, shard: int) -> Iterator[Block]:
        for name, frames, starts in self.clips(shard):
            rows = np.stack([frames[k : k + self.length] for k in starts])
            yield Block(rows, np.zeros(len(rows), np.int32), [name])

    def clips(self, shard: int) -> Iterator[tuple[str, Float[np.ndarray, "T 263"], Int[np.ndarray, "n"]]]:
        """Id and features of each clip of a shard, and the first rows of its windows."""
        windows = self.places[self.places[:, 0] == shard]
        with self.source.open_shard(shard) as file:
            table = file.read(columns=[*self.source.plain_columns, "features"])
        for row, clip in enumerate(self.source.views(table, shard)):
            starts = windows[windows[:, 1] == row, 2]
            if len(starts):
                yield clip.clip_id, clip.features, starts

    def load(self) -> HeldWindows:
        parts, starts, items, names, end = [], [], [], [], 0
        for shard in self.counts:
            for name, frames, first in self.clips(shard):
                parts.append(frames)
                starts.append(first + end)
                items.append(np.full(len(first), len(names)))
                names.append(name)
                end += len(frames)
        if not parts:
            raise self.empty()
        every, first, item = (np.concatenate(a) for a in (parts, starts, items))
        return HeldWindows(every, first, item, names, self.length)


class Autoencoder(nn.Module):
    """[B, W, 263] -> `hidden` numbers -> [B, W, 263], on features of mean 0 and deviation 1."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: WindowModel, *, length: int) -> None:
        super().__init__()
        self.config, width = config, length * 263
        self.register_buffer("mean", torch.zeros(263))
        self.register_buffer("std", torch.ones(263))
        self.down, self.up = nn.Linear(width, config.hidden), nn.Linear(config.hidden, width)

    def loss(
        self, batch: Float[Tensor, "B W 263"], *, epoch: float = 0.0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean squared error of the reconstruction."""
        x = ((batch - self.mean) / self.std).flatten(1)
        noisy = x + self.config.noise * torch.randn_like(x) if self.training else x
        error = (self.up(torch.tanh(self.down(noisy))) - x).square().mean()
        return error, {"mse": error.detach()}


class WindowTask(TrainingTask[Autoencoder]):
    """The task: trains the autoencoder on windows."""

    words = TaskWords(
        row="window", item="clip", result="autoencoder", description="autoencoder.json", group="dancer"
    )

    def __init__(self, model: WindowModel, data: WindowData) -> None:
        self.config, self.data = model, data

    def check(self) -> Facts:
        train, val = self._rows(self.data.train), self.rows("val")
        rows, val_rows = (sum(r.counts.values()) if r else 0 for r in (train, val))
        if not rows:
            raise train.empty()
        per_window = self.data.stride * 263 * 4  # frames are stored once
        return Facts(rows, val_rows, per_window, manifest_hash(train.source))

    def rows(self, role: Role) -> WindowRows | None:
        if role == "train":
            return self._rows(self.data.train)
        return self._rows(self.data.val) if self.data.val in open(self.data.root).splits else None

    def _rows(self, *splits: str, subjects: frozenset[str] | None = None) -> WindowRows:
        return WindowRows(self.data.root, splits, self.data.length, self.data.stride, subjects)

    def groups(self) -> Mapping[str, int]:
        rows = self._all()
        names, counts = np.unique(rows.owners(rows.places), return_counts=True)
        return dict(zip(names.tolist(), counts.tolist(), strict=True))

    def rows_of(self, groups: Collection[str]) -> WindowRows:
        return self._all(frozenset(groups))

    def _all(self, subjects: frozenset[str] | None = None) -> WindowRows:
        splits = self.data.fold_splits or (self.data.train, self.data.val)
        return self._rows(*splits, subjects=subjects)

    def model(self, sample: Float[np.ndarray, "N W 263"]) -> Autoencoder:
        made = self.restored({})
        frames = torch.from_numpy(sample.reshape(-1, 263))
        made.mean.copy_(frames.mean(0))
        made.std.copy_(frames.std(0).clamp_min(1e-3))
        return made

    def restored(self, description: Mapping[str, Any]) -> Autoencoder:
        return Autoencoder(self.config, length=self.data.length)

    def describe(self, model: Autoencoder) -> dict[str, Any]:
        return {"length": self.data.length}

    def summary(self, model: Autoencoder) -> dict[str, Any]:
        return {"hidden": model.config.hidden}


WINDOWS = TaskKind(WindowModel, WindowData, WindowTask)
