"""The states of a piece of motion, as types: Recording -> Motion or JointMotion -> Clip, or Rejection.

A bad file is a value, not an exception: a step that cannot use it returns a `Rejection` with a reason from a
closed list and a sentence of detail, and the run counts it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from jaxtyping import Float

from mocap_ray.records import Recording


class Reason(StrEnum):
    """Why a recording, or a piece of one, is left out: a closed list, counted in the manifest."""

    NOT_MOTION = "not_motion"  # recognised, but not motion: shape.npz, *_stagei.npz, DMPL-only files
    UNREADABLE = "unreadable"  # truncated, failed checksum, not the container that its name says
    UNSAFE = "unsafe"  # holds pickled objects, which are not loaded
    MISSING_KEYS = "missing_keys"
    BAD_SHAPE = "bad_shape"  # arrays that contradict each other, or match no known format
    BAD_VALUE = "bad_value"  # a frame rate of 0, a position 1e9 m away: see motion/bounds.py
    OTHER_FAMILY = "other_family"  # of a body family that body.families leaves out
    NON_FINITE = "non_finite"
    TOO_SHORT = "too_short"
    TELEPORT = "teleport"  # root acceleration above the limit
    UNSTABLE = (
        "unstable"  # speed or angular acceleration of a body joint, or turn of the pelvis, above the limit
    )
    UNDEFINED_FACING = "undefined_facing"  # the line across hips and shoulders is vertical
    UNDEFINED_BONE = "undefined_bone"  # a bone of zero length, or exactly against its rest direction
    MISSING_FRAMES = (
        "missing_frames"  # a recording of one file a frame, with gaps or doubles in their numbers
    )
    IGNORED = "ignored"  # named by source.ignore, such as the list of an archive's authors
    WORKER_DIED = "worker_died"  # the process that read it was killed (out of memory, segfault)
    EXCLUDED = "excluded"  # by the user: `mocap-ray dataset exclude`


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """Parameters of a SMPL-family body over time, as read from the file.

    Attributes:
        recording: the source file.
        family: smpl (24 joints), smplh (52) or smplx (55).
        gender: neutral, male or female, as in the file; `unknown` if the file has no usable value.
        fps: frames per second of these arrays.
        source_fps: frames per second of the file.
        poses: [T, J, 3] axis-angle, rad, joint order of the family, global_orient first; float32 or
            float64, possibly a read-only view of the file.
        trans: [T, 3] metres.
        betas: [B] shape coefficients, without expression.
        R_yup_source: [3, 3] rotation from the axes of these arrays to Y up.
        first_frame: index of the first frame in the file, at the file's rate.
        action, style, texts: labels from names or annotations.
    """

    recording: Recording
    family: str
    gender: str
    fps: float
    source_fps: float
    poses: Float[np.ndarray, "T J 3"]
    trans: Float[np.ndarray, "T 3"]
    betas: Float[np.ndarray, "B"]
    R_yup_source: Float[np.ndarray, "3 3"]
    first_frame: int = 0
    action: str | None = None
    style: str | None = None
    texts: tuple[str, ...] = ()

    @property
    def root(self) -> Float[np.ndarray, "T 3"]:
        """Position of the root, up to the constant rest position of the pelvis."""
        return self.trans

    def part(self, frames: slice) -> Motion:
        """A part of the motion, with `first_frame` adjusted."""
        first = self.first_frame + frames.start
        return replace(self, poses=self.poses[frames], trans=self.trans[frames], first_frame=first)


JOINTS = "joints"
"""`Clip.family` of clips from a source of joints alone."""


@dataclass(frozen=True, slots=True, eq=False)
class JointMotion:
    """Positions of the 22 body joints over time, from a source without rotations: no body model is needed.

    Attributes:
        recording: the source file.
        gender: neutral, male or female, as in the file; `unknown` if the file has no usable value.
        fps: frames per second of these arrays.
        source_fps: frames per second of the file.
        joints: [T, 22, 3] metres, in the order of `skeleton.BODY_JOINTS`; float32 or float64, possibly a
            read-only view of the file.
        R_yup_source: [3, 3] rotation from the axes of these arrays to Y up.
        first_frame: index of the first frame in the file, at the file's rate.
        action, style, texts: labels from names or annotations.

    Raises:
        ValueError: joints of another shape.
    """

    recording: Recording
    gender: str
    fps: float
    source_fps: float
    joints: Float[np.ndarray, "T 22 3"]
    R_yup_source: Float[np.ndarray, "3 3"]
    first_frame: int = 0
    action: str | None = None
    style: str | None = None
    texts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.joints.ndim != 3 or self.joints.shape[1:] != (22, 3):
            raise ValueError(
                f"{self.recording.source}: joints are {self.joints.shape}. Expected (frames, 22, 3)."
            )

    @property
    def family(self) -> str:
        """The family of its clips."""
        return JOINTS

    @property
    def root(self) -> Float[np.ndarray, "T 3"]:
        """Position of the root, which is the pelvis."""
        return self.joints[:, 0]

    def part(self, frames: slice) -> JointMotion:
        """A part of the motion, with `first_frame` adjusted."""
        return replace(self, joints=self.joints[frames], first_frame=self.first_frame + frames.start)


@dataclass(frozen=True, slots=True)
class Caption:
    """A description of a clip, or of a part of it, as in the text files of HumanML3D.

    Attributes:
        text: the caption.
        tokens: its words with part-of-speech tags, `word/TAG` separated by spaces; may be empty.
        start, end: the part that it describes, seconds from the start of the clip; 0 and 0, or NaN, mean all of it.
    """

    text: str
    tokens: str = ""
    start: float = 0.0
    end: float = 0.0

    @property
    def of_whole_clip(self) -> bool:
        """Whether it describes the whole clip."""
        return all(math.isnan(t) or t == 0 for t in (self.start, self.end))


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """One finished row of the data set; the columns are described in `mocap_ray/dataset/schema.py`.

    Attributes:
        clip_id: `<recording>@<first source frame>`; a mirrored twin ends in `~M`; unique.
        features: [R, 263] float32; R = T - 1 in the humanml3d profile, T in flowmimic.
        joints: [T, 22, 3] float32 metres, Y up, as passed to the encoder.
        poses: [T, 55, 3] float32 axis-angle rad, angle in [0, pi], Y up; None for mirrored twins and for sources of
            joints alone.
        trans: [T, 3] float32 metres, Y up; None if poses is None.
        body_gender: gender of the body model that was used, which differs from `gender` after a fallback; equal to
            `gender` if no model was used.
        body_missing: whether the body model that the gender policy prefers is missing, and another was used.
        short: whether the recording ends before its segment does.
        stick: [T, 20] float32 five stick-figure lines, if this column is requested.
        vertices: [T, V, 3] float32 metres, Y up, if this column is requested.
        domain: of its source, by which statistics can be weighted.
        name: name in the list of segments (HumanML3D's `000021`, its mirrored twin `M000021`).
        captions: all captions of a segment, also those of a part of it; `texts` has those of the whole clip.
        retimed: whether it was cut by time, because the recording at hand has another frame rate than the one that
            its segment counts frames of.
    """

    clip_id: str
    recording: Recording
    gender: str
    family: str
    fps: float
    source_fps: float
    betas: Float[np.ndarray, "B"]
    features: Float[np.ndarray, "R 263"]
    joints: Float[np.ndarray, "T 22 3"]
    body_gender: str
    body_missing: bool = False
    short: bool = False
    poses: Float[np.ndarray, "T 55 3"] | None = None
    trans: Float[np.ndarray, "T 3"] | None = None
    stick: Float[np.ndarray, "T 20"] | None = None
    vertices: Float[np.ndarray, "T V 3"] | None = None
    action: str | None = None
    style: str | None = None
    texts: tuple[str, ...] = field(default=())
    name: str | None = None
    domain: str = ""
    captions: tuple[Caption, ...] = ()
    retimed: bool = False

    @property
    def num_frames(self) -> int:
        """Rows of `features`."""
        return len(self.features)

    @property
    def mirrored(self) -> bool:
        """Whether it is the mirrored twin of a clip."""
        return self.clip_id.endswith("~M")
