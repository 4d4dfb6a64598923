"""The 263 motion features: joints to features, features to joints, and what each column means.

Two profiles share one layout. `humanml3d` retargets every clip to HumanML3D's target skeleton and has one row
fewer than frames; `flowmimic` keeps the bone lengths and repeats the last row. Sources: Guo et al.,
"Generating Diverse and Natural 3D Human Motions from Text", CVPR 2022 (the layout), and FlowMimic's
`process_motion`. Everything is computed in float64, in closed form, and stored as float32.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64

from mocap_ray.motion import kernels
from mocap_ray.motion.clip import Reason
from mocap_ray.skeleton import BODY_JOINTS, BODY_PARENTS, HUMANML3D_BONES
from mocap_ray.wording import counted

Profile = Literal["humanml3d", "flowmimic"]
Yaw = Literal["continuous", "reference"]
WIDTH = 263


class FeatureGroup(NamedTuple):
    """Consecutive columns of one kind: `features[..., start:stop]`."""

    name: str
    start: int
    stop: int
    unit: str
    meaning: str

    @property
    def columns(self) -> slice:
        """The columns as a slice."""
        return slice(self.start, self.stop)


GROUPS: tuple[FeatureGroup, ...] = (
    FeatureGroup(
        "root_yaw_vel", 0, 1, "rad per frame", "half angle of the root's turn about Y to the next frame"
    ),
    FeatureGroup(
        "root_xz_vel", 1, 3, "m per frame", "root's step to the next frame, seen from the next facing"
    ),
    FeatureGroup("root_y", 3, 4, "m", "height of the root above the floor"),
    FeatureGroup(
        "ric", 4, 67, "m", "joints 1..21: x and z from the root, y from the floor, seen from the facing"
    ),
    FeatureGroup("rot_6d", 67, 193, "1", "joints 1..21: local rotation, first two columns of its matrix"),
    FeatureGroup(
        "local_vel", 193, 259, "m per frame", "joints 0..21: step to the next frame, seen from the facing"
    ),
    FeatureGroup(
        "feet_contact", 259, 263, "0 or 1", "left ankle, left foot, right ankle, right foot stand still"
    ),
)
"""The groups in column order; by the rule of HumanML3D, the columns of a group share one std."""


def column_names() -> tuple[str, ...]:
    """The 263 column names, `group` or `group.joint.component`."""
    feet = ("left_ankle", "left_foot", "right_ankle", "right_foot")
    six = ("xx", "yx", "zx", "xy", "yy", "zy")  # row and column of the matrix, column by column
    return (
        "root_yaw_vel",
        "root_xz_vel.x",
        "root_xz_vel.z",
        "root_y",
        *(f"ric.{joint}.{axis}" for joint in BODY_JOINTS[1:] for axis in "xyz"),
        *(f"rot_6d.{joint}.{entry}" for joint in BODY_JOINTS[1:] for entry in six),
        *(f"local_vel.{joint}.{axis}" for joint in BODY_JOINTS for axis in "xyz"),
        *(f"feet_contact.{joint}" for joint in feet),
    )


class UndefinedFeatures(ValueError):
    """The features of a clip are undefined.

    Attributes:
        reason: UNDEFINED_FACING, UNDEFINED_BONE, NON_FINITE or TOO_SHORT.
        frame: the first frame with the problem; 0 if the whole clip is too short.
        joint: the joint at the far end of the bone, or the joint that is not finite; 0 if the problem has no joint.
        clip: index of the clip in the flattened batch.
    """

    def __init__(self, reason: Reason, message: str, *, frame: int = 0, joint: int = 0, clip: int = 0):
        super().__init__(message)
        self.reason = reason
        self.frame = frame
        self.joint = joint
        self.clip = clip


def encode(
    joints: Float[np.ndarray, "*batch T 22 3"],
    *,
    profile: Profile = "humanml3d",
    yaw: Yaw = "continuous",
) -> Float32[np.ndarray, "*batch R 263"]:
    """Features of clips of 22 joints; a clip gets the same bits in a batch as alone.

    Args:
        joints: [*batch, T, 22, 3] metres, Y up, T >= 2, at the frame rate of the profile.
        profile: `humanml3d` (R = T - 1) or `flowmimic` (R = T, the last row repeated).
        yaw: `continuous` keeps each facing in the hemisphere of the previous one, so that `decode` is
            exact; `reference` reproduces the published programs, whose column 0 has the wrong sign in each frame
            where the facing passes -Z.

    Degenerate input: if the facing is exactly -Z, the shortest rotation to +Z is half a turn about Y.

    Raises:
        UndefinedFeatures: fewer than 2 frames; a value that is not finite; a line across hips and shoulders
            that is vertical (or a smoothed facing that vanishes); a bone of zero length, or one that points exactly
            against its rest direction, to 1e-9 rad.
        ValueError: invalid shape, profile or yaw.
    """
    _one_of("yaw", yaw, ("continuous", "reference"))
    clips, bones = _checked(joints, profile)
    batch, frames = joints.shape[:-3], joints.shape[-3]
    rows = frames - 1 if profile == "humanml3d" else frames
    features = np.empty((len(clips), rows * WIDTH), dtype=np.float32)
    failure = np.zeros(4, dtype=np.int64)
    kernels.encode_clips(clips, bones, yaw == "continuous", profile == "flowmimic", features, failure)
    if failure[0]:
        raise _explained(clips, failure)
    return features.reshape(*batch, rows, WIDTH)


def canonical(
    joints: Float[np.ndarray, "T 22 3"], *, profile: Profile = "humanml3d"
) -> Float64[np.ndarray, "T 22 3"]:
    """Joints in canonical placement: target skeleton (humanml3d), on the floor, from the origin, first facing +Z.

    Raises:
        UndefinedFeatures, ValueError: as `encode`, but bones against their rest direction are allowed.
    """
    clips, bones = _checked(joints, profile)
    placed = np.empty((len(joints), 66))
    failure = np.zeros(4, dtype=np.int64)
    kernels.canonical_clip(clips[0], bones, placed, failure)
    if failure[0]:
        raise _explained(clips, failure)
    return placed.reshape(-1, 22, 3)


def decode(features: Float[np.ndarray, "*batch R 263"]) -> Float64[np.ndarray, "*batch R 22 3"]:
    """Joints in metres from columns 0:67, in canonical placement; `flowmimic` repeats its last row."""
    return np.asarray(_decode(np.asarray(features, dtype=np.float64), np))


def decode_torch(features: Any) -> Any:
    """`decode` for a torch tensor [*batch, R, 263]: differentiable, on the same device and in the same dtype."""
    import torch

    return _decode(features, torch)


def _decode(features: Any, xp: Any) -> Any:
    """Decode with the array module `xp`: numpy or torch."""
    none = xp.zeros_like(features[..., :1, 0])
    yaw = 2.0 * xp.concatenate([none, xp.cumsum(features[..., :-1, 0], axis=-1)], axis=-1)
    c, s = xp.cos(yaw)[..., : features.shape[-2]], xp.sin(yaw)[..., : features.shape[-2]]
    step_x, step_z = features[..., :-1, 1], features[..., :-1, 2]
    c1, s1 = c[..., 1:], s[..., 1:]
    root_x = xp.concatenate([none, xp.cumsum(c1 * step_x - s1 * step_z, axis=-1)], axis=-1)
    root_z = xp.concatenate([none, xp.cumsum(s1 * step_x + c1 * step_z, axis=-1)], axis=-1)
    root_x, root_z = root_x[..., None], root_z[..., None]
    ric = features[..., 4:67].reshape(*features.shape[:-1], 21, 3)
    x, y, z = ric[..., 0], ric[..., 1], ric[..., 2]
    c, s = c[..., None], s[..., None]
    return xp.stack(
        [
            xp.concatenate([root_x, c * x - s * z + root_x], axis=-1),
            xp.concatenate([features[..., 3:4], y], axis=-1),
            xp.concatenate([root_z, s * x + c * z + root_z], axis=-1),
        ],
        axis=-1,
    )


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} is {value!r}. Expected one of {', '.join(known)}.")


def _checked(joints: np.ndarray, profile: str) -> tuple[np.ndarray, np.ndarray]:
    """Clips as contiguous float64 [N, T * 66], and the target bone lengths (zeros: keep them)."""
    _one_of("profile", profile, ("humanml3d", "flowmimic"))
    if joints.ndim < 3 or joints.shape[-2:] != (22, 3):
        raise ValueError(f"joints have shape {joints.shape}. Expected [*batch, T, 22, 3], metres, Y up.")
    frames = joints.shape[-3]
    if frames < 2:
        raise UndefinedFeatures(
            Reason.TOO_SHORT,
            f"The clip has {counted(frames, 'frame')}, but features describe steps between frames and need at least "
            "2. Leave it out, or raise motion.min_frames.",
        )
    clips = np.require(joints, np.float64, ["C", "A"]).reshape(math.prod(joints.shape[:-3]), frames * 66)
    clips.flags.writeable = False  # one numba type, so that the kernels compile only once
    return clips, np.array(HUMANML3D_BONES) if profile == "humanml3d" else np.zeros(22)


def _explained(clips: np.ndarray, failure: np.ndarray) -> UndefinedFeatures:
    """The error that a kernel reported."""
    what, frame, joint, clip = (int(v) for v in failure)
    p = clips[clip].reshape(-1, 22, 3)
    where = f"Clip {clip} of the batch, frame" if len(clips) > 1 else "Frame"
    broken = np.argwhere(~np.isfinite(p).all(-1))
    if len(broken):
        frame, joint = (int(v) for v in broken[0])
        return UndefinedFeatures(
            Reason.NON_FINITE,
            f"{where} {frame}: joint {BODY_JOINTS[joint]} is at {p[frame, joint].tolist()}. Expected finite "
            "metres; cut the clip there or leave it out.",
            frame=frame,
            joint=joint,
            clip=clip,
        )
    lengths = np.linalg.norm(p[frame, 1:] - p[frame, BODY_PARENTS[1:]], axis=-1)
    if what == kernels.FACING and not lengths.all():
        what, joint = kernels.BONE, 1 + int(np.argmin(lengths))
    if what == kernels.BONE:
        parent = BODY_JOINTS[BODY_PARENTS[joint]]
        fault = "points exactly against its rest direction" if lengths[joint - 1] > 0 else "has no length"
        return UndefinedFeatures(
            Reason.UNDEFINED_BONE,
            f"{where} {frame}: the bone from {parent} to {BODY_JOINTS[joint]} {fault}, so its rotation is "
            "undefined. Cut the clip there or leave it out.",
            frame=frame,
            joint=joint,
            clip=clip,
        )
    assert what == kernels.FACING, f"unknown failure {failure}"
    return UndefinedFeatures(
        Reason.UNDEFINED_FACING,
        f"{where} {frame}: the line across hips and shoulders is vertical (or the facing smoothed over time "
        "vanishes), so the facing is undefined. Cut the clip there or leave it out.",
        frame=frame,
        clip=clip,
    )
