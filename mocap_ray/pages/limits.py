"""The page of joint limits: for each joint its swings on a disc and its twist as an arc."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from mocap_ray.drawing import svg, templates
from mocap_ray.pages import TEMPLATES
from mocap_ray.pages.prior_charts import REAL
from mocap_ray.priors.judging.limits import Bone, Limits, Range

RINGS = (10.0, 20.0, 45.0, 90.0, 135.0, 180.0)
"""Radii that a disc may have, degrees of swing."""
RADIUS = 70.0
"""Radius of the disc in the picture."""
ARCS = {"data": 80.0, "prior": 88.0}
"""Radii of the arcs of twist, outside of the disc."""
SIZE = 2 * (max(ARCS.values()) + 8.0)


@dataclass(frozen=True, slots=True)
class Panel:
    """The picture of a joint and its rows: a name, the range in the training poses, the range of the prior."""

    name: str
    svg: Markup
    rows: list[tuple[str, str, str]]


def limits_page(limits: Limits, *, name: str) -> str:
    """The page as HTML; equal limits give the same page."""
    low, high = (f"{100 * q:g} %" for q in limits.quantiles)
    return templates.render_page(
        f"{TEMPLATES}/limits.html.j2",
        title=f"{name} · joint limits",
        styles=[f"{TEMPLATES}/limits.css"],
        name=name,
        limits=limits,
        low=low,
        high=high,
        panels=[panel(joint, limits) for joint in limits.bones],
        real_colour=REAL,
    )


def panel(joint: str, limits: Limits) -> Panel:
    """Draw a joint: dots and the filled region are training poses, the line is the prior."""
    bone, data, prior = limits.bones[joint], limits.data[joint], limits.prior[joint]
    title = joint.replace("_", " ")
    most = max(
        (float(np.linalg.norm(p, axis=1).max()) for p in (data.outline, prior.outline) if len(p)), default=0.0
    )
    ring = next((r for r in RINGS if r >= most), RINGS[-1])
    label = (
        f"{title}: swing about {bone.names[0]} {_span(data.swing[0])}, about {bone.names[1]} {_span(data.swing[1])}, "
        f"twist {_span(data.twist)} in training poses"
    )
    parts = [
        *_disc(bone, ring),
        _cloud(data.cloud, ring),
        _region(data.outline, ring, css="region"),
        _region(prior.outline, ring, css="prior"),
        *_arcs(data, "data"),
        *_arcs(prior, "prior"),
    ]
    picture = svg.element(
        "svg",
        svg.element("title", label),
        *parts,
        viewBox=f"{svg.number(-SIZE / 2)} {svg.number(-SIZE / 2)} {svg.number(SIZE)} {svg.number(SIZE)}",
        class_="disc",
        role="img",
        aria_label=label,
    )
    return Panel(title, picture, _rows(bone, data, prior))


def _rows(bone: Bone, data: Range, prior: Range) -> list[tuple[str, str, str]]:
    swings = [
        (f"swing {name}", _span(a), _span(b))
        for name, a, b in zip(bone.names, data.swing, prior.swing, strict=True)
    ]
    return [*swings, ("twist", _span(data.twist), _span(prior.twist))]


def _span(ends: Float[np.ndarray, "2"]) -> str:
    """A range in whole degrees.

    >>> _span(np.array([-12.4, 130.6]))
    '-12 to 131°'
    """
    low, high = (f"{v:.0f}".replace("-0", "0") if abs(v) < 0.5 else f"{v:.0f}" for v in ends)
    return f"{low} to {high}°"


def _disc(bone: Bone, ring: float) -> list[Markup]:
    """The disc with two rings and its axes; the twist's zero is at the top."""
    rings = [
        svg.element("circle", class_="ring", cx=0, cy=0, r=RADIUS * share, fill="none")
        for share in (0.5, 1.0)
    ]
    lines = [
        svg.element("line", class_="ring", x1=-RADIUS, x2=RADIUS, y1=0, y2=0),
        svg.element("line", class_="ring", x1=0, x2=0, y1=-RADIUS, y2=RADIUS),
    ]
    texts = [
        svg.element("text", f"{ring:g}°", class_="tick", x=RADIUS - 3, y=-3, text_anchor="end"),
        svg.element("text", bone.names[0], class_="tick", x=-RADIUS + 3, y=-3),
        svg.element("text", bone.names[1], class_="tick", x=4, y=-RADIUS + 10),
    ]
    return [*rings, *lines, *texts]


def _place(points: Float[np.ndarray, "K 2"], ring: float) -> Float[np.ndarray, "K 2"]:
    """Degrees of swing to the picture, the first axis to the right, the second one up; clipped to the disc."""
    length = np.linalg.norm(points, axis=1, keepdims=True)
    inside = points * np.minimum(1.0, ring / np.maximum(length, 1e-9))
    return np.asarray(RADIUS / ring * inside * np.array([1.0, -1.0]))


def _cloud(points: Float[np.ndarray, "n 2"], ring: float) -> Markup:
    """Dots, as one path."""
    places = _place(points, ring)
    path = "".join(f"M{svg.number(float(x))} {svg.number(float(y))}h0" for x, y in places)
    return svg.element("path", class_="cloud", d=path or "M0 0")


def _region(corners: Float[np.ndarray, "K 2"], ring: float, *, css: str) -> Markup:
    places = _place(corners, ring).reshape(-1, 2)
    return svg.element("polygon", class_=css, points=svg.points(places[:, 0], places[:, 1]))


def _arcs(found: Range, kind: str) -> list[Markup]:
    """The range of the twist as an arc, clockwise from the top; all around from a whole turn on."""
    r, (low, high) = ARCS[kind], found.twist.tolist()
    if high - low >= 359.9:
        return [svg.element("circle", class_=f"arc {kind}", cx=0, cy=0, r=r)]
    # An arc of no length is a dot, by its round ends.
    ends = [_on_circle(r, a) for a in (low, max(high, low + 0.5))]
    large = int(high - low > 180)
    start, stop = (" ".join(svg.number(v) for v in end) for end in ends)
    zero = [svg.element("line", class_="ring", x1=0, x2=0, y1=-ARCS["data"] - 5, y2=-ARCS["prior"] - 6)]
    curve = svg.element("path", class_=f"arc {kind}", d=f"M{start}A{r:g} {r:g} 0 {large} 1 {stop}")
    return [*(zero if kind == "data" else []), curve]


def _on_circle(r: float, degrees: float) -> Sequence[float]:
    turn = np.radians(degrees)
    return float(r * np.sin(turn)), float(-r * np.cos(turn))
