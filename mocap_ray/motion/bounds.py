"""Bounds on the numbers of a file: what lies beyond is no motion of a person, or would fill the memory.

Frames are checked by the quality checks (`motion/quality.py`), the other numbers of a recording here.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from mocap_ray.motion.clip import JointMotion, Motion, Reason
from mocap_ray.records import Recording, Rejection

FAR = 1024.0
"""Bound on coordinates, metres, and on components of rotation vectors, rad. Up to 1,024 m float32 resolves 0.06 mm, and
the data format promises 0.1 mm; 1,024 rad are 163 turns, more than any program that adds up turns has in one take. A
power of two, so that the exponent of a float64 alone decides."""

REACH = 3.0
"""Metres from the pelvis to any joint, at most: the tallest person on record measured 2.72 m. Beyond it, the unit is
rarely metres (millimetres and centimetres give bodies of 1,700 and 170 m)."""

MOST_BETA = 100.0
"""Shape coefficients count standard deviations of the population: 8 billion people span about 6.5 of them, and fits
to few markers a few times as many."""

LEAST_FPS, MOST_FPS = 1.0, 10_000.0
"""Frame rates. Below 1 fps more than 20 or 30 frames would be invented between two; the fastest cameras of motion
capture reach 2,000 fps at full resolution."""

LONGEST = 12 * 3600.0
"""Seconds of a recording. A day in the studio is shorter, and the poses of 12 hours at 30 fps take 1.7 GB."""


def in_range(fps: float) -> bool:
    """Whether a frame rate is between `LEAST_FPS` and `MOST_FPS`; NaN is not."""
    return LEAST_FPS <= fps <= MOST_FPS


def out_of_bounds(motion: Motion | JointMotion) -> Rejection[Recording] | None:
    """The rejection of a recording whose frame rate, duration or shape coefficients are out of bounds, or None."""
    what = _rate(motion)
    reason = Reason.BAD_VALUE
    if what is None and isinstance(motion, Motion) and len(motion.betas):
        what = _betas(motion.betas)
        reason = Reason.BAD_VALUE if np.isfinite(motion.betas).all() else Reason.NON_FINITE
    return None if what is None else Rejection(motion.recording, reason, f"{motion.recording.source}: {what}")


def unlikely_body(motion: Motion, rest: Float[np.ndarray, "J 3"]) -> Rejection[Recording] | None:
    """The rejection of a recording whose shaped body reaches too far, or None.

    Args:
        motion: the recording.
        rest: [J, 3] metres, joints of the shaped body at rest.
    """
    reach = float(np.linalg.norm(rest - rest[0], axis=-1).max())
    if reach <= REACH:
        return None
    what = (
        f"its shape coefficients give a body of {reach:.4g} m from the pelvis to the furthest joint. Expected at most "
        f"{REACH:g} m; leave the recording out, or use fewer coefficients (body.betas)."
    )
    return Rejection(motion.recording, Reason.BAD_VALUE, f"{motion.recording.source}: {what}")


def _rate(motion: Motion | JointMotion) -> str | None:
    if not in_range(motion.fps):
        return (
            f"its frame rate is {motion.fps:g}. Expected {LEAST_FPS:g} to {MOST_FPS:,.0f} frames per second; pass "
            "source.fps in the config to override."
        )
    seconds = len(motion.root) / motion.fps
    if seconds > LONGEST:
        return (
            f"{len(motion.root):,} frames at {motion.fps:g} fps are {seconds / 3600:,.0f} hours. Expected at most "
            f"{LONGEST / 3600:.0f}; if the frame rate is wrong, pass source.fps in the config, else cut the recording."
        )
    return None


def _betas(betas: Float[np.ndarray, "B"]) -> str | None:
    """Why shape coefficients are no shape of a person, or None."""
    inside = np.abs(betas) <= MOST_BETA
    if inside.all():
        return None
    worst = int(np.argmin(inside))
    return (
        f"shape coefficient {worst} is {betas[worst]:g}. Expected standard deviations between -{MOST_BETA:g} and "
        f"{MOST_BETA:g}; correct 'betas', or leave the recording out."
    )
