"""Quality figures of a clip, from its joints alone."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

SPEED, ACCELERATION, LOWEST = "fastest joint, m/s", "pelvis, m/s²", "lowest joint, m"


def quality(joints: Float[np.ndarray, "T J 3"], fps: float) -> dict[str, float]:
    """The largest speed of the 22 joints, the largest acceleration of the pelvis, the height of the lowest joint.

    At the rate of these frames; NaN where there are too few.

    Args:
        joints: metres, Y up.
        fps: frames per second.
    """
    body = np.asarray(joints[:, :22], np.float64)
    steps = np.linalg.norm(np.diff(body, axis=0), axis=-1)
    bends = np.linalg.norm(np.diff(body[:, 0], n=2, axis=0), axis=-1)
    return {
        SPEED: float(steps.max()) * fps if steps.size else np.nan,
        ACCELERATION: float(bends.max()) * fps * fps if bends.size else np.nan,
        LOWEST: float(body[..., 1].min()) if body.size else np.nan,
    }
