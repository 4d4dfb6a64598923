"""Where the joints of a rig are, and how they are turned, from the values of its channels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from mocap_ray.archives.rigs.rotations import applied, times, turn_about
from mocap_ray.archives.rigs.take import X_ROTATION, Skeleton, Take

CHUNK = 1024
"""Frames that are computed together: enough to hide Python, few enough for the cache and for any length of take."""


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """Some frames of a rig.

    Attributes:
        rotations: by joint, [3, 3, T] from the joint's frame to the world.
        positions: by joint, [3, T] in units of the file.
    """

    rotations: dict[int, Float64[np.ndarray, "3 3 T"]]
    positions: dict[int, Float64[np.ndarray, "3 T"]]


def forward(take: Take, joints: Sequence[int]) -> Iterator[tuple[slice, Pose]]:
    """The rotations and positions of some joints in all frames, a part of the frames after the other.

    Args:
        take: the motion.
        joints: those that are needed; the others are computed only where these hang on them.
    """
    needed = with_ancestors(take.skeleton, joints)
    for start in range(0, len(take.values), CHUNK):
        part = slice(start, min(start + CHUNK, len(take.values)))
        yield part, _forward(take.skeleton, needed, take.values[part].T)


def rest(skeleton: Skeleton, joints: Sequence[int]) -> Pose:
    """The rig as its offsets alone describe it: all rotations zero, one frame."""
    bare = Skeleton(
        skeleton.names, skeleton.parents, skeleton.offsets, ((),) * len(skeleton.names), skeleton.turns
    )
    return _forward(bare, with_ancestors(skeleton, joints), np.zeros((0, 1)))


def with_ancestors(skeleton: Skeleton, joints: Sequence[int]) -> list[int]:
    """These joints and all that they hang on, parents first."""
    found: set[int] = set()
    for joint in joints:
        while joint >= 0 and joint not in found:
            found.add(joint)
            joint = skeleton.parents[joint]
    return sorted(found)


def _forward(skeleton: Skeleton, joints: Sequence[int], values: Float64[np.ndarray, "C T"]) -> Pose:
    """The joints, parents first, for values with the frame last."""
    rotations: dict[int, np.ndarray] = {}
    positions: dict[int, np.ndarray] = {}
    frames = values.shape[1]
    for joint in joints:
        parent = skeleton.parents[joint]
        R = rotations[parent].copy() if parent >= 0 else np.repeat(np.eye(3)[:, :, None], frames, axis=2)
        offset = np.repeat(skeleton.offsets[joint][:, None], frames, axis=1)
        for code, column in skeleton.channels[joint]:
            if code < X_ROTATION:
                offset[code] = values[column]
        positions[joint] = positions[parent] + applied(R, offset) if parent >= 0 else offset
        if skeleton.turns is not None:
            R = times(R, skeleton.turns[joint][:, :, None])
        for code, column in skeleton.channels[joint]:
            if code >= X_ROTATION:
                angle = np.radians(values[column])
                turn_about(R, code - X_ROTATION, np.cos(angle), np.sin(angle))
        rotations[joint] = R
    return Pose(rotations, positions)
