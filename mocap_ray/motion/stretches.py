"""Split a motion into the stretches to keep and the rejections of the rest, with their sentences."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from mocap_ray.motion import kernels_poses
from mocap_ray.motion.bounds import FAR, REACH
from mocap_ray.motion.clip import JointMotion, Motion, Reason
from mocap_ray.motion.quality import REASONS, Quality
from mocap_ray.records import Recording, Rejection
from mocap_ray.skeleton import BODY_JOINTS
from mocap_ray.wording import counted

_NEAR = f"Expected metres, less than {FAR:,.0f}; subtract the position of the first frame"
_RAISE = "Leave it out, keep its good stretches with motion.quality.cut, or raise motion.quality.multiplier."


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
        return [_rejected(motion, quality, slice(0, frames), None, min_frames)]
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
    motion: Motion | JointMotion, quality: Quality, part: slice, remedy: str | None, least: int
) -> Rejection[Recording]:
    """The rejection of the frames `part`, with the reason of the first broken frame that says most.

    Args:
        remedy: what to do, or was done; None: what helps against the reason.
    """
    start = motion.first_frame + part.start
    count = part.stop - part.start
    broken = part.start + np.flatnonzero(quality.bad[part])
    if not len(broken):
        what = (
            f"{motion.recording.source}: {counted(count, 'good frame')} at {quality.fps:g} fps, but motion.min_frames "
            f"needs {least}. Lower it to keep them."
        )
        return Rejection(motion.recording, Reason.TOO_SHORT, what, start)
    # Speeds say least about the cause: they are named where nothing else is wrong.
    telling = broken[quality.codes[broken] < kernels_poses.TURNING]
    frame = int(telling[0] if len(telling) else broken[0])
    code = int(quality.codes[frame])
    what = {
        kernels_poses.NON_FINITE: _not_finite,
        kernels_poses.BAD_VALUE: _out_of_bounds,
        kernels_poses.TELEPORT: _teleport,
        kernels_poses.UNSTABLE: _unstable,
        kernels_poses.TURNING: _turning,
        kernels_poses.FAST: _fast,
    }[code](motion, quality, frame)
    if remedy is None:
        limited = code not in (kernels_poses.NON_FINITE, kernels_poses.BAD_VALUE)
        remedy = _RAISE if limited else "Leave it out, or keep its good stretches with motion.quality.cut."
    where = f"{motion.recording.source}: frame {motion.first_frame + frame}"
    total = f"broken frames: {len(broken)} of {count}"
    return Rejection(motion.recording, REASONS[code], f"{where}: {what}; {total}. {remedy}", start)


def _not_finite(motion: Motion | JointMotion, quality: Quality, frame: int) -> str:
    if isinstance(motion, JointMotion):
        wrong = np.flatnonzero(~np.isfinite(motion.joints[frame]).all(-1))
        return f"the position of {BODY_JOINTS[wrong[0]]} is not finite"
    wrong = np.flatnonzero(~np.isfinite(motion.poses[frame]).all(-1))
    where = f"the rotation of joint {wrong[0]}" if len(wrong) else "trans"
    return f"{where} is not finite"


def _out_of_bounds(motion: Motion | JointMotion, quality: Quality, frame: int) -> str:
    if isinstance(motion, JointMotion):
        positions = np.asarray(motion.joints[frame], dtype=np.float64)
        with np.errstate(over="ignore"):
            reach = np.linalg.norm(positions - positions[0], axis=-1)
        if reach.max() > REACH:
            return (
                f"{BODY_JOINTS[int(np.argmax(reach))]} is {_metres(float(reach.max()))} from the pelvis. Expected "
                f"metres, and at most {REACH:g} from the pelvis to any joint"
            )
        far = np.abs(positions).max(axis=-1)
        return f"{BODY_JOINTS[int(np.argmax(far))]} is {_metres(float(far.max()))} from the origin. {_NEAR}"
    turns = np.abs(motion.poses[frame]).max(axis=-1)
    if turns.max() >= FAR:
        joint = int(np.argmax(turns))
        return f"the rotation of joint {joint} is {turns[joint]:.4g} rad. Expected less than {FAR:,.0f}"
    return f"trans is {_metres(float(np.abs(motion.trans[frame]).max()))} from the origin. {_NEAR}"


def _metres(value: float) -> str:
    """A length that may have any size.

    >>> _metres(4.25), _metres(1363.0), _metres(1e37)
    ('4.2 m', '1,363 m', '1e+37 m')
    """
    return f"{value:,.1f} m" if value < 100 else f"{value:,.0f} m" if value < 1e6 else f"{value:.3g} m"


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


def _turning(motion: Motion | JointMotion, quality: Quality, frame: int) -> str:
    values, limit = quality.speeds.pelvis, quality.limits.pelvis_speed * quality.limits.multiplier
    assert values is not None
    value = values[_pair(values, quality.speeds.step, frame)]
    return f"the pelvis turns by {value:,.1f} rad/s, above the limit of {limit:,.1f}"


def _fast(motion: Motion | JointMotion, quality: Quality, frame: int) -> str:
    values, limit = quality.speeds.joint, quality.limits.joint_speed * quality.limits.multiplier
    assert values is not None
    pair = _pair(values, quality.speeds.step, frame)
    joint = BODY_JOINTS[quality.speeds.which[pair]]
    return f"{joint} moves at {values[pair]:,.1f} m/s, above the limit of {limit:,.1f}"


def _pair(values: Float[np.ndarray, "T"], step: int, frame: int) -> int:
    """The frame from which the fastest of the speeds that mark `frame` is measured."""
    first = max(0, frame - step)
    return first + int(np.argmax(values[first:frame]))
