"""Find broken frames of a recording: numbers that are not finite, roots that teleport, limbs that jump.

Measured at the source's rate, before resampling could hide a broken frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8

from mocap_ray.motion import kernels_poses
from mocap_ray.motion.clip import JointMotion, Motion, Reason
from mocap_ray.records import Recording, Rejection
from mocap_ray.skeleton import BODY_JOINTS
from mocap_ray.wording import counted

_REASONS = {
    kernels_poses.NON_FINITE: Reason.NON_FINITE,
    kernels_poses.TELEPORT: Reason.TELEPORT,
    kernels_poses.UNSTABLE: Reason.UNSTABLE,
}


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits above which a frame is broken.

    The acceleration of frame t is computed from frames t - 1, t, t + 1. A rotation per frame is at most pi, so
    angular accelerations are at most 2 pi fps^2: up to 126 fps they cannot exceed the default limit, unless the
    multiplier lowers it.

    Attributes:
        root_acceleration: m/s^2, of `trans`.
        angular_acceleration: rad/s^2, geodesic, |omega_t - omega_{t-1}| fps with
            omega_t = log(R_t^T R_{t+1}) fps, of the local rotation of each of the 22 body joints.
        multiplier: factor on both limits.
    """

    root_acceleration: float = 1500.0
    angular_acceleration: float = 100_000.0
    multiplier: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Quality:
    """Measured accelerations and broken frames.

    Attributes:
        fps: frame rate of the measured motion.
        limits: the limits that were applied.
        root_acceleration, root_frame: the largest root acceleration, m/s^2, and its frame.
        angular_acceleration: the largest angular acceleration, rad/s^2; an upper bound if not `exact`; NaN for
            joints without rotations.
        angular_frame, angular_joint: frame and joint of the largest angular acceleration, or of its bound.
        exact: whether the angular figures are exact; the broken frames always are.
        codes: [T] per frame one of `kernels_poses.GOOD`, NON_FINITE, TELEPORT, UNSTABLE.
    """

    fps: float
    limits: Limits
    root_acceleration: float
    root_frame: int
    angular_acceleration: float
    angular_frame: int
    angular_joint: int
    exact: bool
    codes: UInt8[np.ndarray, "T"]

    @property
    def bad(self) -> Bool[np.ndarray, "T"]:
        """Which frames are broken."""
        return np.asarray(self.codes != kernels_poses.GOOD)

    def rows(self) -> list[tuple[str, str]]:
        """The figures as pairs of name and text, for a table."""
        root = self.limits.root_acceleration * self.limits.multiplier
        angular = self.limits.angular_acceleration * self.limits.multiplier
        joint = BODY_JOINTS[self.angular_joint]
        at = f"in {joint}, frame {self.angular_frame}" if self.exact else "at most"
        turning = f"{self.angular_acceleration:,.0f} rad/s^2 {at} (limit {angular:,.0f})"
        if math.isnan(self.angular_acceleration):
            turning = "not measured: the source has joints without rotations"
        counts = [(str(r), int(np.count_nonzero(self.codes == code))) for code, r in _REASONS.items()]
        broken = ", ".join(f"{name} {count:,}" for name, count in counts if count) or "none"
        return [
            (
                "root acceleration",
                f"{self.root_acceleration:,.1f} m/s^2 in frame {self.root_frame} (limit {root:,.0f})",
            ),
            ("angular acceleration", turning),
            ("broken frames", broken),
        ]


def measure(motion: Motion | JointMotion, limits: Limits | None = None, *, exact: bool = False) -> Quality:
    """Measure accelerations and find broken frames, at the rate of the motion.

    Unless `exact`, frames whose angular acceleration is below the limit by a cheap upper bound are not computed
    exactly; the broken frames are exact in either case. Fewer than 3 frames have no acceleration; frames next to
    one that is not finite have none either and count as good.

    Args:
        motion: at the source's rate. All joints are checked for finite numbers; accelerations are those of the root
            and the 22 body joints, and for joints without rotations only that of the root.
        limits: None means the defaults.
        exact: whether to compute the exact largest angular acceleration (microseconds per frame, not nanoseconds).
    """
    limits = limits or Limits()
    if isinstance(motion, JointMotion):
        return _measure_joints(motion, limits)
    frames, joints = motion.poses.shape[:2]
    fps2 = motion.fps * motion.fps
    limit = limits.angular_acceleration * limits.multiplier / fps2
    cannot_trip = 2.0 * math.pi <= limit
    skip = -1.0 if exact else math.inf if cannot_trip else limit
    codes, found = np.zeros(frames, np.uint8), np.zeros(5)
    if frames:
        kernels_poses.scan(
            _bytes(motion.poses),
            joints,
            np.require(motion.trans, np.float64, ["C", "A"]).copy(),
            limits.root_acceleration * limits.multiplier / fps2,
            limit,
            skip,
            codes,
            found,
        )
    if skip == math.inf and frames > 2:
        found[2:] = 2.0 * math.pi, 1, 0
    return Quality(
        fps=motion.fps,
        limits=limits,
        root_acceleration=float(found[0]) * fps2,
        root_frame=int(found[1]),
        angular_acceleration=float(found[2]) * fps2,
        angular_frame=int(found[3]),
        angular_joint=int(found[4]),
        exact=exact,
        codes=codes,
    )


