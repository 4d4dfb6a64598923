"""Stick figures of 22 joints as SVG, and the data of the animated figures on the page.

No drawing library: a figure is some twenty lines. Left limbs are blue and right limbs orange (Okabe and Ito's
colour-blind-safe palette), the trunk takes the text colour; nearer bones are drawn later and thicker.
Colours are CSS variables (`--left`, `--right`, `--trunk`, `--floor`), so a page can restyle the pictures.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from jaxtyping import Bool, Float

from mocap_ray.skeleton import BODY_JOINTS, BODY_PARENTS

STYLE = (
    ".mr-l{stroke:var(--left,#0072b2)}.mr-r{stroke:var(--right,#d55e00)}.mr-t{stroke:var(--trunk,#3c4654)}"
    ".mr-b line,.mr-b circle,.mr-b polygon{stroke-linecap:round;stroke-linejoin:round}"
    ".mr-h{fill:var(--trunk,#3c4654);stroke:none}.mr-c{fill:var(--trunk,#3c4654);fill-opacity:.16;stroke:none}"
    ".mr-s{fill:var(--floor,#8a94a3);fill-opacity:.22}.mr-f{stroke:var(--floor,#8a94a3);stroke-opacity:.55}"
    ".mr-x{stroke:var(--floor,#8a94a3);stroke-opacity:.5}"
    ".mr-g{stroke:var(--floor,#8a94a3);stroke-opacity:.75;stroke-dasharray:1 5}"
    ".mr-n{fill:var(--muted,#5b6675);font:11px system-ui,sans-serif;text-anchor:middle}"
)
"""CSS of the pictures; each SVG holds it unless `standalone=False`."""

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
    """The same motion with its lowest point at y = 0, starting over the origin and facing +Z; float64.

    A first frame without a facing (hips and shoulders above one another) keeps its own direction.

    Raises:
        ValueError: no frames, or values that are not finite.
    """
    if not len(joints) or not np.isfinite(joints).all():
        what = "no frames" if not len(joints) else "values that are not finite"
        raise ValueError(
            f"joints to draw: {what}; expected at least one frame of 22 finite positions in metres."
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


def excerpt(joints: Float[np.ndarray, "T 22 3"], *, fps: float, seconds: float) -> tuple[int, int]:
    """First and last-plus-one frame of the liveliest stretch of at most `seconds`; the first of equals."""
    length = min(len(joints), max(2, round(seconds * fps)))
    step = np.linalg.norm(np.diff(joints.astype(np.float64), axis=0), axis=-1).sum(-1)
    path = np.concatenate([[0.0], np.cumsum(step)])
    # Rounded, so that a standstill does not pick its stretch by the last bits.
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
) -> str:
    """Poses side by side, evenly spaced in time, each with its second below, as one SVG.

    Args:
        joints: metres, Y up.
        fps: frames per second.
        label: the picture in words, for those who do not see it.
        poses: how many; fewer where there are fewer frames.
        first_second: time of frame 0, for the numbers below the floor.
        standalone: hold `STYLE`; pages that have it pass False.
    """
    p = grounded(joints)
    at = np.unique(np.round(np.linspace(0, len(p) - 1, min(poses, len(p)))).astype(int))
    chosen = p[at]
    chosen[..., [0, 2]] -= chosen[:, :1, [0, 2]]  # each over the middle of its own cell
    seen = Camera(yaw=np.deg2rad(52)).view(_shadowed(chosen))
    low, high = seen[..., 0].min(axis=1), seen[..., 0].max(axis=1)
    widths = np.maximum(high - low, 0.5) + 0.3
    starts = np.concatenate([[0.0], np.cumsum(widths)])
    middles = starts[:-1] + widths / 2
    top, bottom = float(seen[..., 1].max()) + 2 * HEAD + 0.05, -0.14
    parts = [_line(0.0, 0.0, starts[-1], 0.0, top, 1.0, "mr-f")]
    for k, frame in enumerate(at):
        parts += _figure(seen[k], right=middles[k] - 0.5 * (low[k] + high[k]), top=top)
        x, y = PX * middles[k], PX * (top - bottom) + 12
        parts.append(f'<text class="mr-n" x="{x:.1f}" y="{y:.1f}">{first_second + frame / fps:.1f} s</text>')
    return _svg(
        parts, PX * starts[-1], PX * (top - bottom) + 20, label=label, standalone=standalone, align="xMinYMax"
    )


def chronophotograph(
    joints: Float[np.ndarray, "T 22 3"], *, label: str, poses: int = 14, standalone: bool = True
) -> str:
    """Poses of one clip where they happened, in one picture, seen so that the travel goes to the right.

    Earlier poses are fainter; slow travel shows fewer of them. A motion that stays in place is fanned out.
    """
    p = grounded(joints)
    distance = float(np.hypot(*(p[-1, 0] - p[0, 0])[[0, 2]]))
    if distance > 1.0:
        poses = min(poses, max(5, round(distance / 0.3)))
    at = np.unique(np.round(np.linspace(0, len(p) - 1, min(poses, len(p)))).astype(int))
    chosen = p[at]
    travel = chosen[-1, 0] - chosen[0, 0]
    if distance > 1.0:
        seen = Camera(yaw=float(np.arctan2(travel[2], travel[0])) - 0.25).view(_shadowed(chosen))
    else:
        chosen[..., [0, 2]] -= chosen[:, :1, [0, 2]]
        seen = Camera(yaw=np.deg2rad(52)).view(_shadowed(chosen))
        seen[..., 0] += 0.42 * np.arange(len(at))[:, None]
    left, right = float(seen[..., 0].min()) - 0.15, float(seen[..., 0].max()) + 0.15
    top, bottom = float(seen[..., 1].max()) + 2 * HEAD + 0.06, float(seen[..., 1].min()) - 0.1
    parts = []
    for k in range(len(at)):
        opacity = 0.28 + 0.72 * (k + 1) / len(at)
        parts += [f'<g opacity="{opacity:.2f}">', *_figure(seen[k], right=-left, top=top), "</g>"]
    return _svg(parts, PX * (right - left), PX * (top - bottom), label=label, standalone=standalone)


def figures(
    joints: Float[np.ndarray, "N 22 3"], *, labels: Sequence[str], standalone: bool = True
) -> list[str]:
    """Unconnected poses, each as an SVG of its own, all of one scale and size; each grounded and facing alike.

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
) -> list[list[str]]:
    """Poses beside variants of them: for each of N, K pictures of one scale, the pose itself first.

    Its bones that hang on a hidden joint are pale. The variants stand where the pose stands, with dots where its
    bones are, so that it shows how far they are off.

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
) -> list[list[str]]:
    """Rows of pictures, all as wide as the widest row needs, each row over its own middle."""
    seen = np.stack([Camera(yaw=np.deg2rad(32)).view(_shadowed(row)) for row in p])
    low, high = seen[..., :2].min(axis=(1, 2)), seen[..., :2].max(axis=(1, 2))
    width = max(0.9, float((high - low)[:, 0].max()) + 0.3)
    top, bottom = float(high[:, 1].max()) + 2 * HEAD + 0.04, min(-0.08, float(low[:, 1].min()) - 0.08)
    drawn = []
    for n, texts in enumerate(labels):
        right = 0.5 * (width - low[n, 0] - high[n, 0])
        row = []
        for k, label in enumerate(texts):
            pale = hidden[n] if hidden is not None and k == 0 else None
            parts = _figure(seen[n, k], right=right, top=top, pale=pale)
            if k:
                parts += _ghost(seen[n, 0], seen[n, k], right=right, top=top)
            row.append(_svg(parts, PX * width, PX * (top - bottom), label=label, standalone=standalone))
        drawn.append(row)
    return drawn


def _svg(
    parts: list[str], width: float, height: float, *, label: str, standalone: bool, align: str = "xMidYMid"
) -> str:
    style = f"<style>{STYLE}</style>" if standalone else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.1f} {height:.1f}" '
        f'preserveAspectRatio="{align}" role="img" aria-label="{escape(label, quote=True)}">'
        f'<title>{escape(label)}</title>{style}<g class="mr-b" fill="none">{"".join(parts)}</g></svg>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, top: float, width: float, css: str) -> str:
    """A line given in metres, `top` being the picture's upper edge."""
    return (
        f'<line class="{css}" x1="{PX * x1:.1f}" y1="{PX * (top - y1):.1f}" x2="{PX * x2:.1f}" '
        f'y2="{PX * (top - y2):.1f}" stroke-width="{width:.1f}"/>'
    )


