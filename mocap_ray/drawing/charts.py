"""Charts as SVG in HTML: curves, histograms, bands and lines through several axes, with numbers beside their axes.

Text keeps its size at every width: positions are percentages of the picture, and only curves are stretched, with
constant line widths. Colours are CSS variables (`--s0` to `--s7`), set by the page for light and dark. Pointing at a
curve shows its values (`charts.js`), which are stored in its attributes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from mocap_ray.drawing import svg
from mocap_ray.drawing.axes import Axis

STRETCHED = 1000.0
"""Width and height of the coordinates that are stretched to the picture."""


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One curve.

    Attributes:
        name: its name in tooltips.
        x, y: its points.
        colour: index of the page's colour, 0 to 7.
        filled: draw the area down to the axis instead of a line.
        dashed: for reference curves.
        dots: mark each point.
        css: class of the curve, whose colour the page then sets; empty for an ordinary curve.
        attributes: further attributes of the curve's element, such as `data_trial`.
        title: tooltip of browsers without scripts.
    """

    name: str
    x: Float[np.ndarray, "N"]
    y: Float[np.ndarray, "N"]
    colour: int = 0
    filled: bool = False
    dashed: bool = False
    dots: bool = False
    css: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    title: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """A point of a chart that has a meaning of its own."""

    x: float
    y: float
    title: str
    attributes: Mapping[str, str] = field(default_factory=dict)


def chart(
    series: Sequence[Series],
    *,
    x: Axis,
    y: Axis,
    label: str,
    marks: Sequence[Mark] = (),
    height: int = 210,
    small: bool = False,
) -> Markup:
    """Draw curves over one axis.

    Args:
        series: drawn in this order.
        x, y: the axes; values beyond them are drawn on the edge.
        label: text alternative.
        marks: points drawn above the curves.
        height: height of the space for curves, pixels.
        small: no numbers at the left, and only the ends of the axis below; for grids of charts.
    """
    curves = [part for s in series for part in _curve(s, x, y)]
    above = [part for s in series if s.dots for part in _dots(s, x, y)]
    above += [
        svg.element(
            "circle",
            svg.element("title", mark.title),
            cx=svg.share(float(x.at(mark.x))),
            cy=svg.share(1 - float(y.at(mark.y))),
            r=4,
            class_="mark",
            **mark.attributes,
        )
        for mark in marks
    ]
    return frame(curves, x=x, y=y, label=label, above=above, height=height, small=small)


def bars(
    counts: Sequence[int], titles: Sequence[str], *, x: Axis, y: Axis, label: str, height: int = 180
) -> Markup:
    """Draw a histogram whose bars fill the axis, each with its tooltip."""
    wide = STRETCHED / max(1, len(counts))
    drawn = [
        svg.element(
            "rect",
            svg.element("title", title),
            class_="bar",
            x=wide * (k + 0.08),
            width=wide * 0.84,
            y=STRETCHED * (1 - float(y.at(float(count)))),
            height=STRETCHED * float(y.at(float(count))),
        )
        for k, (count, title) in enumerate(zip(counts, titles, strict=True))
    ]
    return frame(drawn, x=x, y=y, label=label, height=height)


def bands(
    mean: Float[np.ndarray, "K"],
    std: Float[np.ndarray, "K"],
    *,
    titles: Sequence[str],
    x: Axis,
    y: Axis,
    label: str,
    height: int = 120,
) -> Markup:
    """Draw a bar from mean - std to mean + std, and a line at the mean, for each of K columns."""
    wide, drawn = STRETCHED / len(mean), []
    zero = STRETCHED * (1 - float(y.at(0.0)))
    drawn.append(svg.element("line", class_="zero", x1=0, x2=STRETCHED, y1=zero, y2=zero))
    room = 0.76 if len(mean) > 10 else 0.36
    low, high = (STRETCHED * (1 - y.at(v)) for v in (mean - std, mean + std))
    middle = STRETCHED * (1 - y.at(mean))
    for k, title in enumerate(titles):
        left = wide * (k + (1 - room) / 2)
        top, bottom, at = float(high[k]), float(low[k]), float(middle[k])
        drawn.append(
            svg.element(
                "g",
                svg.element("title", title),
                svg.element("rect", class_="band", x=left, width=wide * room, y=top, height=bottom - top),
                svg.element("line", class_="mean", x1=left, x2=left + wide * room, y1=at, y2=at),
            )
        )
    return frame(drawn, x=x, y=y, label=label, height=height)


