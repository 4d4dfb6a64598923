"""The page of priors can be read at every width, and shows every energy."""

from __future__ import annotations

import re

import numpy as np
import pytest

from mocap_ray.drawing import charts, templates
from mocap_ray.drawing.axes import Axis
from mocap_ray.pages.gallery import gallery
from mocap_ray.pages.prior_charts import DEGREES, energies


def rules(css: str, width: int) -> dict[str, str]:
    """Columns of each selector's grid in a window of a width, as the cascade has it (later of equals)."""
    plain = re.sub(r"@media \(max-width: (\d+)px\) \{((?:[^{}]*\{[^{}]*\})*)\s*\}",
                   lambda m: m[2] if width <= int(m[1]) else "", css)  # fmt: skip
    found: dict[str, str] = {}
    for selectors, body in re.findall(r"([^{}]+)\{([^{}]*)\}", plain):
        columns = re.search(r"grid-template-columns: ([^;]+);", body)
        if columns:
            found |= {selector.strip(): columns[1] for selector in selectors.split(",")}
    return found


def test_charts_are_as_wide_as_a_narrow_window() -> None:
    """A rule for two classes beats one for a class alone, also one for narrow windows."""
    css = templates.asset("pages/templates/priors.css")
    assert rules(css, 1400)[".plots.wide"] != "minmax(0, 1fr)"
    for selector in (".plots", ".plots.wide"):
        assert rules(css, 800)[selector] == "minmax(0, 1fr)", selector


@pytest.mark.parametrize("jump", [0.5, 100.0])
def test_energies_of_every_noise_are_in_the_picture(jump: float) -> None:
    """The peak of each histogram lies inside of the axis, also where disturbed poses have far higher energies."""
    generator = np.random.default_rng(0)
    values = {d: -2 + 0.3 * generator.standard_normal(500) + jump * d / 5 for d in (0.0, *DEGREES)}
    drawn = energies("p", values)
    for degrees in DEGREES:
        x, y = (
            np.array([float(v) for v in numbers.replace(" %", "").split(";")])
            for numbers in re.findall(
                rf'data-name="{degrees:g} degrees" data-x="([^"]*)" data-y="([^"]*)"', drawn
            )[0]
        )
        assert y.sum() == pytest.approx(100, abs=1)
        assert x[y.argmax()] == pytest.approx(np.median(values[degrees]), rel=0.25, abs=0.5)
        assert 0 < y.argmax() < len(y) - 1, "not at the edge"


def test_every_chart_has_numbers_and_titles_at_its_axes() -> None:
    s = charts.Series("a", np.array([0.0, 1.0]), np.array([0.0, 2.0]))
    axes = {"x": Axis(0.0, 1.0, "metres"), "y": Axis(0.0, 2.0, "share")}
    drawn = charts.chart([s], **axes, label="a chart")
    assert '<p class="x-title">metres</p>' in drawn
    assert '<p class="y-title">share</p>' in drawn
    assert [float(t) for t in re.findall(r'text-anchor="end">([^<]*)<', drawn)] == [0, 0.5, 1, 1.5, 2]
    assert [float(t) for t in re.findall(r'text-anchor="middle">([^<]*)<', drawn)] == [
        0,
        0.2,
        0.4,
        0.6,
        0.8,
        1,
    ]


def test_pointing_at_a_chart_finds_the_values_of_its_curves() -> None:
    """The script reads names, positions and values from the curves; there is one of each for every point."""
    x, y = np.linspace(0, 1, 7), np.linspace(5, 9, 7)
    drawn = charts.chart([charts.Series("a <b>", x, y)], x=Axis(0.0, 1.0, "m"), y=Axis(0.0, 9.0), label="c")
    curve = re.search(r"<polyline[^>]*>", drawn)
    assert curve is not None
    found = dict(re.findall(r'([\w-]+)="([^"]*)"', curve[0]))
    assert found["data-name"] == "a &lt;b&gt;"
    assert len(found["points"].split()) == 7
    assert [float(v) for v in found["data-x"].split(";")] == pytest.approx(x, rel=1e-3)
    assert [float(v) for v in found["data-y"].split(";")] == pytest.approx(y, rel=1e-3)
    script = templates.asset("drawing/templates/charts.js")
    for name in ("data-name", "dataset.x", "dataset.y", "dataset.xTitle", "points"):
        assert name in script


def test_a_page_of_poses_is_dark_in_dark_mode_and_escapes_its_titles() -> None:
    html = gallery([("<i>", np.zeros((2, 55, 3)))], joints=range(55), title="<b>Samples</b>")
    assert "prefers-color-scheme: dark" in html
    assert not re.search(r"body ?\{[^}]*background: ?#", html), "its ground is a variable of the scheme"
    assert html.count('role="img"') == 2
    assert "<b>Samples" not in html
    assert "<i>" not in html