def _shadowed(p: Float[np.ndarray, "N 22 3"]) -> Float[np.ndarray, "N 23 3"]:
    """Joints and, as a 23rd point, the place on the floor below the root."""
    return np.concatenate([p, p[:, :1] * (1, 0, 1)], axis=1)


def _ghost(
    seen: Float[np.ndarray, "23 3"], other: Float[np.ndarray, "23 3"], *, right: float, top: float
) -> list[str]:
    """Dots for the bones of a pose that lie elsewhere in another one."""
    x, y = seen[:, 0] + right, seen[:, 1]
    off = np.linalg.norm(seen - other, axis=-1) > 0.01
    return [_line(x[a], y[a], x[b], y[b], top, 2.2, "mr-g") for a, b, _ in BONES if off[a] or off[b]]


def _figure(
    seen: Float[np.ndarray, "23 3"], *, right: float, top: float, pale: Bool[np.ndarray, "22"] | None = None
) -> list[str]:
    """One pose with its shadow in view coordinates, far parts first, shifted by `right` metres.

    Bones that hang on a `pale` joint are thin and grey.
    """
    x, y, depth = seen[:, 0] + right, seen[:, 1], seen[:, 2]
    near = np.clip((depth - depth[:22].mean()) / 0.35, -1, 1)
    drawn: list[tuple[float, str]] = []
    for parent, joint, which in BONES:
        d = 0.5 * (depth[parent] + depth[joint])
        width = (7.0 if which != "t" else 6.4) + 1.8 * 0.5 * (near[parent] + near[joint])
        ends = (x[parent], y[parent], x[joint], y[joint], top)
        grey = pale is not None and pale[parent]
        drawn.append((d, _line(*ends, 0.7 * width, "mr-x") if grey else _line(*ends, width, f"mr-{which}")))
    chest = " ".join(f"{PX * x[j]:.1f},{PX * (top - y[j]):.1f}" for j in (16, 17, 2, 1))
    drawn.append((float(depth[[16, 17, 2, 1]].mean()), f'<polygon class="mr-c" points="{chest}"/>'))
    up = seen[15] - seen[12]
    up /= max(float(np.linalg.norm(up)), 1e-6)
    hx, hy = x[15] + 0.75 * HEAD * up[0], y[15] + 0.75 * HEAD * up[1]
    head = f'<circle class="mr-h" cx="{PX * hx:.1f}" cy="{PX * (top - hy):.1f}" r="{PX * HEAD:.1f}"/>'
    drawn.append((float(depth[15]), head))
    shadow = (
        f'<ellipse class="mr-s" cx="{PX * x[22]:.1f}" cy="{PX * (top - y[22]):.1f}" rx="{PX * 0.26:.1f}" '
        f'ry="{PX * 0.05:.1f}"/>'
    )
    return [shadow, *(text for _, text in sorted(drawn, key=lambda item: item[0]))]


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
