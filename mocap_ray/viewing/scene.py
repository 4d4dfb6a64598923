"""What is on screen: figures, what is said of them, where they stand, and where the camera starts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from mocap_ray.viewing.figures import Figure

Group = tuple[Figure, ...]
"""People who share one space, such as those of one recording; groups are set side by side."""

FOV = math.radians(38.0)
"""Vertical angle of view; narrower than a viewer's usual 75 degrees, which bend a person."""
FLOOR_ERROR = 0.2
"""A group whose lowest joint is further than this from y = 0, metres, is moved onto the floor."""
ROW = 6
"""Groups in a row."""
STRAY = 1.0
"""Metres that people may leave their first places without leaving the picture of the camera."""


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One entry of a playlist, ready to show.

    Attributes:
        title: its name.
        groups: at least one group of at least one figure.
        facts: pairs of name and text, for the panel.
        captions: descriptions of the motion.
        decoded: computes the same motion decoded from its 263 features, to compare; None if that makes no sense.
    """

    title: str
    groups: tuple[Group, ...]
    facts: tuple[tuple[str, str], ...] = ()
    captions: tuple[str, ...] = ()
    decoded: Callable[[], Figure] | None = None

    @property
    def figures(self) -> tuple[Figure, ...]:
        """All figures, group by group."""
        return tuple(figure for group in self.groups for figure in group)

    @property
    def duration(self) -> float:
        """Seconds of the longest figure."""
        return max(figure.duration for figure in self.figures)

    @property
    def fps(self) -> float:
        """The highest rate of a figure: the steps of the time slider."""
        return max(figure.fps for figure in self.figures)

    def beside(self, groups: Sequence[Group]) -> Scene:
        """The scene with more groups beside its own."""
        return replace(self, groups=(*self.groups, *groups))


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Where a group stands: turned by `yaw` about +Y, then shifted.

    Attributes:
        yaw: rad.
        shift: [3] metres.
        raised: metres by which the group was moved up to stand on the floor; 0 if it stood there.
    """

    yaw: float
    shift: Float[np.ndarray, "3"]
    raised: float = 0.0

    @property
    def quat_wxyz(self) -> tuple[float, float, float, float]:
        """The turn as a quaternion."""
        return (math.cos(self.yaw / 2), 0.0, math.sin(self.yaw / 2), 0.0)

    def apply(self, points: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, "*B 3"]:
        """Points of the group in the space of the scene."""
        return np.asarray(_turned(points, self.yaw) + self.shift)


