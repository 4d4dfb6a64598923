"""Find broken frames of a recording: numbers that are none, roots that teleport, limbs that jump, bodies that flip.

Measured at the source's rate, before resampling could hide a broken frame. `docs/data-format.md` says what each limit
can see at which rate; `motion/stretches.py` cuts a motion by the result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

from mocap_ray.motion import kernels_poses, speed
from mocap_ray.motion.bounds import FAR, REACH
from mocap_ray.motion.clip import JointMotion, Motion, Reason
from mocap_ray.motion.speed import Skeleton, Speeds
from mocap_ray.skeleton import BODY_JOINTS

REASONS = {
    kernels_poses.NON_FINITE: Reason.NON_FINITE,
    kernels_poses.BAD_VALUE: Reason.BAD_VALUE,
    kernels_poses.TELEPORT: Reason.TELEPORT,
    kernels_poses.UNSTABLE: Reason.UNSTABLE,
    kernels_poses.TURNING: Reason.UNSTABLE,
    kernels_poses.FAST: Reason.UNSTABLE,
}
"""The reason for leaving out a frame with this code."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits above which a frame is broken.

    The acceleration of frame t is computed from frames t - 1, t, t + 1. A rotation per frame is at most pi, so
    angular accelerations are at most 2 pi fps^2: up to 126 fps they cannot exceed the default limit, unless the
    multiplier lowers it. Speeds are measured over at least 1/60 s (`motion/speed.py`).

    Attributes:
        root_acceleration: m/s^2, of `trans`.
        angular_acceleration: rad/s^2, geodesic, |omega_t - omega_{t-1}| fps with
            omega_t = log(R_t^T R_{t+1}) fps, of the local rotation of each of the 22 body joints.
        joint_speed: m/s, of each of the 22 body joints.
        pelvis_speed: rad/s, geodesic, of the pelvis.
        multiplier: factor on all limits.
    """

    root_acceleration: float = 1500.0
    angular_acceleration: float = 100_000.0
    joint_speed: float = 30.0
    pelvis_speed: float = 50.0
    multiplier: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Quality:
    """Measured accelerations, speeds and broken frames.

    Attributes:
        fps: frame rate of the measured motion.
        limits: the limits that were applied.
        root_acceleration, root_frame: the largest root acceleration, m/s^2, and its frame.
        angular_acceleration: the largest angular acceleration, rad/s^2; an upper bound if not `exact`; NaN for
            joints without rotations.
        angular_frame, angular_joint: frame and joint of the largest angular acceleration, or of its bound.
        exact: whether the angular figures and speeds are exact; the broken frames always are.
        codes: [T] per frame one of the codes of `kernels_poses`, GOOD to FAST.
        speeds: of the joints and the pelvis.
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
    speeds: Speeds

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
        counts = {str(r): 0 for r in REASONS.values()}
        for code, reason in REASONS.items():
            counts[str(reason)] += int(np.count_nonzero(self.codes == code))
        broken = ", ".join(f"{name} {count:,}" for name, count in counts.items() if count) or "none"
        return [
            (
                "root acceleration",
                f"{self.root_acceleration:,.1f} m/s^2 in frame {self.root_frame} (limit {root:,.0f})",
            ),
            ("angular acceleration", turning),
            ("joint speed", self._joint_speed()),
            ("pelvis speed", self._pelvis_speed()),
            ("broken frames", broken),
        ]

    def _joint_speed(self) -> str:
        speeds, limit = self.speeds, self.limits.joint_speed * self.limits.multiplier
        if speeds.joint is None:
            return "not measured: needs a body model"
        t = int(np.argmax(speeds.joint)) if len(speeds.joint) else 0
        top = float(speeds.joint.max(initial=0.0))
        at = f"in {BODY_JOINTS[speeds.which[t]]}, frame {t}" if self.exact and top > 0 else "at most"
        return f"{top:,.1f} m/s {at} (limit {limit:g})"

    def _pelvis_speed(self) -> str:
        speeds, limit = self.speeds, self.limits.pelvis_speed * self.limits.multiplier
        if speeds.pelvis is None:
            return "not measured: the source has joints without rotations"
        top = float(speeds.pelvis.max(initial=0.0))
        at = f"in frame {int(np.argmax(speeds.pelvis))}" if self.exact and top > 0 else "at most"
        return f"{top:,.1f} rad/s {at} (limit {limit:g})"


