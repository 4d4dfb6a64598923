"""The one writer of SVG elements: text is escaped, numbers are short, and the same values give the same bytes.

Elements are `markupsafe.Markup`, the type that Jinja does not escape, so that a template needs no `| safe` and
everything else is escaped.

Why not a library: svg.py 1.10 escapes neither text nor attributes (a clip called `<b>` would become markup), and
svg.py, drawsvg and svgwrite took 2 to 2.5 times as long for 5,000 lines (97, 120 and 122 ms beside 49) while numbers
would still have to be rounded here. matplotlib, bokeh and Altair bring 10 to 50 MB, fixed colours (a second picture
for dark mode) or a script of their own in each page. markupsafe comes with Jinja.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from markupsafe import Markup, escape

XMLNS = "http://www.w3.org/2000/svg"
"""Namespace, required in pictures that are saved as files of their own."""


def number(value: float) -> str:
    """Format a length in a picture, to a tenth of its unit.

    Raises:
        ValueError: not finite.

    >>> number(3.0), number(2.449), number(-0.01)
    ('3', '2.4', '0')
    """
    if not math.isfinite(value):
        raise ValueError(f"a length of {value} in a picture; expected a finite number")
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def share(value: float) -> str:
    """Format a share of a picture's width or height as a percentage, to 1/1000 of it.

    >>> share(0.5), share(1 / 3)
    ('50%', '33.3%')
    """
    return f"{number(100 * value)}%"


def element(name: str, /, *children: str, **attributes: str | float | int | None) -> Markup:
    """One element, of SVG or of HTML.

    Args:
        name: name of the element.
        children: markup is kept, anything else is escaped.
        attributes: `_` becomes `-`, and a trailing one is dropped (`class_`); floats are formatted by `number`;
            None is left out.

    >>> element("line", x1=0.25, x2=7, class_="axis", stroke_width=None)
    Markup('<line x1="0.2" x2="7" class="axis"/>')
    >>> element("text", "a < b", data_name='"x"')
    Markup('<text data-name="&#34;x&#34;">a &lt; b</text>')
    """
    parts = [f"<{name}"]
    for key, value in attributes.items():
        if value is not None:
            text = number(value) if isinstance(value, float) else escape(value)
            parts.append(f' {key.rstrip("_").replace("_", "-")}="{text}"')
    if not children:
        return Markup("".join([*parts, "/>"]))
    return Markup("".join([*parts, ">", *map(escape, children), f"</{name}>"]))


def joined(parts: list[Markup]) -> Markup:
    """Concatenate elements."""
    return Markup("".join(parts))


def points(x: Float[np.ndarray, "N"], y: Float[np.ndarray, "N"]) -> str:
    """Format the corners of a polyline or a polygon."""
    return " ".join(f"{number(a)},{number(b)}" for a, b in zip(x.tolist(), y.tolist(), strict=True))


def figure(
    *children: str,
    width: float,
    height: float,
    label: str,
    style: str = "",
    align: str = "xMidYMid",
) -> Markup:
    """A whole picture that scales with the page, with a text alternative.

    Args:
        children: elements of the picture.
        width, height: size in the picture's own pixels.
        label: text alternative.
        style: CSS to include, for a picture that is shown outside of the page.
        align: alignment in a box of another aspect ratio, such as `xMidYMid`.
    """
    return element(
        "svg",
        element("title", label),
        *([element("style", Markup(style))] if style else []),
        element("g", *children, class_="mr-b", fill="none"),
        xmlns=XMLNS,
        viewBox=f"0 0 {number(width)} {number(height)}",
        preserveAspectRatio=align,
        role="img",
        aria_label=label,
    )
