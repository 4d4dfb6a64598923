"""Stick figures as RGB arrays for experiment trackers, drawn by Pillow at four times their size and averaged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from mocap_ray.drawing.stick import BONES
from mocap_ray.skeleton import PARENTS

HEIGHT, WIDTH = 192, 128
"""Size of one panel, pixels."""
COLOURS = {"l": (0, 114, 178), "r": (213, 94, 0), "t": (60, 70, 84)}
"""Okabe and Ito's blue and orange, as in the other pictures."""
FINER = 4
"""Pillow's lines have hard edges: pictures are drawn this many times larger and averaged."""
BODY_METRES, HAND_METRES = 2.4, 0.26
"""Metres that the height of a panel covers for a body, and its width for a hand."""

Line = tuple[int, int, tuple[int, int, int]]
"""A line from one point to another, and its colour."""


def sheet(joints: Float[np.ndarray, "N 65 3"], *, hands: bool = False) -> UInt8[np.ndarray, "H W 3"]:
    """Draw poses side by side, seen from the front; or left hands above right ones, seen from above.

    Args:
        joints: metres, Y up: the 55 of SMPL-X, then ten fingertips, left hand first. A pose with non-finite values
            gives an empty panel.
        hands: draw hands instead of bodies.
    """
    panels = []
    for pose in joints:
        if not np.isfinite(pose).all():
            panels.append(np.full((HEIGHT, WIDTH, 3), 255, np.uint8))
        elif hands:
            panels.append(np.concatenate([_hand(pose, "l"), _hand(pose, "r")]))
        else:
            panels.append(_body(pose))
    return np.concatenate(panels, axis=1)


def lines(
    points: Float[np.ndarray, "P 2"], drawn: Sequence[Line], *, height: int, width: int, thick: float
) -> UInt8[np.ndarray, "H W 3"]:
    """Draw lines with round ends and soft edges on white.

    Args:
        points: right and down, pixels; (0, 0) is the corner of the first pixel.
        drawn: the lines, in drawing order.
        height, width: size of the picture.
        thick: width of a line, pixels.
    """
    image = Image.new("RGB", (FINER * width, FINER * height), "white")
    pen = ImageDraw.Draw(image)
    at = FINER * points - 0.5  # Pillow's coordinates are centres of pixels
    radius = FINER * thick / 2
    for start, end, colour in drawn:
        (x1, y1), (x2, y2) = at[start].tolist(), at[end].tolist()
        pen.line((x1, y1, x2, y2), fill=colour, width=round(2 * radius))
        for x, y in ((x1, y1), (x2, y2)):
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return np.asarray(image.reduce(FINER))


def _body(joints: Float[np.ndarray, "65 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """One body, with the pelvis in the middle."""
    at = joints[:22, :2] - joints[0, :2]
    scale = HEIGHT / BODY_METRES
    points = np.stack([WIDTH / 2 + scale * at[:, 0], HEIGHT / 2 - scale * at[:, 1]], axis=-1)
    bones = [(parent, joint, COLOURS[side]) for parent, joint, side in BONES]
    return lines(points, bones, height=HEIGHT, width=WIDTH, thick=4.0)


def _hand(joints: Float[np.ndarray, "65 3"], side: str) -> UInt8[np.ndarray, "H W 3"]:
    """One hand in half a panel; the fingers point away from the middle of the body."""
    wrist, first, tips = (20, 25, 55) if side == "l" else (21, 40, 60)
    bones = [(PARENTS["smplx"][j], j, COLOURS[side]) for j in range(first, first + 15)]
    bones += [(first + 3 * k + 2, tips + k, COLOURS[side]) for k in range(5)]
    at = joints[:, [0, 2]] - joints[wrist, [0, 2]]
    scale = WIDTH / HAND_METRES
    left = WIDTH * (0.1 if side == "l" else 0.9)
    points = np.stack([left + scale * at[:, 0], 0.21 * HEIGHT + scale * at[:, 1]], axis=-1)
    return lines(points, bones, height=HEIGHT // 2, width=WIDTH, thick=3.0)
