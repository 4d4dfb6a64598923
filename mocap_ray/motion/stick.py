"""A stick figure of five lines, as recorded or seen from a chosen side."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float, Float32, Float64

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
_PELVIS = 1
"""Its first place among the ends."""
_LEFT = [BODY_JOINTS.index(name) for name in ("left_hip", "left_shoulder")]
_RIGHT = [BODY_JOINTS.index(name) for name in ("right_hip", "right_shoulder")]

View = Literal["recorded", "front", "side"]


def stick(joints: Float[np.ndarray, "T 22 3"]) -> Float32[np.ndarray, "T 20"]:
    """Five lines (x1, y1, x2, y2) per frame: torso, left leg, right leg, left arm, right arm.

    An orthographic view along -Z, in metres, Y up: a person facing +Z is seen from the front, with their left
    on the viewer's right. Neither translated nor scaled; the format is that of stick-gen's five lines, in the order
    in which it draws them.

    Args:
        joints: [T, 22, 3] metres, Y up. Values that are not finite are kept.
    """
    return flat(joints[:, _ENDS])


def ends(joints: Float[np.ndarray, "T 22 3"]) -> Float64[np.ndarray, "T 10 3"]:
    """The ends of the five lines in space, metres, so that they can still be turned; `flat` gives the lines."""
    return joints[:, _ENDS].astype(np.float64)


def flat(points: Float[np.ndarray, "T 10 3"]) -> Float32[np.ndarray, "T 20"]:
    """The lines that a viewer sees along -Z."""
    return points[..., :2].astype(np.float32).reshape(len(points), 20)


def raised(lines: Float[np.ndarray, "T 20"]) -> Float64[np.ndarray, "T 10 3"]:
    """The ends of lines that `flat` gave, in the plane z = 0."""
    points = np.zeros((len(lines), 10, 3))
    points[..., :2] = lines.reshape(len(lines), 10, 2)
    return points


def turned(
    points: Float[np.ndarray, "T 10 3"], start: Float[np.ndarray, "22 3"], *, view: View
) -> Float64[np.ndarray, "T 10 3"]:
    """The ends of the lines turned about the vertical, and moved so that they begin above the origin, for a view.

    Args:
        points: as `ends` gives them, at least one frame.
        start: [22, 3] joints of the first frame or the nearest one, which then face the viewer (`front`, +Z) or the
            viewer's right (`side`, +X). If hips and shoulders are above one another, they keep their direction.
        view: `recorded` changes nothing.
    """
    if view == "recorded":
        return np.asarray(points, np.float64)
    across = (start[_LEFT] - start[_RIGHT]).sum(axis=0)
    length = float(np.hypot(across[0], across[2]))
    c, s = (across[0] / length, across[2] / length) if length > 1e-6 else (1.0, 0.0)
    x, z = points[..., 0] - points[0, _PELVIS, 0], points[..., 2] - points[0, _PELVIS, 2]
    right, near = c * x + s * z, c * z - s * x  # facing the viewer: the body's left is on the viewer's right
    if view == "side":
        right, near = near, -right
    return np.stack([right, points[..., 1], near], axis=-1)