def frame(
    stretched: Sequence[str],
    *,
    x: Axis,
    y: Axis,
    label: str,
    above: Sequence[str] = (),
    height: int,
    small: bool = False,
) -> Markup:
    """Draw axes with numbers and titles around elements; titles may break into lines.

    Args:
        stretched: elements in coordinates of `STRETCHED`, y downwards.
        x, y: the axes.
        label: text alternative.
        above: elements with positions in percent, drawn above.
        height: height of the space for the elements, pixels.
        small: without numbers at the left, smaller below.
    """
    across = [] if small else y.labels(about=4 if height > 140 else 2)
    parts = [
        *(grid for at, _ in across if (grid := _grid(at))),
        svg.element("line", class_="ax", x1=0, x2="100%", y1="100%", y2="100%"),
    ]
    parts += [
        svg.element("text", text, class_="tk", x=0, dx=-7, y=svg.share(1 - at), dy=4, text_anchor="end")
        for at, text in across
    ]
    for at, text in x.labels():
        # The first and last number stay inside a small picture.
        anchor = "middle" if not small else "start" if at < 0.1 else "end" if at > 0.9 else "middle"
        parts.append(
            svg.element("text", text, class_="tk", x=svg.share(at), y="100%", dy=17, text_anchor=anchor)
        )
    parts.append(plane(stretched))
    picture = svg.element(
        "svg", *parts, *above, class_="plot", role="img", aria_label=label, style=f"height:{height}px"
    )
    titles = [
        svg.element("p", text, class_=f"{which}-title") for which, text in (("y", y.title), ("x", x.title))
    ]
    inner = [titles[0], picture, titles[1]] if not small else [picture]
    css = "chart small" if small else "chart"
    return svg.element("div", *inner, class_=css, data_x_title=x.title.partition(" (")[0])


def plane(stretched: Sequence[str]) -> Markup:
    """Elements in coordinates of `STRETCHED`, stretched to the picture around them."""
    size = f"0 0 {svg.number(STRETCHED)} {svg.number(STRETCHED)}"
    place: dict[str, Any] = {
        "viewBox": size,
        "preserveAspectRatio": "none",
        "width": "100%",
        "height": "100%",
    }
    return svg.element("svg", *stretched, class_="plane", **place)


def _grid(at: float) -> Markup | None:
    """A grid line, or None at the bottom, where the axis is."""
    if at <= 1e-6:
        return None
    return svg.element("line", class_="gr", x1=0, x2="100%", y1=svg.share(1 - at), y2=svg.share(1 - at))


def _curve(s: Series, x: Axis, y: Axis) -> list[Markup]:
    across, down = STRETCHED * x.at(s.x), STRETCHED * (1 - y.at(s.y))
    values = {
        "data_name": s.name,
        "data_x": ";".join(map(x.read, s.x.tolist())),
        "data_y": ";".join(map(y.read, s.y.tolist())),
    }
    colour = "" if s.css else f"var(--s{s.colour % 8})"
    title = [svg.element("title", s.title)] if s.title else []
    if s.filled:
        ends = np.array([across[0]]), np.array([across[-1]])
        floor = np.array([STRETCHED])
        shape = svg.points(np.concatenate([ends[0], across, ends[1]]), np.concatenate([floor, down, floor]))
        fill = {"class_": "fl", "style": f"fill:{colour}", "points": shape}
        return [svg.element("polygon", *title, **fill, **values, **s.attributes)]
    pen: dict[str, str | None] = {
        "class_": s.css or "cv",
        "stroke_dasharray": "5 5" if s.dashed else None,
        "points": svg.points(across, down),
    }
    if colour:
        pen["style"] = f"stroke:{colour}"
    return [svg.element("polyline", *title, **pen, **values, **s.attributes)]


def _dots(s: Series, x: Axis, y: Axis) -> list[Markup]:
    places = zip(x.at(s.x).tolist(), y.at(s.y).tolist(), strict=True)
    colour = f"fill:var(--s{s.colour % 8})"
    return [svg.element("circle", style=colour, cx=svg.share(a), cy=svg.share(1 - b), r=4) for a, b in places]


def density(values: Float[np.ndarray, "N"], axis: Axis, *, bins: int = 48) -> tuple[Any, Any]:
    """A histogram as a curve: centres of the bins, share of all values in each.

    Values outside of the axis count in the first and the last bin, so that none are hidden.
    """
    edges = axis.edges(bins)
    inside = np.clip(values[np.isfinite(values)], edges[0], edges[-1])
    counts = np.histogram(inside, edges)[0]
    return 0.5 * (edges[1:] + edges[:-1]), counts / max(1, len(values))


def cumulative(
    values: Float[np.ndarray, "N"], *, points: int = 101
) -> tuple[Float[np.ndarray, "M"], Float[np.ndarray, "M"]]:
    """The share of values up to each of evenly spaced quantiles: a curve from 0 to 1."""
    share = np.linspace(0.0, 1.0, points)
    return np.quantile(values, share), share
