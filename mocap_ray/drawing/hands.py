"""Pictures of two hands, backs up, fingers away from the viewer."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from markupsafe import Markup

from mocap_ray.drawing import svg
from mocap_ray.skeleton import SMPLX_JOINTS

FINGERS = ("index", "middle", "pinky", "ring", "thumb")
SIDES = (("left", 1.0, 105.0), ("right", -1.0, 325.0))
"""Name, direction of the fingers along X at rest, and position of the wrist in the picture."""
SIZE = (430.0, 250.0)
TILT = np.deg2rad(38.0)
"""Hands are viewed from above and slightly from the wrist, so that bent fingers are visible."""
PX = 1000.0
"""Pixels per metre of a hand."""


def hands(
    joints: Float[np.ndarray, "65 3"],
    *,
    label: str,
    style: str = "",
    pale: Bool[np.ndarray, "55"] | None = None,
    over: Float[np.ndarray, "65 3"] | None = None,
) -> Markup:
    """Draw both hands as one SVG.

    Args:
        joints: metres, those of SMPL-X and then ten fingertips, left hand first.
        label: text alternative.
        style: CSS to include.
        pale: joints whose bones are drawn thin and grey.
        over: another pose, drawn as dots where it differs.
    """
    parts = []
    for which, sign, middle in SIDES:
        bones = _hand(joints, which, sign, middle, pale=pale)
        # Dots only where the two differ: equal bones are drawn once.
        kept = {ends for _, ends, _ in bones}
        dots = [] if over is None else _hand(over, which, sign, middle, css="mr-g")
        parts += [_line(*bone) for bone in bones]
        parts += [_line(*dot) for dot in dots if dot[1] not in kept]
    return svg.figure(*parts, width=SIZE[0], height=SIZE[1], label=label, style=style)


Ends = tuple[float, float, float, float]


def _line(css: str, ends: Ends, width: float) -> Markup:
    x1, y1, x2, y2 = ends
    return svg.element("line", class_=css, x1=x1, y1=y1, x2=x2, y2=y2, stroke_width=float(width))


def _hand(
    pose: Float[np.ndarray, "65 3"],
    which: str,
    sign: float,
    middle: float,
    *,
    pale: Bool[np.ndarray, "55"] | None = None,
    css: str | None = None,
) -> list[tuple[str, Ends, float]]:
    """Class, ends and width of each bone of one hand, far ones first; with `css`, all are thin and of that class."""
    wrist = pose[SMPLX_JOINTS.index(f"{which}_wrist")]
    first = 55 + (5 if which == "right" else 0)
    bones: list[tuple[float, str, Ends, float]] = []
    for k, finger in enumerate(FINGERS):
        chain = [SMPLX_JOINTS.index(f"{which}_{finger}{n}") for n in (1, 2, 3)]
        points = np.array([wrist, *pose[chain], pose[first + k]]) - wrist
        ahead, up, right = sign * points[:, 0], points[:, 1], sign * points[:, 2]
        x = np.round(middle + PX * right, 1)
        y = np.round(200.0 - PX * (np.cos(TILT) * ahead + np.sin(TILT) * up), 1)
        for n in range(4):
            kind, width = f"mr-{'t' if n == 0 else which[0]}", (6.0, 9.5, 8.0, 7.0)[n]
            if css is not None:
                kind, width = css, 2.6
            elif n and pale is not None and pale[chain[n - 1]]:
                kind, width = "mr-x", 5.0
            ends = (float(x[n]), float(y[n]), float(x[n + 1]), float(y[n + 1]))
            bones.append((float(0.5 * (up[n] + up[n + 1])), kind, ends, width))
    return [(kind, ends, width) for _, kind, ends, width in sorted(bones, key=lambda bone: bone[0])]
