"""A picture of stick figures of five lines: each sample as a moving figure and as a strip, one pose a second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from mocap_ray.drawing import svg
from mocap_ray.drawing.templates import SHARED, asset

SIDES = "tlrlr"
"""Trunk, left or right: the colour of each of the five lines of `motion.stick`."""

PX = 62.0
"""Pixels per metre."""
CELL, MARGIN, HEAD = 92.0, 20.0, 0.11
"""Width of a pose and of the margin, pixels; radius of the head, metres."""

_CSS = (
    ".mr-w{fill:#fff}.mr-d{fill:#131a22;font:600 14px system-ui,sans-serif}"
    ".mr-i{fill:#566272;font:12px system-ui,sans-serif}.mr-e{stroke:#dde2e8}"
    "@media (prefers-reduced-motion:reduce){.mr-a{display:none}}"
)


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A sample to draw.

    Attributes:
        lines: [T, 20] five lines (x1, y1, x2, y2) per frame, metres, Y up, the first from neck to pelvis.
        frames: frames before the padding.
        title: the caption.
        about: what else to say.
    """

    lines: Float[np.ndarray, "T 20"]
    frames: int
    title: str
    about: str


def sheet(rows: Sequence[Row], *, fps: float) -> Markup:
    """Draw samples one below the other: caption, the figure moving at true speed, and a pose each second.

    Below each pose are its time and the place of the pelvis along x; poses of the padding are pale. Each pose is
    centred in its cell. The head is drawn to help the eye: the lines have none.

    Args:
        rows: at least one sample, all of the same length.
        fps: frames per second.
    """
    top, parts = MARGIN, []
    cells = 1 + round(len(rows[0].lines) / fps)
    width = 2 * MARGIN + CELL * cells
    for number, row in enumerate(rows):
        drawn, height = _row(row, top, fps)
        if number:
            parts.append(_rule(top - 10, width, "mr-e"))
        parts += drawn
        top += height
    paper = svg.element("rect", class_="mr-w", width=width, height=top)
    what = f"{len(rows)} samples as stick figures of five lines"
    style = asset(f"{SHARED}/figures.css") + _CSS
    return svg.figure(paper, *parts, width=width, height=top, label=what, style=style)


def _row(row: Row, top: float, fps: float) -> tuple[list[Markup], float]:
    """The elements of a sample, and their height."""
    ends = row.lines.reshape(len(row.lines), 10, 2).astype(np.float64)
    floor, high = float(ends[..., 1].min()), float(ends[..., 1].max()) + 2.5 * HEAD
    middle = 0.5 * (ends[:, :1, :1] + ends[:, 1:2, :1])
    seen = np.concatenate([ends[..., :1] - middle, high - ends[..., 1:]], axis=-1) * PX
    ground = top + 44 + PX * (high - floor)
    parts = [
        svg.element("text", row.title, class_="mr-d", x=MARGIN, y=top + 14),
        svg.element("text", row.about, class_="mr-i", x=MARGIN, y=top + 31),
        _rule(ground, 2 * MARGIN + CELL * (1 + round(len(ends) / fps)), "mr-f"),
        _placed(_moving(seen, fps), 0, top, css="mr-a"),
    ]
    for second in range(round(len(ends) / fps)):
        frame = round(second * fps)
        padded = frame >= row.frames
        parts.append(_placed(_pose(seen[frame], pale=padded), second + 1, top))
        under = "padded" if padded else f"x = {ends[frame, 1, 0]:.1f} m".replace("-0.0", "0.0")
        x = MARGIN + CELL * (second + 1.5)
        parts.append(svg.element("text", f"{second} s", class_="mr-n", x=x, y=ground + 15))
        parts.append(svg.element("text", under, class_="mr-n", x=x, y=ground + 29))
    return parts, ground - top + 54


def _rule(y: float, width: float, css: str) -> Markup:
    return svg.element("line", class_=css, x1=MARGIN, y1=y, x2=width - MARGIN, y2=y)


def _placed(parts: list[Markup], cell: int, top: float, *, css: str | None = None) -> Markup:
    """Elements of a pose, in a cell of their row."""
    x, y = svg.number(MARGIN + CELL * (cell + 0.5)), svg.number(top + 44)
    return svg.element("g", *parts, class_=css, transform=f"translate({x} {y})")


def _head(seen: Float[np.ndarray, "*T 10 2"]) -> Float[np.ndarray, "*T 2"]:
    """The middle of the head: above the neck, in the direction of the trunk."""
    up = seen[..., 0, :] - seen[..., 1, :]
    length = np.maximum(np.linalg.norm(up, axis=-1, keepdims=True), 1e-6)
    return np.asarray(seen[..., 0, :] + 1.3 * HEAD * PX * up / length)


def _pose(seen: Float[np.ndarray, "10 2"], *, pale: bool) -> list[Markup]:
    """The five lines of a frame and a head."""
    (x, y), radius = _head(seen).tolist(), HEAD * PX
    parts = [svg.element("circle", class_="mr-x", cx=x, cy=y, r=radius, stroke_width=2.0)]
    for k, side in enumerate(SIDES):
        (x1, y1), (x2, y2) = seen[2 * k : 2 * k + 2].tolist()
        css = "mr-x" if pale else f"mr-{side}"
        parts.append(svg.element("line", class_=css, x1=x1, y1=y1, x2=x2, y2=y2, stroke_width=4.0))
    return parts


def _moving(seen: Float[np.ndarray, "T 10 2"], fps: float) -> list[Markup]:
    """The same, moving: each value lasts one frame, so the speed is that of the sample."""
    length = f"{len(seen) / fps:g}s"

    def moved(name: str, values: Float[np.ndarray, "T"]) -> Markup:
        return svg.element(
            "animate",
            attributeName=name,
            values=";".join(svg.number(v) for v in values.tolist()),
            dur=length,
            calcMode="discrete",
            repeatCount="indefinite",
        )

    head = _head(seen)
    ring = [moved("cx", head[:, 0]), moved("cy", head[:, 1])]
    parts = [svg.element("circle", *ring, class_="mr-x", r=HEAD * PX, stroke_width=2.0)]
    for k, side in enumerate(SIDES):
        names = (("x1", 2 * k, 0), ("y1", 2 * k, 1), ("x2", 2 * k + 1, 0), ("y2", 2 * k + 1, 1))
        ends = [moved(name, seen[:, end, axis]) for name, end, axis in names]
        parts.append(svg.element("line", *ends, class_=f"mr-{side}", stroke_width=4.0))
    return parts
