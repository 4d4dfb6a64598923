"""Plain charts as inline SVG for the pages about models: lines, filled curves, dots on a scale.

No drawing library: an axis, its ticks and a few paths. Colours are CSS variables (`--s0` ... `--s7`), set by the
page for light and dark, so that a chart needs no second version.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from jaxtyping import Float

LEFT, RIGHT, TOP, BOTTOM = 46.0, 12.0, 10.0, 40.0


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One curve.

    Attributes:
        name: for the picture's description.
        x, y: its points.
        colour: index of the page's colour, 0 to 7.
        filled: an area down to the axis, without a line's weight.
        dashed: for what is only a reference.
        dots: mark each point.
    """

    name: str
    x: Float[np.ndarray, "N"]
    y: Float[np.ndarray, "N"]
    colour: int
    filled: bool = False
    dashed: bool = False
    dots: bool = False


def ticks(low: float, high: float, *, about: int = 5) -> list[float]:
    """Round numbers between two bounds.

    >>> ticks(0.0, 1.0), ticks(-3.0, 94.0, about=4)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.0, 20.0, 40.0, 60.0, 80.0])
    """
    raw = max(high - low, 1e-12) / about
    power = 10.0 ** np.floor(np.log10(raw))
    step = float(power * min((1, 2, 5, 10), key=lambda m: abs(np.log(raw / (m * power)))))
    first = int(np.ceil(low / step - 1e-9))
    return [float(np.round(step * k, 12)) for k in range(first, int(np.floor(high / step + 1e-9)) + 1)]


def chart(
    series: Sequence[Series],
    *,
    label: str,
    x_title: str,
    y_title: str = "",
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    x_ticks: Sequence[float] | None = None,
    reference: float | None = None,
    size: tuple[float, float] = (560.0, 270.0),
) -> str:
    """Curves over one axis; values beyond a given range are cut off.

    Args:
        series: drawn in their order.
        label: the picture in words.
        x_title: below the axis.
        y_title: above its upper left; without one, the vertical axis has no numbers (densities).
        x_range, y_range: None: what the points need, from zero upward vertically.
        x_ticks: None: round numbers.
        reference: height of a thin dashed line across.
        size: of the picture, in its own pixels.
    """
    x = np.concatenate([s.x for s in series]) if series else np.array([0.0, 1.0])
    y = np.concatenate([s.y for s in series]) if series else np.array([0.0, 1.0])
    x0, x1 = x_range or (float(x.min()), float(x.max()))
    y0, y1 = y_range or (min(0.0, float(y.min())), float(y.max()) * 1.04)
    x1, y1 = (x1 if x1 > x0 else x0 + 1.0), (y1 if y1 > y0 else y0 + 1.0)
    width, height = size
    left = LEFT if y_title else RIGHT
    top = TOP + (16.0 if y_title else 0.0)

    def px(value: float | Float[np.ndarray, "N"]) -> Float[np.ndarray, "*N"]:
        share = (np.clip(np.asarray(value, float), x0, x1) - x0) / (x1 - x0)
        return np.asarray(left + (width - left - RIGHT) * share)

    def py(value: float | Float[np.ndarray, "N"]) -> Float[np.ndarray, "*N"]:
        share = (y1 - np.clip(np.asarray(value, float), y0, y1)) / (y1 - y0)
        return np.asarray(top + (height - top - BOTTOM) * share)

    base = height - BOTTOM
    parts = [f'<line class="ax" x1="{left:.1f}" x2="{width - RIGHT:.1f}" y1="{base:.1f}" y2="{base:.1f}"/>']
    for value in ticks(x0, x1) if x_ticks is None else map(float, x_ticks):
        parts.append(
            f'<text class="tk" text-anchor="middle" x="{px(value):.1f}" y="{base + 16:.1f}">{value:g}</text>'
        )
    parts.append(
        f'<text class="tt" text-anchor="middle" x="{left + (width - left - RIGHT) / 2:.1f}" y="{height - 5:.1f}">'
        f"{escape(x_title)}</text>"
    )
    if y_title:
        parts.append(f'<text class="tt" x="2" y="11">{escape(y_title)}</text>')
        for value in ticks(y0, y1, about=4):
            parts.append(
                f'<line class="gr" x1="{left:.1f}" x2="{width - RIGHT:.1f}" y1="{py(value):.1f}" y2="{py(value):.1f}"/>'
                f'<text class="tk" text-anchor="end" x="{left - 6:.1f}" y="{py(value) + 4:.1f}">{value:g}</text>'
            )
    if reference is not None:
        parts.append(
            f'<line class="rf" x1="{left:.1f}" x2="{width - RIGHT:.1f}" y1="{py(reference):.1f}" '
            f'y2="{py(reference):.1f}"/>'
        )
    for s in series:
        parts += _curve(s, px(s.x), py(s.y), base)
    text = escape(label, quote=True)
    return (
        f'<svg class="plot" viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{text}">'
        f"<title>{text}</title>{''.join(parts)}</svg>"
    )


def _curve(s: Series, x: Float[np.ndarray, "N"], y: Float[np.ndarray, "N"], base: float) -> list[str]:
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    if s.filled:
        ends = f"{x[0]:.1f},{base:.1f} {points} {x[-1]:.1f},{base:.1f}"
        return [f'<polygon class="fl" style="fill:var(--s{s.colour % 8})" points="{ends}"/>']
    dash = ' stroke-dasharray="5 5"' if s.dashed else ""
    parts = [f'<polyline class="cv" style="stroke:var(--s{s.colour % 8})"{dash} points="{points}"/>']
    if s.dots:
        parts += [
            f'<circle style="fill:var(--s{s.colour % 8})" cx="{a:.1f}" cy="{b:.1f}" r="4"/>'
            for a, b in zip(x, y, strict=True)
        ]
    return parts


def density(
    values: Float[np.ndarray, "N"], *, low: float, high: float, bins: int = 48
) -> tuple[Float[np.ndarray, "M"], Float[np.ndarray, "M"]]:
    """A histogram as a curve: middles of the bins, share of all values in each; what lies outside is not drawn."""
    edges = np.linspace(low, high, bins + 1)
    counts = np.histogram(values[np.isfinite(values)], edges)[0]
    return 0.5 * (edges[1:] + edges[:-1]), counts / max(1, len(values))


def cumulative(
    values: Float[np.ndarray, "N"], *, points: int = 101
) -> tuple[Float[np.ndarray, "M"], Float[np.ndarray, "M"]]:
    """The share of values up to each of evenly spaced quantiles: a curve from 0 to 1."""
    share = np.linspace(0.0, 1.0, points)
    return np.quantile(values, share), share


def small(series: Sequence[Series], *, label: str, x_range: tuple[float, float]) -> str:
    """A tiny chart without numbers, for grids of many."""
    width, height = 160.0, 62.0
    top = max((float(s.y.max()) for s in series), default=1.0) or 1.0
    parts = [f'<line class="ax" x1="0" x2="{width:.0f}" y1="{height - 1:.1f}" y2="{height - 1:.1f}"/>']
    for s in series:
        x = width * np.clip((s.x - x_range[0]) / max(1e-9, x_range[1] - x_range[0]), 0, 1)
        parts += _curve(s, x, height - 1 - (height - 5) * s.y / top, height - 1)
    text = escape(label, quote=True)
    return (
        f'<svg class="plot" viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{text}">'
        f"<title>{text}</title>{''.join(parts)}</svg>"
    )
