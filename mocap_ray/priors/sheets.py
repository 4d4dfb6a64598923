"""Sheets of poses as pixels, for TensorBoard."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

from mocap_ray.priors.pictures import posed_joints
from mocap_ray.skeleton import BODY_PARENTS, PARENTS

HEIGHT, WIDTH = 192, 128
LEFT, RIGHT, TRUNK = (0, 114, 178), (213, 94, 0), (60, 70, 84)
"""Okabe and Ito's blue and orange, as in the other pictures."""


def sheet(poses: Float[np.ndarray, "N 55 3"], *, hands: bool = False) -> UInt8[np.ndarray, "H W 3"]:
    """Stick figures side by side, seen from the front; or left hands above right ones, seen from above.

    Poses that are not finite give an empty panel.
    """
    panels = []
    for pose in poses:
        joints = posed_joints(np.nan_to_num(pose[None]))[0]
        if not np.isfinite(pose).all():
            panels.append(np.full((HEIGHT, WIDTH, 3), 255, np.uint8))
        elif hands:
            panels.append(np.concatenate([_hand(joints, 20, 25, 55), _hand(joints, 21, 40, 60)]))
        else:
            panels.append(_body(joints))
    return np.concatenate(panels, axis=1)


def _body(joints: Float[np.ndarray, "65 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """One body; the pelvis stands in the middle, 2.4 m fill the height."""
    at = joints[:22, :2] - joints[0, :2]
    scale = HEIGHT / 2.4
    points = np.stack([WIDTH / 2 + scale * at[:, 0], HEIGHT / 2 - scale * at[:, 1]], axis=-1)
    bones = [(p, j) for j, p in enumerate(BODY_PARENTS) if p >= 0]
    colours = [
        LEFT if j in (1, 4, 7, 10, 13, 16, 18, 20) else RIGHT if j in (2, 5, 8, 11, 14, 17, 19, 21) else TRUNK
        for _, j in bones
    ]
    return lines(points, bones, colours, height=HEIGHT, width=WIDTH, thick=2.0)


def _hand(joints: Float[np.ndarray, "65 3"], wrist: int, first: int, tips: int) -> UInt8[np.ndarray, "H W 3"]:
    """One hand in half a panel, 26 cm wide; its fingers point away from the body's middle."""
    bones = [(PARENTS["smplx"][j], j) for j in range(first, first + 15)]
    bones += [(first + 3 * k + 2, tips + k) for k in range(5)]
    at = joints[:, [0, 2]] - joints[wrist, [0, 2]]
    side = 1 if wrist == 20 else -1
    scale = WIDTH / 0.26
    points = np.stack(
        [WIDTH * (0.1 if side > 0 else 0.9) + scale * at[:, 0], 0.21 * HEIGHT + scale * at[:, 1]], -1
    )
    colours = [LEFT if side > 0 else RIGHT] * len(bones)
    return lines(points, bones, colours, height=HEIGHT // 2, width=WIDTH, thick=1.5)


def lines(
    points: Float[np.ndarray, "P 2"],
    bones: list[tuple[int, int]],
    colours: list[tuple[int, int, int]],
    *,
    height: int,
    width: int,
    thick: float,
) -> UInt8[np.ndarray, "H W 3"]:
    """Line segments on white, with soft edges: each pixel is covered by how near it is to the segment."""
    y, x = np.mgrid[:height, :width] + 0.5
    picture = np.full((height, width, 3), 255.0)
    for (a, b), colour in zip(bones, colours, strict=True):
        start, along = points[a], points[b] - points[a]
        length = max(float(along @ along), 1e-9)
        share = np.clip(((x - start[0]) * along[0] + (y - start[1]) * along[1]) / length, 0, 1)
        distance = np.hypot(x - start[0] - share * along[0], y - start[1] - share * along[1])
        cover = np.clip(thick + 0.5 - distance, 0, 1)[..., None]
        picture = picture * (1 - cover) + np.array(colour) * cover
    return picture.round().astype(np.uint8)