def placements(groups: Sequence[Group]) -> tuple[Placement, ...]:
    """Set groups side by side: each starts facing +Z, to the viewer, on the floor; six in a row.

    Everybody in a group moves together, so distances between people are kept.
    """
    alone = [_alone(group) for group in groups]
    widths = [_width(group, placed) for group, placed in zip(groups, alone, strict=True)]
    found = []
    for first in range(0, len(groups), ROW):
        row = widths[first : first + ROW]
        edge = -sum(row) / 2
        for k, width in enumerate(row, start=first):
            x, z = edge + width / 2, -1.6 * (first // ROW)
            found.append(replace(alone[k], shift=alone[k].shift + np.array([x, 0.0, z])))
            edge += width
    return tuple(found)


def _alone(group: Group) -> Placement:
    """A group by itself: above the origin, facing +Z in its first frame, on the floor."""
    starts = np.stack([figure.joints[0, 0] for figure in group]).astype(np.float64)
    yaw = -facing(group[0].joints[0])
    centre = _turned(np.nan_to_num(starts).mean(axis=0), yaw)
    lows = [float(np.nanmin(f.joints[..., 1])) for f in group if np.isfinite(f.joints[..., 1]).any()]
    low = min(lows, default=0.0)
    raised = -low if abs(low) > FLOOR_ERROR else 0.0
    return Placement(yaw, np.array([-centre[0], raised, -centre[2]]), raised)


def _width(group: Group, placed: Placement) -> float:
    """Metres that a group needs beside others in its first frame."""
    x = np.concatenate(
        [placed.apply(np.nan_to_num(f.joints[0, :22]).astype(np.float64))[:, 0] for f in group]
    )
    return max(1.3, 2 * float(np.abs(x).max()) + 0.4)


def facing(joints: Float[np.ndarray, "J 3"]) -> float:
    """The angle about +Y from +Z to where the body faces, rad; 0 where that is undefined."""
    across = (joints[1] - joints[2]) + (joints[16] - joints[17])
    if not np.isfinite(across).all() or math.hypot(across[0], across[2]) < 1e-6:
        return 0.0
    return math.atan2(-float(across[2]), float(across[0]))


def _turned(points: Float[np.ndarray, "*B 3"], yaw: float) -> Float[np.ndarray, "*B 3"]:
    c, s = math.cos(yaw), math.sin(yaw)
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    return np.stack([c * x + s * z, y, c * z - s * x], axis=-1)


def followed(
    group: Group, placed: Placement, *, rate: float, window: float = 1.0
) -> Float[np.ndarray, "N 3"]:
    """The way of a group over the floor since its first frame, smoothed, for a view that goes with it.

    Args:
        group: its mean pelvis is followed.
        placed: where it stands.
        rate: samples per second.
        window: seconds over which the way is averaged.
    """
    count = max(1, math.ceil(max(figure.duration for figure in group) * rate) + 1)
    way = np.zeros((count, 3))
    for figure in group:
        frames = [figure.frame_at(k / rate) for k in range(count)]
        way += placed.apply(np.nan_to_num(figure.joints[frames, 0]).astype(np.float64)) / len(group)
    way[:, 1] = 0.0
    half = max(1, int(window * rate / 2))
    if count < 3:
        return np.zeros((count, 3))
    padded = np.concatenate([np.repeat(way[:1], half, 0), way, np.repeat(way[-1:], half, 0)])
    sums = np.cumsum(np.concatenate([np.zeros((1, 3)), padded]), axis=0)
    smooth = (sums[2 * half + 1 :] - sums[: -2 * half - 1]) / (2 * half + 1)
    return np.asarray(smooth - smooth[0])


@dataclass(frozen=True, slots=True)
class Camera:
    """Where the camera starts, and the point that it looks at; metres."""

    position: tuple[float, float, float]
    look_at: tuple[float, float, float]


def camera(
    groups: Sequence[Group],
    placed: Sequence[Placement],
    way: Float[np.ndarray, "N 3"] | None = None,
    *,
    rate: float = 30.0,
    aspect: float = 1.25,
) -> Camera:
    """A view from the front, a little from the side and above, that holds everybody.

    Args:
        groups, placed: the groups and their places.
        way: the followed way; everybody stays in the picture along it, unless they go further than `STRAY` from
            where all of them started.
        rate: samples per second of the way.
        aspect: width of the picture by its height.
    """
    path = np.zeros((1, 3)) if way is None else way
    starts = _points(groups, placed, 0.0)
    low, high = starts.min(axis=0), starts.max(axis=0)
    seen = [starts]
    for k in np.linspace(0, len(path) - 1, min(len(path), 24)).astype(int):
        seen.append(np.clip(_points(groups, placed, k / rate) - path[k], low - STRAY, high + STRAY))
    points = np.concatenate(seen)
    low, high = points.min(axis=0), points.max(axis=0)
    high[1] = max(high[1] + 0.2, 1.2)
    low[1] = min(low[1], 0.0)
    middle = (low + high) / 2
    tall, wide, deep = high[1] - low[1], high[0] - low[0] + 0.4, high[2] - low[2]
    distance = 1.15 * max(tall, wide / aspect) / (2 * math.tan(FOV / 2)) + 0.6 * deep
    direction = np.array([0.38, 0.16 + 0.05 * min(deep, 4.0), 0.92])
    position = middle + max(distance, 2.0) * direction / np.linalg.norm(direction)
    x, y, z = (float(v) for v in position)
    a, b, c = (float(v) for v in middle)
    return Camera((x, y, z), (a, b, c))


def _points(groups: Sequence[Group], placed: Sequence[Placement], seconds: float) -> Float[np.ndarray, "P 3"]:
    """All joints at a time, in the space of the scene."""
    found = [
        p.apply(np.nan_to_num(f.joints[f.frame_at(seconds)]).astype(np.float64))
        for g, p in zip(groups, placed, strict=True)
        for f in g
    ]
    return np.concatenate(found)
