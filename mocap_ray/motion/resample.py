"""Resample motion to another frame rate, by striding as HumanML3D does, or by interpolation."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64, Int64

from mocap_ray.motion import kernels_poses
from mocap_ray.motion.bounds import LEAST_FPS, MOST_FPS, in_range
from mocap_ray.motion.clip import JointMotion, Motion

Method = Literal["stride", "interpolate"]


def resample(motion: Motion, *, fps: float, method: Method = "interpolate") -> Motion:
    """The motion at another rate.

    `stride` keeps every floor(source / fps)-th frame, as HumanML3D does, so the result has source / stride
    fps: for 20 fps, 29.5 from 59, 20.83 from 250, and the source's rate if it is lower. `interpolate` gives
    exactly `fps`, from frame 0 to the last time that the source covers: joint rotations along the shortest
    arc (slerp), trans by PCHIP. If the source's rate is an integer multiple of `fps`, both return frames of the
    source, as views.

    Args:
        motion: poses may be a read-only view of a file; only the frames that are needed are read.
        fps: target, frames per second.
        method: `stride` or `interpolate`.

    Degenerate input: a motion of one frame or none is not interpolated.

    Raises:
        ValueError: a frame rate is out of `bounds`, or the method is unknown.
    """
    if stride := _stride(motion.fps, fps, method):
        return _strided(motion, *stride)
    if len(motion.trans) < 2:
        return replace(motion, fps=fps)
    frame, fraction = _grid(len(motion.trans), motion.fps, fps)
    poses = np.empty((len(frame), *motion.poses.shape[1:]))
    kernels_poses.interpolate(
        np.asarray(motion.poses[frame], dtype=np.float64),
        np.asarray(motion.poses[frame + 1], dtype=np.float64),
        fraction,
        poses,
    )
    return replace(motion, fps=fps, poses=poses, trans=_pchip(motion.trans, frame, fraction))


def resample_joints(motion: JointMotion, *, fps: float, method: Method = "interpolate") -> JointMotion:
    """Joints at another rate, like `resample`: frames of the source, or each coordinate interpolated by PCHIP.

    Args:
        motion: joints may be a read-only view of a file.
        fps: target, frames per second.
        method: `stride` or `interpolate`.

    Degenerate input: a motion of one frame or none is not interpolated.

    Raises:
        ValueError: a frame rate is out of `bounds`, or the method is unknown.
    """
    if stride := _stride(motion.fps, fps, method):
        step, reached = stride
        return replace(motion, fps=reached, joints=motion.joints[::step])
    return replace(motion, fps=fps, joints=interpolate_positions(motion.joints, motion.fps, fps))


def _stride(source_fps: float, fps: float, method: str) -> tuple[int, float] | None:
    """The step between frames that are kept, and the resulting rate; None if frames are interpolated."""
    _require_rates(source_fps, fps)
    if method not in ("stride", "interpolate"):
        raise ValueError(f"resample is {method!r}. Expected stride or interpolate.")
    ratio = source_fps / fps
    if method == "stride":
        step = max(1, math.floor(ratio + 1e-9))
        return step, source_fps / step
    step = round(ratio)
    return (step, fps) if step >= 1 and abs(ratio - step) < 1e-9 * ratio else None


def _require_rates(*rates: float) -> None:
    """Raise ValueError for a frame rate out of bounds: the number of frames to make is computed from their ratio."""
    for rate in rates:
        if not in_range(rate):
            raise ValueError(
                f"resample: a frame rate is {rate:g}. Expected {LEAST_FPS:g} to {MOST_FPS:,.0f} frames per second."
            )


def interpolate_positions(
    positions: Float[np.ndarray, "T K 3"], source_fps: float, fps: float
) -> Float64[np.ndarray, "N K 3"]:
    """Joint positions at another rate, each coordinate interpolated by PCHIP: for sources without rotations.

    Args:
        positions: [T, K, 3] metres; fewer than 2 frames are returned as a copy.
        source_fps: frames per second of the positions.
        fps: frames per second of the result.

    Raises:
        ValueError: a rate is out of `bounds`, or a number is not finite.
    """
    _require_rates(source_fps, fps)
    values = np.asarray(positions, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError(
            "interpolate_positions: positions hold numbers that are not finite. Expected metres; leave these frames "
            "out or fill them first."
        )
    if len(values) < 2:
        return values.copy()
    return _pchip(values, *_grid(len(values), source_fps, fps))


def frames_at(frames: int, source_fps: float, fps: float) -> int:
    """The number of frames that interpolation to another rate gives: from frame 0 to the last time that is covered.

    >>> frames_at(241, 24.0, 25.0), frames_at(240, 24.0, 25.0), frames_at(0, 24.0, 25.0)
    (251, 249, 0)
    """
    return math.floor((frames - 1) / source_fps * fps + 1e-9) + 1 if frames > 0 else 0


def _strided(motion: Motion, step: int, fps: float) -> Motion:
    if step == 1:
        return replace(motion, fps=fps)
    return replace(motion, fps=fps, poses=motion.poses[::step], trans=motion.trans[::step])


def _grid(
    frames: int, source_fps: float, fps: float
) -> tuple[Int64[np.ndarray, "N"], Float64[np.ndarray, "N"]]:
    """For t_k = k / fps, up to the last source frame: the source frame and the fraction towards the next one."""
    at = np.arange(frames_at(frames, source_fps, fps)) * (source_fps / fps)
    nearest = np.rint(at)
    at = np.where(np.abs(at - nearest) < 1e-9 * np.maximum(nearest, 1.0), nearest, at)
    frame = np.minimum(at.astype(np.int64), frames - 2)
    return frame, np.minimum(at - frame, 1.0)


def _pchip(
    values: Float[np.ndarray, "T *rest"], frame: Int64[np.ndarray, "N"], fraction: Float64[np.ndarray, "N"]
) -> Float64[np.ndarray, "N *rest"]:
    """Monotone cubic interpolation on an even grid of at least 2 points (Fritsch and Butland 1984), by scipy.

    It takes 1.0 ms for 5,000 frames of trans; a numpy version for even grids took 0.2 ms. Processing a clip takes
    about 13 % longer for it if the ratio of rates is not an integer; otherwise it is not called.
    """
    from scipy.interpolate import (
        PchipInterpolator,
    )  # takes 0.35 s to import; integer ratios of rates do not need it

    values = np.asarray(values, dtype=np.float64)
    smooth = PchipInterpolator(np.arange(len(values)), values, axis=0)(frame + fraction)
    # The end of the last interval: copy the frame of the source instead of evaluating the polynomial.
    at_end = fraction == 1
    smooth[at_end] = values[frame[at_end] + 1]
    return np.asarray(smooth)
