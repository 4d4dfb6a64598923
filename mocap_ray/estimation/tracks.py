"""From people in frames to the motion of each person: one camera, Y up, absolute hands, a constant frame rate.

The network's own conventions end here: docs/estimation.md lists them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation

from mocap_ray.archives.amass import R_YUP_AMASS
from mocap_ray.archives.amass_files import amass_arrays
from mocap_ray.body.arrays import npz_bytes
from mocap_ray.body.model import BodyModel
from mocap_ray.estimation.camera import Camera, crop_camera, rebased
from mocap_ray.estimation.options import CameraOptions, SmoothOptions, TrackOptions
from mocap_ray.estimation.smoothing import smooth_path, smooth_rotations
from mocap_ray.estimation.tracking import track
from mocap_ray.motion.clip import Motion
from mocap_ray.records import Recording

LEFT_HAND, RIGHT_HAND = slice(25, 40), slice(40, 55)
_SNAP = 0.05
"""A frame this near to a step of the constant rate, in steps, is taken as it is."""


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """All people of a video, by frame: the rows of `people.SCHEMA` as arrays."""

    frame: Int[np.ndarray, "N"]
    seconds: Float[np.ndarray, "N"]
    id: Int[np.ndarray, "N"]
    confidence: Float[np.ndarray, "N"]
    box: Float[np.ndarray, "N 4"]
    crop: Float[np.ndarray, "N 4"]
    poses: Float[np.ndarray, "N 165"]
    betas: Float[np.ndarray, "N 10"]
    expression: Float[np.ndarray, "N 10"]
    trans: Float[np.ndarray, "N 3"]
    width: int
    height: int

    @classmethod
    def of(cls, table: pa.Table) -> People:
        """The people of a table with rows in any order of chunks."""
        table = table.sort_by([("frame", "ascending")]) if len(table) else table
        values = {}
        for name in cls.__dataclass_fields__:
            column = table[name].combine_chunks()
            if pa.types.is_fixed_size_list(column.type):
                values[name] = (
                    column.flatten().to_numpy().reshape(-1, column.type.list_size).astype(np.float64)
                )
            else:
                values[name] = column.to_numpy()
        for name in ("frame", "id"):
            values[name] = values[name].astype(np.int64)
        values["confidence"] = values["confidence"].astype(np.float64)
        width, height = int(values.pop("width")[0]), int(values.pop("height")[0])
        return cls(**values, width=width, height=height)


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """What all people of a video share.

    Attributes:
        camera: the common camera.
        R_yup_camera: rotation from its axes (X right, Y down, Z away) to Y up.
        fps: of the motion.
        body: the neutral model of SMPL-X.
        hands: its mean hands, left and right, rad.
    """

    camera: Camera
    R_yup_camera: Float[np.ndarray, "3 3"]
    fps: float
    body: BodyModel
    hands: tuple[Float[np.ndarray, "15 3"], Float[np.ndarray, "15 3"]]


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """The motion of one person, Y up, with one entry per step of the constant frame rate.

    Attributes:
        number: of the person.
        fps: steps per second.
        frames: the nearest frame of the video.
        poses: rotation vectors of 55 joints, rad.
        trans: metres.
        betas: the median over the frames.
        expression, boxes: between the neighbouring frames.
        confidence: of the detector; 0 where the person was not seen.
    """

    number: int
    fps: float
    frames: Int[np.ndarray, "T"]
    poses: Float[np.ndarray, "T 55 3"]
    trans: Float[np.ndarray, "T 3"]
    betas: Float[np.ndarray, "10"]
    expression: Float[np.ndarray, "T 10"]
    boxes: Float[np.ndarray, "T 4"]
    confidence: Float[np.ndarray, "T"]


def common_camera(width: int, height: int, options: CameraOptions) -> Camera:
    """The camera of a video: the principal point in the middle, the focal length of the config or the diagonal."""
    return Camera(options.focal or math.hypot(width, height), width / 2, height / 2)


def upright(pitch: float) -> Float[np.ndarray, "3 3"]:
    """Rotation from the axes of a camera that looks down by `pitch` degrees to Y up, X right, Z towards the camera.

    >>> (upright(90.0) @ [0.0, 0.0, 1.0]).round().astype(int).tolist()  # straight down
    [0, -1, 0]
    """
    c, s = math.cos(math.radians(pitch)), math.sin(math.radians(pitch))
    return np.asarray([[1.0, 0.0, 0.0], [0.0, -c, -s], [0.0, s, -c]])


def frame_rate(seconds: Float[np.ndarray, "N"]) -> float:
    """The frame rate of a video: one divided by the median time between frames; 30 for a single frame."""
    steps = np.diff(seconds)
    return float(round(1 / np.median(steps), 6)) if len(steps) else 30.0


def person_numbers(people: People, options: TrackOptions) -> Int[np.ndarray, "N"]:
    """The number of the person of each row; -1 for nobody, such as a box of low confidence that fits no track."""
    if options.given_ids and len(people.id) and (people.id >= 0).all():
        return people.id
    found = track(
        people.frame,
        people.seconds,
        people.box,
        people.confidence,
        lost_s=options.lost_s,
        overlap=options.overlap,
    )
    return np.where(found > 0, found, -1)


def tracks(
    people: People, shot: Shot, *, options: TrackOptions, smooth: SmoothOptions, frames: int
) -> Iterator[Track]:
    """The motion of each person, by number; one who is seen in fewer than `options.min_frames` frames is left out.

    Args:
        people: of a video.
        shot: what they share.
        options: how boxes become people.
        smooth: how motion is smoothed.
        frames: of the video.
    """
    numbers = person_numbers(people, options)
    least = min(options.min_frames, frames)
    for number in np.unique(numbers[numbers >= 0]).tolist():
        rows = np.flatnonzero(numbers == number)
        rows = rows[
            np.unique(people.frame[rows], return_index=True)[1]
        ]  # of two boxes of a number, the first
        if len(rows) >= least:
            yield _motion(people, rows, number, shot, smooth)


def _motion(people: People, rows: np.ndarray, number: int, shot: Shot, smooth: SmoothOptions) -> Track:
    """The motion of the person in some rows."""
    betas = np.median(people.betas[rows], axis=0)
    pelvis = np.stack([_pelvis(people, row, shot) for row in rows.tolist()])
    poses = np.array(people.poses[rows].reshape(-1, 55, 3), np.float64)
    poses[:, LEFT_HAND] += shot.hands[0]
    poses[:, RIGHT_HAND] += shot.hands[1]
    turn = Rotation.from_matrix(shot.R_yup_camera)
    poses[:, 0] = (turn * Rotation.from_rotvec(poses[:, 0])).as_rotvec()
    pelvis = pelvis @ shot.R_yup_camera.T
    grid = _Grid.over(people.seconds[rows], shot.fps)
    poses = smooth_rotations(grid.rotations(poses), fps=shot.fps, options=smooth)
    pelvis = smooth_path(grid.values(pelvis), fps=shot.fps, options=smooth)
    return Track(
        number=number,
        fps=shot.fps,
        frames=people.frame[rows][grid.nearest],
        poses=poses,
        trans=pelvis - shot.body.shaped(betas).rest[0],
        betas=betas,
        expression=grid.values(people.expression[rows]),
        boxes=grid.values(people.box[rows]),
        confidence=np.where(grid.seen, people.confidence[rows][grid.nearest], 0.0),
    )


def _pelvis(people: People, row: int, shot: Shot) -> Float[np.ndarray, "3"]:
    """The pelvis of a person in the common camera, metres."""
    crop = crop_camera(*(float(v) for v in people.crop[row]))
    rest = shot.body.shaped(people.betas[row]).rest[0]
    trans = people.trans[row]
    moved: np.ndarray = rebased(trans, trans + rest, crop=crop, to=shot.camera) + rest
    return moved


@dataclass(frozen=True, slots=True, eq=False)
class _Grid:
    """Steps of a constant rate, each between two measured frames.

    Attributes:
        before, after: index of the frames around each step.
        share: how far the step is from the first to the second, 0 to 1.
        seen: whether a frame is near the step, so that nothing was missed there.
    """

    before: np.ndarray
    after: np.ndarray
    share: np.ndarray
    seen: np.ndarray

    @classmethod
    def over(cls, seconds: Float[np.ndarray, "N"], fps: float) -> _Grid:
        """The steps from the first to the last of these times."""
        at = (seconds - seconds[0]) * fps
        steps = np.arange(round(float(at[-1])) + 1, dtype=np.float64)
        after = np.clip(np.searchsorted(at, steps), min(1, len(at) - 1), len(at) - 1)
        before = np.maximum(after - 1, 0)
        width = np.maximum(at[after] - at[before], 1e-9)
        share = np.clip((steps - at[before]) / width, 0.0, 1.0)
        near = np.minimum(np.abs(steps - at[before]), np.abs(at[after] - steps))
        snapped = np.where(share < 0.5, 0.0, 1.0)
        return cls(before, after, np.where(near <= _SNAP, snapped, share), near <= 0.75)

    @property
    def nearest(self) -> np.ndarray:
        """Index of the nearest frame."""
        return np.where(self.share < 0.5, self.before, self.after)

    def values(self, values: Float[np.ndarray, "N C"]) -> Float[np.ndarray, "T C"]:
        """Values at the steps, on straight lines between frames."""
        share = self.share[:, None]
        return np.asarray((1 - share) * values[self.before] + share * values[self.after])

    def rotations(self, rotvecs: Float[np.ndarray, "N J 3"]) -> Float[np.ndarray, "T J 3"]:
        """Rotations at the steps, on the shortest arcs between frames; rad."""
        joints = rotvecs.shape[1]
        first, second = (Rotation.from_rotvec(rotvecs[k].reshape(-1, 3)) for k in (self.before, self.after))
        part = (first.inv() * second).as_rotvec() * np.repeat(self.share, joints)[:, None]
        return np.asarray((first * Rotation.from_rotvec(part)).as_rotvec().reshape(-1, joints, 3))


def track_bytes(one: Track, shot: Shot, *, width: int, height: int) -> bytes:
    """A track as an AMASS file of SMPL-X with further arrays: see docs/estimation.md."""
    motion = Motion(
        recording=Recording("", "", "", "", 0, ""),
        family="smplx",
        gender="neutral",
        fps=one.fps,
        source_fps=one.fps,
        poses=one.poses,
        trans=one.trans,
        betas=one.betas,
        R_yup_source=np.eye(3),
    )
    rest = shot.body.shaped(one.betas).rest[0]
    # In the axes of AMASS files, as the other arrays: Z up.
    R_file_camera = R_YUP_AMASS.T @ shot.R_yup_camera
    return npz_bytes(
        amass_arrays(motion, rest)
        | {
            "expression": one.expression.astype(np.float32),
            "boxes": one.boxes.astype(np.float32),
            "confidence": one.confidence.astype(np.float32),
            "frames": one.frames,
            "track": np.array(one.number),
            "camera_focal": np.array(shot.camera.focal),
            "camera_centre": np.array([shot.camera.x, shot.camera.y]),
            "camera_rotation": R_file_camera,
            "image_size": np.array([width, height]),
        }
    )
