"""Smoothing over time: rotations and places of a person at a constant frame rate.

Savitzky and Golay, Smoothing and Differentiation of Data by Simplified Least Squares Procedures, 1964; Casiez et al.,
1 Euro Filter, 2012.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.signal import savgol_filter
from scipy.spatial.transform import Rotation

from mocap_ray.estimation.options import SmoothOptions

_ORDER = 3


def smooth_rotations(
    rotvecs: Float[np.ndarray, "T J 3"], *, fps: float, options: SmoothOptions
) -> Float[np.ndarray, "T J 3"]:
    """Rotation vectors, smoothed as unit quaternions; rad."""
    frames, joints = rotvecs.shape[:2]
    if options.kind == "none" or frames < 2:
        return rotvecs
    q = Rotation.from_rotvec(rotvecs.reshape(-1, 3)).as_quat().reshape(frames, joints, 4)
    # q and -q are one rotation: each is written as the one that is nearer to the one before.
    flips = np.where((q[1:] * q[:-1]).sum(-1) < 0, -1.0, 1.0)
    q[1:] *= np.cumprod(flips, axis=0)[..., None]
    # Twice the angle between quaternions is that of the rotations.
    savgol = options.kind == "savgol"
    q = _savgol(q, fps, options.window_s) if savgol else _one_euro(q, fps, options, speed=2.0)
    return np.asarray(Rotation.from_quat(q.reshape(-1, 4)).as_rotvec().reshape(frames, joints, 3))


def smooth_path(
    path: Float[np.ndarray, "T 3"], *, fps: float, options: SmoothOptions
) -> Float[np.ndarray, "T 3"]:
    """Positions, smoothed; metres."""
    if options.kind == "none" or len(path) < 2:
        return path
    if options.kind == "savgol":
        return _savgol(path, fps, options.window_s)
    return _one_euro(path[:, None], fps, options, speed=1.0)[:, 0]


def _savgol(values: Float[np.ndarray, "T ..."], fps: float, window_s: float) -> Float[np.ndarray, "T ..."]:
    """A cubic over the window; of a shorter track, over all of it."""
    window = 2 * round(window_s * fps / 2) + 1
    window = min(window, len(values) - (len(values) + 1) % 2)
    if window <= _ORDER:
        return values
    return np.asarray(savgol_filter(values, window, _ORDER, axis=0))


def _one_euro(
    values: Float[np.ndarray, "T J C"], fps: float, options: SmoothOptions, *, speed: float
) -> Float[np.ndarray, "T J C"]:
    """A low-pass filter whose cutoff rises with the speed; `speed`: of a unit of the values."""
    out = np.array(values, np.float64)
    moving = np.zeros_like(out[0])
    slow = _share(np.asarray(1.0), fps)  # the speed itself is filtered at 1 Hz
    for k in range(1, len(out)):
        moving = moving + slow * ((values[k] - values[k - 1]) * fps * speed - moving)
        cutoff = options.cutoff + options.beta * np.linalg.norm(moving, axis=-1, keepdims=True)
        out[k] = out[k - 1] + _share(cutoff, fps) * (values[k] - out[k - 1])
    return out


def _share(cutoff: np.ndarray, fps: float) -> np.ndarray:
    """Weight of a new value in an exponential average with this cutoff frequency, Hz."""
    rate = 2 * np.pi * cutoff / fps
    return np.asarray(rate / (rate + 1))
