"""The windows that can be cut from the clips of a data set, and which of them an epoch of training uses."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Int

from mocap_ray.dataset.reader import DataSet
from mocap_ray.generation.labels import Labels


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
        return np.asarray(np.minimum((self.part + at) / self.parts * (room + 1), room), np.int64)


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
