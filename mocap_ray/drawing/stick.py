"""One stick figure of 22 joints as SVG elements: its placement, the camera, and its bones.

Left limbs are blue and right limbs orange (Okabe and Ito's colour-blind-safe palette), the trunk has the text
colour; nearer bones are drawn later and thicker. Colours are CSS variables (`--left`, `--right`, `--trunk`,
`--floor`), so a page can restyle the pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from markupsafe import Markup

from mocap_ray.drawing import svg
from mocap_ray.skeleton import BODY_JOINTS, BODY_PARENTS

PX = 100.0
"""Pixels per metre in the pictures' own units; they scale with the page."""

HEAD = 0.10
"""Radius of the head, metres."""


def side(joint: int) -> str:
    """`l`, `r` or `t` (trunk) of a joint.

    >>> side(4), side(5), side(15)
    ('l', 'r', 't')
    """
    name = BODY_JOINTS[joint]
    return name[0] if name.startswith(("left_", "right_")) else "t"


BONES: tuple[tuple[int, int, str], ...] = tuple((p, j, side(j)) for j, p in enumerate(BODY_PARENTS) if p >= 0)
"""Parent, joint and side of the 21 bones."""


@dataclass(frozen=True, slots=True)
class Camera:
    """An orthographic view: the figure turned by `yaw` about the vertical, seen from `pitch` above; rad."""

    yaw: float
    pitch: float = np.deg2rad(11.0)

    def view(self, points: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, "*B 3"]:
        """World metres, Y up, to (right, up, towards the viewer), metres."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        x, y, z = points[..., 0], points[..., 1], points[..., 2]
        right, near = c * x + s * z, c * z - s * x
        up = np.cos(self.pitch) * y - np.sin(self.pitch) * near
        return np.stack([right, up, np.sin(self.pitch) * y + np.cos(self.pitch) * near], axis=-1)


def grounded(joints: Float[np.ndarray, "T 22 3"]) -> Float[np.ndarray, "T 22 3"]:
    """The same motion with its lowest point at y = 0, starting above the origin and facing +Z; float64.

    A first frame without a facing (hips and shoulders above one another) keeps its direction.

    Raises:
        ValueError: no frames, or values that are not finite.
    """
    if not len(joints) or not np.isfinite(joints).all():
        found = "no frames" if not len(joints) else "values that are not finite"
        raise ValueError(
            f"joints to draw: {found}; expected at least one frame of 22 finite positions in metres."
        )
    p = np.array(joints, np.float64)
    p[..., 1] -= p[..., 1].min()
    p[..., [0, 2]] -= p[0, 0, [0, 2]]
    across = (p[0, 1] - p[0, 2]) + (p[0, 16] - p[0, 17])  # to the body's left, which is +X when it faces +Z
    length = np.hypot(across[0], across[2])
    if length < 1e-6:
        return p
    c, s = across[0] / length, across[2] / length
    x, z = p[..., 0].copy(), p[..., 2].copy()
    p[..., 0], p[..., 2] = c * x + s * z, c * z - s * x
    return p


def shadowed(p: Float[np.ndarray, "N 22 3"]) -> Float[np.ndarray, "N 23 3"]:
    """Joints and, as a 23rd point, the point on the floor below the root."""
    return np.concatenate([p, p[:, :1] * (1, 0, 1)], axis=1)


def line(x1: float, y1: float, x2: float, y2: float, top: float, width: float, css: str) -> Markup:
    """A line given in metres; `top` is the upper edge of the picture."""
    return svg.element(
        "line",
        class_=css,
        x1=PX * float(x1),
        y1=PX * float(top - y1),
        x2=PX * float(x2),
        y2=PX * float(top - y2),
        stroke_width=float(width),
    )


def ghost(
    seen: Float[np.ndarray, "23 3"], other: Float[np.ndarray, "23 3"], *, right: float, top: float
) -> list[Markup]:
    """Dots for the bones of a pose that lie elsewhere in another pose."""
    x, y = seen[:, 0] + right, seen[:, 1]
    off = np.linalg.norm(seen - other, axis=-1) > 0.01
    return [line(x[a], y[a], x[b], y[b], top, 2.2, "mr-g") for a, b, _ in BONES if off[a] or off[b]]


def body(
    seen: Float[np.ndarray, "23 3"], *, right: float, top: float, pale: Bool[np.ndarray, "22"] | None = None
) -> list[Markup]:
    """One pose with its shadow in view coordinates, far parts first, shifted by `right` metres.

    Bones that start at a `pale` joint are thin and grey.
    """
    x, y, depth = seen[:, 0] + right, seen[:, 1], seen[:, 2]
    near = np.clip((depth - depth[:22].mean()) / 0.35, -1, 1)
    drawn: list[tuple[float, Markup]] = []
    for parent, joint, which in BONES:
        d = 0.5 * (depth[parent] + depth[joint])
        width = (7.0 if which != "t" else 6.4) + 1.8 * 0.5 * (near[parent] + near[joint])
        ends = (x[parent], y[parent], x[joint], y[joint], top)
        grey = pale is not None and pale[parent]
        drawn.append((d, line(*ends, 0.7 * width, "mr-x") if grey else line(*ends, width, f"mr-{which}")))
    trunk = [16, 17, 2, 1]
    chest = svg.points(PX * x[trunk], PX * (top - y[trunk]))
    drawn.append((float(depth[trunk].mean()), svg.element("polygon", class_="mr-c", points=chest)))
    up = seen[15] - seen[12]
    up /= max(float(np.linalg.norm(up)), 1e-6)
    hx, hy = x[15] + 0.75 * HEAD * up[0], y[15] + 0.75 * HEAD * up[1]
    head = svg.element("circle", class_="mr-h", cx=PX * float(hx), cy=PX * float(top - hy), r=PX * HEAD)
    drawn.append((float(depth[15]), head))
    middle = {"cx": PX * float(x[22]), "cy": PX * float(top - y[22])}
    shadow = svg.element("ellipse", class_="mr-s", **middle, rx=PX * 0.26, ry=PX * 0.05)
    return [shadow, *(part for _, part in sorted(drawn, key=lambda item: item[0]))]