def _measure_joints(motion: JointMotion, limits: Limits) -> Quality:
    """`measure` without rotations: finite positions and accelerations of the root."""
    joints = np.asarray(motion.joints, dtype=np.float64)
    finite = np.asarray(np.isfinite(joints).reshape(len(joints), 66).all(axis=1))
    codes = np.where(finite, kernels_poses.GOOD, kernels_poses.NON_FINITE).astype(np.uint8)
    root = np.where(finite[:, None], joints[:, 0], 0.0)
    found, at = 0.0, 0
    if len(root) > 2:
        jumps = np.linalg.norm(root[2:] - 2 * root[1:-1] + root[:-2], axis=-1) * motion.fps**2
        # Frames next to one that is not finite have no acceleration.
        jumps[~(finite[2:] & finite[1:-1] & finite[:-2])] = 0.0
        codes[1:-1][jumps > limits.root_acceleration * limits.multiplier] = kernels_poses.TELEPORT
        at = int(np.argmax(jumps)) + 1
        found = float(jumps[at - 1])
    return Quality(
        fps=motion.fps,
        limits=limits,
        root_acceleration=found,
        root_frame=at,
        angular_acceleration=math.nan,
        angular_frame=0,
        angular_joint=0,
        exact=True,
        codes=codes,
    )


def stretches(
    motion: Motion | JointMotion, quality: Quality, *, cut: bool, min_frames: int
) -> list[slice | Rejection[Recording]]:
    """Split a motion into stretches to keep and rejections, in order of time.

    Each kept stretch passes `measure` on its own.

    Args:
        motion: the measured motion.
        quality: the result of `measure`.
        cut: whether to keep the good stretches around broken frames; otherwise one broken frame rejects the motion.
        min_frames: shortest stretch to keep, in source frames.

    Returns:
        Slices of frames to keep, and a Rejection (with its first source frame) of the motion or of the frames between
        kept stretches. Never empty.
    """
    bad = quality.bad
    frames = len(bad)
    if bad.any() and not cut:
        remedy = "Leave it out, keep its good stretches with motion.quality.cut, or raise motion.quality.multiplier."
        return [_rejected(motion, quality, slice(0, frames), remedy, min_frames)]
    edges = np.flatnonzero(np.diff(np.concatenate([[True], bad, [True]])))
    good = [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    kept = [s for s in good if s.stop - s.start >= max(min_frames, 1)]
    found: list[slice | Rejection[Recording]] = []
    done = 0
    for stretch in [*kept, slice(frames, frames)]:
        if stretch.start > done or (not found and stretch.start == stretch.stop):
            remedy = f"Good stretches of at least {counted(min_frames, 'frame')} are kept."
            found.append(_rejected(motion, quality, slice(done, stretch.start), remedy, min_frames))
        if stretch.stop > stretch.start:
            found.append(stretch)
        done = stretch.stop
    return found


def _rejected(
    motion: Motion | JointMotion, quality: Quality, part: slice, remedy: str, least: int
) -> Rejection[Recording]:
    """The rejection of the frames `part`; the reason is that of the first broken frame."""
    start = motion.first_frame + part.start
    count = part.stop - part.start
    broken = part.start + np.flatnonzero(quality.bad[part])
    if not len(broken):
        what = (
            f"{motion.recording.source}: {counted(count, 'good frame')} at {quality.fps:g} fps, but motion.min_frames "
            f"needs {least}. Lower it to keep them."
        )
        return Rejection(motion.recording, Reason.TOO_SHORT, what, start)
    frame = int(broken[0])
    reason = _REASONS[int(quality.codes[frame])]
    what = {
        Reason.NON_FINITE: _not_finite,
        Reason.TELEPORT: _teleport,
        Reason.UNSTABLE: _unstable,
    }[reason](motion, quality, frame)
    where = f"{motion.recording.source}: frame {motion.first_frame + frame}"
    total = f"broken frames: {len(broken)} of {count}"
    return Rejection(motion.recording, reason, f"{where}: {what}; {total}. {remedy}", start)


def _not_finite(motion: Motion | JointMotion, quality: Quality, frame: int) -> str:
    if isinstance(motion, JointMotion):
        wrong = np.flatnonzero(~np.isfinite(motion.joints[frame]).all(-1))
        return f"the position of {BODY_JOINTS[wrong[0]]} is not finite"
    wrong = np.flatnonzero(~np.isfinite(motion.poses[frame]).all(-1))
    where = f"the rotation of joint {wrong[0]}" if len(wrong) else "trans"
    return f"{where} is not finite"


def _teleport(motion: Motion | JointMotion, quality: Quality, frame: int) -> str:
    before, here, after = np.asarray(motion.root[frame - 1 : frame + 2], dtype=np.float64)
    value = float(np.linalg.norm(after - 2 * here + before)) * quality.fps**2
    limit = quality.limits.root_acceleration * quality.limits.multiplier
    return f"the root accelerates by {value:,.1f} m/s^2, above the limit of {limit:,.1f}"


def _unstable(motion: Motion | JointMotion, quality: Quality, frame: int) -> str:
    assert isinstance(motion, Motion)  # joints alone have no rotation that could jump
    three = np.array(motion.poses[frame - 1 : frame + 2], dtype=np.float64)
    three.flags.writeable = False  # the numba type that `scan` compiled it for
    values = [kernels_poses.angular_acceleration(three, 1, j) for j in range(22)]
    joint = int(np.argmax(values))
    limit = quality.limits.angular_acceleration * quality.limits.multiplier
    return (
        f"{BODY_JOINTS[joint]} has an angular acceleration of {values[joint] * quality.fps**2:,.0f} rad/s^2, above the "
        f"limit of {limit:,.0f}"
    )


def _bytes(poses: np.ndarray) -> np.ndarray:
    """Read-only bytes of contiguous float64 poses; not copied if the file already stores them this way."""
    flat = np.ascontiguousarray(poses, dtype=np.float64).reshape(-1).view(np.uint8)
    flat.flags.writeable = False
    return flat
