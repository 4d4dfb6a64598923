"""Takes that are in a data set twice under two names, such as CMU's 14_31 and 14_36."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mocap_ray.dataset import schema
from mocap_ray.dataset.checks import POSITIONS, Problem, ShardFindings
from mocap_ray.dataset.parquet import contiguous, group_of
from mocap_ray.dataset.reader import DataSet
from mocap_ray.dataset.views import DataSetError
from mocap_ray.wording import listed

SAME_M = 0.005
"""Metres within which all joints around the root must be, in every frame."""
NEIGHBOURS = 20
"""Clips of one length with almost the same mean position to compare a clip with."""
MOST = 500
"""Pairs that are read again, so that a data set of very many twins does not take hours."""


class Twins:
    """The search: clips of one length whose positions in a few rows agree, then in all rows."""

    def __init__(self, ds: DataSet, found: Sequence[ShardFindings]) -> None:
        self.ds = ds
        whole = [f for f in found if len(f.samples) == len(f.clip_ids)]
        self.ids = [clip_id for f in whole for clip_id in f.clip_ids]
        self.recordings = [name for f in whole for name in f.recordings]
        self.places = [(f.number, row) for f in whole for row in range(len(f.clip_ids))]
        self.frames = np.concatenate([f.num_frames for f in whole]) if whole else np.zeros(0, np.int64)
        self.samples = (
            np.concatenate([f.samples for f in whole]).reshape(len(self.ids), -1)
            if whole
            else np.zeros((0, 0), np.float32)
        )

    def problems(self) -> Iterator[Problem]:
        """A warning for each pair of takes."""
        seen: set[tuple[str, str]] = set()
        read = 0
        for a, b in self._candidates():
            pair = (self.recordings[a], self.recordings[b])
            if pair in seen or read >= MOST:
                continue
            read += 1
            if not self._same(a, b):
                continue
            seen.add(pair)
            splits = sorted({self.ds.shards[self.places[k][0]].split for k in (a, b)})
            apart = f", in the splits {listed(splits)}" if len(splits) > 1 else ""
            text = f"the same motion as {pair[1]}{apart}"
            yield Problem("warning", "duplicates", pair[0], text, (self.ids[a], self.ids[b]))

    def _candidates(self) -> Iterator[tuple[int, int]]:
        """Pairs of clips that may be the same, of two recordings, the first by name first; without mirrored twins."""
        kept = [k for k, name in enumerate(self.ids) if not name.endswith("~M")]
        mean = self.samples.mean(axis=1, dtype=np.float64) if self.samples.size else np.zeros(len(self.ids))
        kept = [k for k in kept if np.isfinite(mean[k])]
        order = sorted(kept, key=lambda k: (self.frames[k], mean[k], self.recordings[k]))
        for at, a in enumerate(order):
            for b in order[at + 1 : at + 1 + NEIGHBOURS]:
                if self.frames[b] != self.frames[a] or mean[b] - mean[a] > SAME_M:
                    break
                if self.recordings[a] == self.recordings[b]:
                    continue
                if np.abs(self.samples[a] - self.samples[b]).max(initial=0.0) <= SAME_M:
                    yield (a, b) if self.recordings[a] < self.recordings[b] else (b, a)

    def _same(self, a: int, b: int) -> bool:
        """Whether two clips have the same positions around the root in every row."""
        try:
            one, other = self._positions(a), self._positions(b)
        except DataSetError:  # damaged, which is a problem of its own
            return False
        return one.shape == other.shape and bool(np.abs(one - other).max(initial=0.0) <= SAME_M)

    def _positions(self, k: int) -> np.ndarray:
        """[rows, 64] positions around the root. Raises DataSetError."""
        number, row = self.places[k]
        with self.ds.open_shard(number) as file:
            group, row = group_of(file, row)
            features = schema.frames(contiguous(file.read_row_group(group, ["features"])["features"]), row)
        assert features is not None, "schema: features are never null"
        return features[:, POSITIONS]
