"""How fast joints move and the pelvis turns, at the source's rate: what accelerations cannot see.

Speeds are measured over at least 1/60 s, from frame t to t + ceil(fps / 60), so that noise between the frames of a fast
camera is not taken for speed and a limit means the same at every rate from 60 fps on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, UInt8

from mocap_ray.motion import kernels_poses, kernels_speed
from mocap_ray.motion.clip import JointMotion, Motion

WINDOW = 1.0 / 60.0
"""Seconds over which speeds are measured, at least."""


@runtime_checkable
class Skeleton(Protocol):
    """A body of fixed shape; `body.model.ShapedBody` is one."""

    @property
    def offsets(self) -> Float[np.ndarray, "J 3"]:
        """[J, 3] metres, joint minus parent at rest."""
        ...

    def joints(
        self, poses: Float[np.ndarray, "T K 3"], trans: Float[np.ndarray, "T 3"]
    ) -> Float[np.ndarray, "T 22 3"]:
        """[T, 22, 3] metres."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Speeds:
    """Speeds from each frame t to frame t + step; zeros where there is no such frame or one of the two is broken.

    Attributes:
        step: frames from one frame to the other.
        joint: [T] m/s of the fastest joint, or a bound on it that is at most the limit; None without a body.
        which: [T] the fastest joint, where `joint` is exact.
        pelvis: [T] rad/s of the pelvis, or a bound on it that is at most the limit; None without rotations.
    """

    step: int
    joint: Float[np.ndarray, "T"] | None
    which: Int[np.ndarray, "T"]
    pelvis: Float[np.ndarray, "T"] | None

    def frames_above(self, speeds: Float[np.ndarray, "T"], limit: float) -> Bool[np.ndarray, "T"]:
        """The frames t + 1 to t + step of every pair whose speed is above the limit: no stretch without them has it."""
        above = speeds > limit
        marked = np.zeros(len(above), bool)
        if above.any():
            for k in range(1, min(self.step, len(above) - 1) + 1):
                marked[k:] |= above[:-k]
        return marked


def steps(fps: float) -> int:
    """Frames over which speeds are measured.

    >>> [steps(fps) for fps in (30.0, 59.94, 60.0, 100.0, 120.0, 250.0)]
    [1, 1, 1, 2, 2, 5]
    """
    return max(1, math.ceil(fps * WINDOW - 1e-9))


def of_poses(
    motion: Motion,
    raw: UInt8[np.ndarray, "bytes"],
    trans: Float64[np.ndarray, "T 3"],
    codes: UInt8[np.ndarray, "T"],
    *,
    body: Skeleton | None,
    joint_limit: float,
    pelvis_limit: float,
    exact: bool = False,
) -> Speeds:
    """Speeds of a body. Joints are computed only where a bound on their way allows a speed above the limit.

    Args:
        motion: at the source's rate.
        raw: the bytes of its poses as contiguous float64.
        trans: contiguous float64 metres.
        codes: of the frames; pairs with one that is not finite or out of bounds have no speed.
        body: the body of the person; None: joints have no speed.
        joint_limit: m/s.
        pelvis_limit: rad/s.
        exact: whether to compute every speed exactly.
    """
    frames, joints = motion.poses.shape[:2]
    step = steps(motion.fps)
    seconds = step / motion.fps
    lengths = np.zeros(0) if body is None else np.sqrt(np.square(body.offsets[:22]).sum(axis=1))
    moved, turned = np.zeros(frames), np.zeros(frames)
    turn_limit = -1.0 if exact else pelvis_limit * seconds
    kernels_speed.compare(raw, joints, trans, lengths, step, turn_limit, codes, moved, turned)
    which = np.zeros(frames, np.int64)
    first = np.flatnonzero(moved > (0.0 if exact else joint_limit * seconds))
    if body is not None and len(first):
        both = np.concatenate([first, first + step])
        p = body.joints(motion.poses[both, :22], trans[both])
        moved[first], which[first] = _furthest(p[len(first) :] - p[: len(first)])
    moved /= seconds
    turned /= seconds
    return Speeds(step, None if body is None else moved, which, turned)


def of_joints(motion: JointMotion, codes: UInt8[np.ndarray, "T"]) -> Speeds:
    """Speeds of joints without rotations, all exact."""
    joints = np.asarray(motion.joints, dtype=np.float64)
    step = steps(motion.fps)
    speeds, which = np.zeros(len(joints)), np.zeros(len(joints), np.int64)
    good = ~kernels_poses.unusable(codes)
    first = np.flatnonzero(good[:-step] & good[step:])
    speeds[first], which[first] = _furthest(joints[first + step] - joints[first])
    return Speeds(step, speeds * (motion.fps / step), which, None)


def _furthest(ways: Float[np.ndarray, "N 22 3"]) -> tuple[Float[np.ndarray, "N"], Int[np.ndarray, "N"]]:
    """The longest way of any joint, and the joint."""
    squares = np.einsum("njk,njk->nj", ways, ways)
    which = squares.argmax(axis=1) if len(squares) else np.zeros(0, np.int64)
    return np.sqrt(np.take_along_axis(squares, which[:, None], axis=1)[:, 0]), which
