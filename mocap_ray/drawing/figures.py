"""Pictures of bodies: film strips, chronophotographs, galleries of poses, and the data of the page's player."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from markupsafe import Markup

from mocap_ray.drawing import svg
from mocap_ray.drawing.stick import HEAD, PX, Camera, body, ghost, grounded, line, shadowed
from mocap_ray.drawing.templates import SHARED, asset


def style() -> str:
    """The CSS of the pictures: pages include it, and so does each SVG unless `standalone=False`."""
    return asset(f"{SHARED}/figures.css")


def excerpt(joints: Float[np.ndarray, "T 22 3"], *, fps: float, seconds: float) -> tuple[int, int]:
    """Start and stop frame of the stretch of at most `seconds` with the most movement; the first of equals."""
    length = min(len(joints), max(2, round(seconds * fps)))
    step = np.linalg.norm(np.diff(joints.astype(np.float64), axis=0), axis=-1).sum(-1)
    path = np.concatenate([[0.0], np.cumsum(step)])
    # Rounded, so that rounding errors do not choose the stretch of a motionless clip.
    start = int(np.argmax(np.round(path[length - 1 :] - path[: len(path) - length + 1], 4)))
    return start, start + length


def film_strip(
    joints: Float[np.ndarray, "T 22 3"],
    *,
    fps: float,
    label: str,
    poses: int = 8,
    first_second: float = 0.0,
    standalone: bool = True,
) -> Markup:
    """Draw poses side by side, evenly spaced in time, each with its time below, as one SVG.

    Args:
        joints: metres, Y up.
        fps: frames per second.
        label: text alternative.
        poses: number of poses; fewer if there are fewer frames.
        first_second: time of frame 0, for the numbers below the floor.
        standalone: include the CSS; pages, which already have it, pass False.
    """
    p = grounded(joints)
    at = np.unique(np.round(np.linspace(0, len(p) - 1, min(poses, len(p)))).astype(int))
    chosen = p[at]
    chosen[..., [0, 2]] -= chosen[:, :1, [0, 2]]  # centre each pose in its cell
    seen = Camera(yaw=np.deg2rad(52)).view(shadowed(chosen))
    low, high = seen[..., 0].min(axis=1), seen[..., 0].max(axis=1)
    widths = np.maximum(high - low, 0.5) + 0.3
    starts = np.concatenate([[0.0], np.cumsum(widths)])
    middles = starts[:-1] + widths / 2
    top, bottom = float(seen[..., 1].max()) + 2 * HEAD + 0.05, -0.14
    parts = [line(0.0, 0.0, starts[-1], 0.0, top, 1.0, "mr-f")]
    for k, frame in enumerate(at):
        parts += body(seen[k], right=middles[k] - 0.5 * (low[k] + high[k]), top=top)
        x, y = PX * float(middles[k]), PX * (top - bottom) + 12
        parts.append(svg.element("text", f"{first_second + frame / fps:.1f} s", class_="mr-n", x=x, y=y))
    height = PX * (top - bottom) + 20
    return _picture(parts, PX * starts[-1], height, label=label, standalone=standalone, align="xMinYMax")


def chronophotograph(
    joints: Float[np.ndarray, "T 22 3"], *, label: str, poses: int = 14, standalone: bool = True
) -> Markup:
    """Draw poses of one clip at their positions in one picture, viewed so that the figure moves to the right.

    Earlier poses are fainter; a short way shows fewer poses. Poses of a motion in place are spread out.
    """
    p = grounded(joints)
    distance = float(np.hypot(*(p[-1, 0] - p[0, 0])[[0, 2]]))
    if distance > 1.0:
        poses = min(poses, max(5, round(distance / 0.3)))
    at = np.unique(np.round(np.linspace(0, len(p) - 1, min(poses, len(p)))).astype(int))
    chosen = p[at]
    travel = chosen[-1, 0] - chosen[0, 0]
    if distance > 1.0:
        seen = Camera(yaw=float(np.arctan2(travel[2], travel[0])) - 0.25).view(shadowed(chosen))
    else:
        chosen[..., [0, 2]] -= chosen[:, :1, [0, 2]]
        seen = Camera(yaw=np.deg2rad(52)).view(shadowed(chosen))
        seen[..., 0] += 0.42 * np.arange(len(at))[:, None]
    left, right = float(seen[..., 0].min()) - 0.15, float(seen[..., 0].max()) + 0.15
    top, bottom = float(seen[..., 1].max()) + 2 * HEAD + 0.06, float(seen[..., 1].min()) - 0.1
    parts = [
        svg.element(
            "g", *body(seen[k], right=-left, top=top), opacity=f"{0.28 + 0.72 * (k + 1) / len(at):.2f}"
        )
        for k in range(len(at))
    ]
    return _picture(parts, PX * (right - left), PX * (top - bottom), label=label, standalone=standalone)


def figures(
    joints: Float[np.ndarray, "N 22 3"], *, labels: Sequence[str], standalone: bool = True
) -> list[Markup]:
    """Draw separate poses, one SVG each, at the same scale and size, all on the ground and facing the same way.

    Raises:
        ValueError: values that are not finite.
    """
    assert len(labels) == len(joints), "a label for each pose"
    if not len(joints):
        return []
    each = np.stack([grounded(pose[None]) for pose in joints])
    return [row[0] for row in _rows(each, labels=[[label] for label in labels], standalone=standalone)]


def variants(
    joints: Float[np.ndarray, "N K 22 3"],
    *,
    hidden: Bool[np.ndarray, "N 22"],
    labels: Sequence[Sequence[str]],
    standalone: bool = True,
) -> list[list[Markup]]:
    """Draw poses and variants of them: K pictures at one scale for each of N poses, the pose itself first.

    Bones of the pose that start at a hidden joint are pale. Variants are drawn at the position of the pose, with dots
    for its bones, so that the differences are visible.

    Raises:
        ValueError: values that are not finite.
    """
    if not len(joints):
        return []
    each = np.stack([grounded(row) for row in joints])
    return _rows(each, labels=labels, standalone=standalone, hidden=hidden)


def _rows(
    p: Float[np.ndarray, "N K 22 3"],
    *,
    labels: Sequence[Sequence[str]],
    standalone: bool,
    hidden: Bool[np.ndarray, "N 22"] | None = None,
) -> list[list[Markup]]:
    """Rows of pictures, all as wide as the widest row requires, each row centred."""
    seen = np.stack([Camera(yaw=np.deg2rad(32)).view(shadowed(row)) for row in p])
    low, high = seen[..., :2].min(axis=(1, 2)), seen[..., :2].max(axis=(1, 2))
    width = max(0.9, float((high - low)[:, 0].max()) + 0.3)
    top, bottom = float(high[:, 1].max()) + 2 * HEAD + 0.04, min(-0.08, float(low[:, 1].min()) - 0.08)
    drawn = []
    for n, texts in enumerate(labels):
        right = 0.5 * (width - low[n, 0] - high[n, 0])
        row = []
        for k, label in enumerate(texts):
            pale = hidden[n] if hidden is not None and k == 0 else None
            parts = body(seen[n, k], right=right, top=top, pale=pale)
            if k:
                parts += ghost(seen[n, 0], seen[n, k], right=right, top=top)
            row.append(_picture(parts, PX * width, PX * (top - bottom), label=label, standalone=standalone))
        drawn.append(row)
    return drawn


def _picture(
    parts: list[Markup], width: float, height: float, *, label: str, standalone: bool, align: str = "xMidYMid"
) -> Markup:
    css = style() if standalone else ""
    return svg.figure(*parts, width=float(width), height=float(height), label=label, style=css, align=align)


def player_data(joints: Float[np.ndarray, "T 22 3"], *, fps: float) -> dict[str, float | int | str]:
    """A motion for the page's animated figure: grounded joints as base64 of little-endian int16.

    Returns:
        `frames`, `fps`, `unit` (metres per step: 1 mm, more where the figure goes farther than 32 m) and
        `data` [T, 22, 3].
    """
    p = grounded(joints)
    unit = max(0.001, float(np.abs(p).max()) / 32767)
    steps = np.round(p / unit).astype("<i2")
    data = base64.b64encode(np.ascontiguousarray(steps).tobytes()).decode()
    return {"frames": len(p), "fps": round(float(fps), 3), "unit": round(unit, 9), "data": data}
