"""Who is who from frame to frame: boxes of people joined to tracks.

A track moves on at its speed, and each frame's boxes are assigned to the tracks with which they overlap most, all
together (the Hungarian method of scipy). Boxes of low confidence only continue tracks, as in ByteTrack (Zhang et al.,
2022). Why not a library: norfair excludes numpy 2, and trackers needs OpenCV's build for desktops.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

_SURE = 0.5
"""A box starts a track only if its confidence is at least this part of the video's median."""
_STEADY = 0.6
"""Weight of the speed so far when a new one is measured."""


@dataclass(slots=True)
class _Track:
    """A person so far: its number, its last box, the speed of its centre in px/s, and when it was seen."""

    number: int
    corners: np.ndarray
    speed: np.ndarray
    seconds: float
    boxes: int = 1

    def expected(self, seconds: float) -> np.ndarray:
        """Where its box will be."""
        return np.asarray(self.corners + np.tile(self.speed * (seconds - self.seconds), 2))

    def seen(self, corners: np.ndarray, seconds: float) -> None:
        """Continue with a box."""
        moved = (corners - self.corners).reshape(2, 2).mean(axis=0) / max(seconds - self.seconds, 1e-6)
        keep = 0.0 if self.boxes == 1 else _STEADY
        self.speed = keep * self.speed + (1 - keep) * moved
        self.corners, self.seconds, self.boxes = corners, seconds, self.boxes + 1


def track(
    frames: Int[np.ndarray, "N"],
    seconds: Float[np.ndarray, "N"],
    corners: Float[np.ndarray, "N 4"],
    scores: Float[np.ndarray, "N"],
    *,
    lost_s: float,
    overlap: float,
) -> Int[np.ndarray, "N"]:
    """The number of the person of each box, from 1, in the order of their first frames.

    Args:
        frames: number of the frame of each box; never decreases.
        seconds: time of the frame.
        corners: left, top, right and bottom, px.
        scores: confidences.
        lost_s: a person who is not seen for longer gets a new number.
        overlap: least intersection over union of a box with the expected one.
    """
    numbers: np.ndarray = np.zeros(len(frames), np.int64)
    corners = np.asarray(corners, np.float64)
    median = np.median(scores) if len(scores) else 0.0
    sure = scores >= _SURE * median if median > 0 else np.ones(len(scores), bool)
    alive: list[_Track] = []
    made = 0
    for part in np.split(np.arange(len(frames)), np.flatnonzero(np.diff(frames)) + 1):
        if not len(part):
            continue
        now = float(seconds[part[0]])
        alive = [one for one in alive if now - one.seconds <= lost_s + 1e-9]
        free = list(alive)
        for strong in (True, False):
            rows = part[sure[part] == strong]
            for row, one in _pairs(corners[rows], free, now, overlap):
                one.seen(corners[rows[row]], now)
                numbers[rows[row]] = one.number
                free.remove(one)
        for row in part[sure[part] & (numbers[part] == 0)]:
            made += 1
            alive.append(_Track(made, corners[row], np.zeros(2), now))
            numbers[row] = made
    return numbers


def _pairs(
    corners: Float[np.ndarray, "N 4"], tracks: list[_Track], now: float, overlap: float
) -> list[tuple[int, _Track]]:
    """Boxes with their tracks: the assignment of the largest total overlap, without pairs below the least one."""
    if not len(corners) or not tracks:
        return []
    shared = intersection_over_union(corners, np.stack([one.expected(now) for one in tracks]))
    rows, columns = linear_sum_assignment(np.where(shared >= overlap, shared, 0.0), maximize=True)
    return [(int(r), tracks[c]) for r, c in zip(rows, columns, strict=True) if shared[r, c] >= overlap]


def intersection_over_union(
    a: Float[np.ndarray, "N 4"], b: Float[np.ndarray, "M 4"]
) -> Float[np.ndarray, "N M"]:
    """Area of the intersection of two boxes divided by that of their union; 0 for boxes without area."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(np.clip(x[:, 2:] - x[:, :2], 0, None), axis=1) for x in (a, b)]
    return np.asarray(both / np.maximum(areas[0][:, None] + areas[1][None] - both, 1e-9))