def measure(
    motion: Motion | JointMotion,
    limits: Limits | None = None,
    *,
    body: Skeleton | None = None,
    exact: bool = False,
) -> Quality:
    """Measure accelerations and speeds and find broken frames, at the rate of the motion.

    Unless `exact`, frames whose angular acceleration or speed is below the limit by a cheap upper bound are not
    computed exactly; the broken frames are exact in either case. Fewer than 3 frames have no acceleration; frames next
    to one that is not finite or out of bounds have none either and count as good.

    Args:
        motion: at the source's rate. All joints are checked for numbers that are finite and within `bounds`;
            accelerations and speeds are those of the root and the 22 body joints; for joints without rotations, there
            are no angular ones.
        limits: None means the defaults.
        body: the body of the person; without it, a `Motion` has no joint speed.
        exact: whether to compute the exact largest figures (microseconds per frame, not nanoseconds).
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
    raw, trans = _bytes(motion.poses), np.array(motion.trans, dtype=np.float64, order="C")
    if frames:
        kernels_poses.scan(
            raw,
            joints,
            trans,
            limits.root_acceleration * limits.multiplier / fps2,
            limit,
            skip,
            codes,
            found,
        )
    if skip == math.inf and frames > 2:
        found[2:] = 2.0 * math.pi, 1, 0
    speeds = speed.of_poses(
        motion,
        raw,
        trans,
        codes,
        body=body,
        joint_limit=limits.joint_speed * limits.multiplier,
        pelvis_limit=limits.pelvis_speed * limits.multiplier,
        exact=exact,
    )
    _mark(codes, speeds, limits)
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
        speeds=speeds,
    )


def _measure_joints(motion: JointMotion, limits: Limits) -> Quality:
    """`measure` without rotations: positions in bounds, accelerations of the root, speeds of the joints."""
    joints = np.asarray(motion.joints, dtype=np.float64)
    codes = _codes_of_joints(joints)
    usable = ~kernels_poses.unusable(codes)
    root = np.where(usable[:, None], joints[:, 0], 0.0)
    found, at = 0.0, 0
    if len(root) > 2:
        jumps = np.linalg.norm(root[2:] - 2 * root[1:-1] + root[:-2], axis=-1) * motion.fps**2
        # Frames next to one that is not finite or out of bounds have no acceleration.
        jumps[~(usable[2:] & usable[1:-1] & usable[:-2])] = 0.0
        codes[1:-1][jumps > limits.root_acceleration * limits.multiplier] = kernels_poses.TELEPORT
        at = int(np.argmax(jumps)) + 1
        found = float(jumps[at - 1])
    speeds = speed.of_joints(motion, codes)
    _mark(codes, speeds, limits)
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
        speeds=speeds,
    )


def _codes_of_joints(joints: Float[np.ndarray, "T 22 3"]) -> UInt8[np.ndarray, "T"]:
    """NON_FINITE for positions that are no numbers, BAD_VALUE for those beyond `FAR`, or `REACH` from the pelvis."""
    flat = joints.reshape(len(joints), 66)
    with np.errstate(invalid="ignore", over="ignore"):
        near = np.abs(flat).max(axis=1) < FAR
        reach = np.linalg.norm(joints - joints[:, :1], axis=-1).max(axis=1)
    bad = np.where(near & (reach <= REACH), kernels_poses.GOOD, kernels_poses.BAD_VALUE)
    return np.where(np.isfinite(flat).all(axis=1), bad, kernels_poses.NON_FINITE).astype(np.uint8)


def _mark(codes: UInt8[np.ndarray, "T"], speeds: Speeds, limits: Limits) -> None:
    """Give the good frames that speeds show to be broken their codes."""
    for code, values, limit in (
        (kernels_poses.TURNING, speeds.pelvis, limits.pelvis_speed),
        (kernels_poses.FAST, speeds.joint, limits.joint_speed),
    ):
        if values is not None:
            marked = speeds.frames_above(values, limit * limits.multiplier)
            codes[marked & (codes == kernels_poses.GOOD)] = code


def _bytes(poses: np.ndarray) -> np.ndarray:
    """Read-only bytes of contiguous float64 poses; not copied if the file already stores them this way."""
    flat = np.ascontiguousarray(poses, dtype=np.float64).reshape(-1).view(np.uint8)
    flat.flags.writeable = False
    return flat
