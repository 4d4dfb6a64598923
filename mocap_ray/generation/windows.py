"""Windows of features of a data set as rows of a training: cut at random in each epoch, domains balanced.

A clip of T frames gives ceil(T / L) windows of L frames; a shorter clip gives one, padded. In an epoch of training
each window starts at a random frame of its part of the clip, and domains have as many windows as their weights say:
the larger ones are subsampled anew. Windows for validation are spread evenly, so that they cover each clip.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mocap_ray.dataset.parquet import contiguous, owned
from mocap_ray.dataset.reader import DataSet, open
from mocap_ray.dataset.views import DataSetError
from mocap_ray.generation.batch import HEADER
from mocap_ray.generation.labels import Labels
from mocap_ray.motion.features import WIDTH
from mocap_ray.training.rows import Block, Gather, HeldRows, NoRows, RowSource, not_finite

COLUMN = "features"
SAMPLE = 256
"""Windows of `HeldWindows.sample`; statistics come from the data set."""


class NoWindows(DataSetError, NoRows):
    """A split without windows."""


@dataclass(frozen=True, slots=True, eq=False)
class Slots:
    """Windows that can be cut; arrays with an entry for each.

    Attributes:
        shard: number of the shard.
        row: number of the clip in its shard.
        frames: rows of features of the clip.
        part, parts: the window is the `part`-th of `parts` of its clip.
        domain, style: numbers of `labels.Labels`.
        clip: number of the clip in the index of the data set.
    """

    shard: Int[np.ndarray, "N"]
    row: Int[np.ndarray, "N"]
    frames: Int[np.ndarray, "N"]
    part: Int[np.ndarray, "N"]
    parts: Int[np.ndarray, "N"]
    domain: Int[np.ndarray, "N"]
    style: Int[np.ndarray, "N"]
    clip: Int[np.ndarray, "N"]

    def __len__(self) -> int:
        return len(self.shard)

    def take(self, index: Int[np.ndarray, "n"] | Bool[np.ndarray, "N"]) -> Slots:
        """Some of the slots."""
        return Slots(*(getattr(self, f.name)[index] for f in fields(self)))

    def spread(self, length: int) -> Int[np.ndarray, "N"]:
        """Starts that spread the windows of a clip evenly from its first frame to its last."""
        room = np.maximum(self.frames - length, 0)
        return np.asarray(np.rint(room * self.part / np.maximum(self.parts - 1, 1)), np.int64)

    def random(self, length: int, at: Float[np.ndarray, "N"]) -> Int[np.ndarray, "N"]:
        """Starts at the fraction `at`, 0 to 1, of the part of the clip that belongs to the window."""
        room = np.maximum(self.frames - length, 0)
        return np.minimum(((self.part + at) / self.parts * (room + 1)).astype(np.int64), room)


def slots_of(
    source: DataSet,
    labels: Labels,
    *,
    splits: Collection[str],
    length: int,
    domains: Collection[str] | None = None,
    subjects: Collection[str] | None = None,
) -> Slots:
    """All windows of some splits, in the order of the index of the data set.

    Args:
        source: the data set.
        labels: tables of domains and styles.
        splits: names of splits.
        length: frames of a window.
        domains: only these domains; None: all.
        subjects: only the clips of these; None: all.
    """
    index = source.index
    rows = np.array([s.rows for s in source.shards], np.int64)
    shard = np.repeat(np.arange(len(rows)), rows)
    row = np.arange(len(shard)) - np.repeat(np.cumsum(rows) - rows, rows)
    frames = np.asarray(index["num_frames"], np.int64)
    wanted = np.isin(index["split"].to_pylist(), [*splits]) & (frames > 0)
    if domains is not None:
        wanted &= np.isin(index["domain"].to_pylist(), [*domains])
    if subjects is not None:
        wanted &= np.isin(index["subject"].to_pylist(), [*subjects])
    parts = np.where(wanted, -(-frames // length), 0)
    clip = np.repeat(np.arange(len(shard)), parts)
    part = np.arange(len(clip)) - np.repeat(np.cumsum(parts) - parts, parts)
    domain = labels.domain_numbers(index["domain"].to_pylist())
    style = labels.style_numbers(index["style"].to_pylist())
    return Slots(
        shard[clip],
        row[clip],
        frames[clip],
        part,
        parts[clip],
        domain[clip],
        style[clip],
        clip.astype(np.int64),
    )


def balanced(domain: Int[np.ndarray, "N"], weights: Mapping[int, float]) -> dict[int, int]:
    """Number of windows of each domain in an epoch: as many as possible in the ratio of the weights.

    >>> balanced(np.array([0] * 10 + [1] * 4), {0: 1.0, 1: 1.0})
    {0: 4, 1: 4}
    """
    counts = {d: int((domain == d).sum()) for d in weights}
    used = {d: weight for d, weight in weights.items() if weight > 0 and counts[d]}
    scale = min((counts[d] / weight for d, weight in used.items()), default=0.0)
    return {d: min(counts[d], max(1, round(scale * weight))) for d, weight in used.items()}


@dataclass(frozen=True, slots=True)
class Draw:
    """How the windows of an epoch are drawn.

    Attributes:
        length: frames of a window.
        weights: weight of each domain by its number; None: all windows, whatever their domain.
    """

    length: int
    weights: Mapping[int, float] | None = None

    def __call__(
        self, slots: Slots, *, seed: int, epoch: int
    ) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
        """The chosen slots, in order, and the start of the window of each."""
        rng = np.random.default_rng(np.random.SeedSequence([seed, epoch, 263]))
        starts = slots.random(self.length, rng.random(len(slots)))
        if self.weights is None:
            return np.arange(len(slots)), starts
        order = rng.permutation(len(slots))
        parts = [
            order[slots.domain[order] == domain][:count]
            for domain, count in balanced(slots.domain, self.weights).items()
        ]
        chosen = np.sort(np.concatenate([np.zeros(0, np.int64), *parts]))
        return chosen, starts[chosen]


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
        parts, names, end = [], [], 0
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
        return DataSetError(
            f"{self.root}: features that are not finite in {', '.join(names[:5])}. Take them out: "
            f"{shlex.join(['mocap-ray', 'dataset', 'exclude', self.root, *names[:5]])} --reason '...'"
        )


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
