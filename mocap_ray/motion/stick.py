"""A stick figure of five lines."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32

from mocap_ray.skeleton import BODY_JOINTS

LINES: tuple[tuple[str, str], ...] = (
    ("neck", "pelvis"),
    ("pelvis", "left_ankle"),
    ("pelvis", "right_ankle"),
    ("neck", "left_wrist"),
    ("neck", "right_wrist"),
)
"""The lines in order; each goes from the first joint (x1, y1) to the second (x2, y2)."""

_ENDS = [BODY_JOINTS.index(joint) for line in LINES for joint in line]


def stick(joints: Float[np.ndarray, "T 22 3"]) -> Float32[np.ndarray, "T 20"]:
    """Five lines (x1, y1, x2, y2) per frame: torso, left leg, right leg, left arm, right arm.

    An orthographic view along -Z, in metres, Y up: a person facing +Z is seen from the front, with their left
    on the viewer's right. Neither translated nor scaled; the format is that of stick-gen's five lines.

    Args:
        joints: [T, 22, 3] metres, Y up. Values that are not finite are kept.
    """
    return joints[:, _ENDS, :2].astype(np.float32).reshape(len(joints), 20)
