"""The table of `bench.fitting`, as text and as a picture: a row for each observation, a column for each method."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from mocap_ray.drawing import svg

STYLE = """
text { font: 14px system-ui, sans-serif; fill: #1f2328; stroke: none }
.head { font-weight: 600 } .soft { fill: #59636e } .best { font-weight: 700 }
.line { stroke: #d1d9e0 } .lower { fill: #2da44e } .higher { fill: #cf222e }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc } .soft { fill: #9198a1 } .line { stroke: #3d444d }
  .lower { fill: #3fb950 } .higher { fill: #f85149 }
}
"""
ROW, FIRST, COLUMN, TOP = 26, 250, 128, 62
STRONGEST = 0.5
"""A change of the error by this share has the full colour."""


@dataclass(frozen=True)
class Cell:
    """One error of the table: of one method, on people who are observed in one way.

    Attributes:
        people, observed, noise: what is fitted; metres.
        method: the prior, or the baseline without one.
        degrees, millimetres: errors of the seeds.
        weights: the weights of the prior that the seeds chose.
    """

    people: str
    observed: str
    noise: float
    method: str
    degrees: tuple[float, ...]
    millimetres: tuple[float, ...]
    weights: tuple[float, ...]


def failures(cells: Sequence[Cell], *, baselines: Sequence[str], tie_at: float = 0.01) -> list[str]:
    """Cells in which a prior is not below the baselines; with noise `tie_at`, ties within the seeds' spread pass."""
    at = {(c.people, c.observed, c.noise, c.method): c for c in cells}
    found = []
    for c in cells:
        for other in baselines:
            if c.method in baselines or other == c.method:
                continue
            base = at[c.people, c.observed, c.noise, other]
            gaps = [a - b for a, b in zip(c.degrees, base.degrees, strict=True)]
            allowed = statistics.pstdev(gaps) if c.noise == tie_at else 0.0
            if statistics.mean(gaps) >= allowed:
                found.append(
                    f"{c.people}, {c.observed}, {100 * c.noise:g} cm: {c.method} is "
                    f"{statistics.mean(gaps):.2f} degrees above {other}"
                )
    return found


def at_border(cells: Sequence[Cell], weights: Sequence[float]) -> list[str]:
    """Cells in which a seed chose the smallest or the largest weight, so that a better one may lie beyond."""
    return [
        f"{c.people}, {c.observed}, {100 * c.noise:g} cm: {c.method} chose {w:g}, at the border of the grid of weights"
        for c in cells
        for w in sorted({min(weights), max(weights)}.intersection(c.weights))
    ]


def text(cells: Sequence[Cell]) -> str:
    """The table as Markdown."""
    methods = list(dict.fromkeys(c.method for c in cells))
    rows = dict.fromkeys((c.people, c.observed, c.noise) for c in cells)
    at = {(c.people, c.observed, c.noise, c.method): c for c in cells}
    lines = [f"| people | joints | noise | {' | '.join(methods)} |", "|---" * (3 + len(methods)) + "|"]
    for row in rows:
        figures = [
            f"{statistics.mean(c.degrees):.1f} ± {statistics.pstdev(c.degrees):.1f}"
            + (f" ({', '.join(f'{w:g}' for w in dict.fromkeys(c.weights))})" if any(c.weights) else "")
            for c in (at[(*row, method)] for method in methods)
        ]
        lines.append(f"| {row[0]} | {row[1]} | {100 * row[2]:g} cm | {' | '.join(figures)} |")
    return "\n".join(lines)


def picture(cells: Sequence[Cell]) -> str:
    """An SVG file: mean and standard deviation in degrees, coloured by the change against the first method."""
    methods = list(dict.fromkeys(c.method for c in cells))
    rows = list(dict.fromkeys((c.people, c.observed, c.noise) for c in cells))
    at = {(c.people, c.observed, c.noise, c.method): c for c in cells}
    width = float(FIRST + COLUMN * len(methods) + 10)
    parts = [
        _text(10, 22, "Error of fitted poses, degrees: mean and standard deviation of the seeds", css="head"),
        *(_text(FIRST + COLUMN * (k + 1) - 12, 50, m, css="soft", end=True) for k, m in enumerate(methods)),
    ]
    for r, row in enumerate(rows):
        y = TOP + ROW * r
        means = {m: statistics.mean(at[(*row, m)].degrees) for m in methods}
        parts += _line(y, width, people=r == 0 or rows[r - 1][0] != row[0])
        parts.append(_text(10, y + 18, row[0] if r == 0 or rows[r - 1][0] != row[0] else ""))
        parts.append(_text(FIRST - 12, y + 18, f"{row[1][0]}-D, {100 * row[2]:g} cm", css="soft", end=True))
        for k, method in enumerate(methods):
            change = means[method] / means[methods[0]] - 1
            x = FIRST + COLUMN * k
            parts.append(
                svg.element(
                    "rect",
                    x=x + 2,
                    y=y + 2,
                    width=COLUMN - 4,
                    height=ROW - 4,
                    rx=4,
                    class_="lower" if change < 0 else "higher",
                    fill_opacity=f"{0.6 * min(1.0, abs(change) / STRONGEST):.2f}",
                )
            )
            spread = statistics.pstdev(at[(*row, method)].degrees)
            best = "best" if means[method] == min(means.values()) else ""
            label = f"{means[method]:.1f} ± {spread:.1f}"
            parts.append(_text(x + COLUMN - 12, y + 18, label, css=best, end=True))
    height = float(TOP + ROW * len(rows) + 8)
    label = "Errors of poses fitted to noisy joints, by people, joints, noise and prior"
    return str(svg.figure(*parts, width=width, height=height, label=label, style=STYLE)) + "\n"


def _line(y: float, width: float, *, people: bool) -> list[Markup]:
    """A line above the rows of other people."""
    return [svg.element("line", x1=10, x2=width - 10, y1=y, y2=y, class_="line")] if people else []


def _text(x: float, y: float, words: str, *, css: str = "", end: bool = False) -> Markup:
    return svg.element("text", words, x=x, y=y, class_=css or None, text_anchor="end" if end else None)
