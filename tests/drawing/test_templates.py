"""Pages run their own scripts and nothing else, escape every text, and miss no value without saying so."""

from __future__ import annotations

import base64
import hashlib
import re

import jinja2
import pytest

from mocap_ray.drawing import svg, templates

PAGE = "pages/templates/gallery.html.j2"
SCRIPT = "drawing/templates/charts.js"


def page(**values: object) -> str:
    return templates.render_page(PAGE, **{"title": "t", "rows": [], "hands": False, **values})


def test_the_policy_allows_the_scripts_of_the_page_by_their_hashes_alone() -> None:
    html = page(scripts=[SCRIPT])
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    run = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    assert policy is not None
    assert len(run) == 1
    digest = base64.b64encode(hashlib.sha256(run[0].encode()).digest()).decode()
    assert policy[1] == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:"
    )
    assert "script-src" not in page()


def test_data_for_scripts_cannot_end_its_element() -> None:
    html = page(data={"name": "</script><script>alert(1)</script>"})
    assert "</script><script>alert" not in html


def test_text_is_escaped_in_html_and_not_in_markdown() -> None:
    assert "<title>a &lt;b&gt;</title>" in page(title="a <b>")
    found = templates.environment().from_string("{{ x }}", globals={"x": "<b>"})
    assert found.render() == "&lt;b&gt;", "a template without a name counts as HTML"
    assert templates.environment().autoescape("card.md.j2") is False  # type: ignore[operator]


def test_markup_of_the_writer_is_not_escaped_again() -> None:
    html = page(rows=[("", [svg.element("text", "a < b")])])
    assert "<text>a &lt; b</text>" in html


def test_a_value_that_nobody_gave_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="rows"):
        templates.render_page(PAGE, title="t", hands=False)


def test_a_length_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(ValueError, match="nan in a picture"):
        svg.element("line", x1=float("nan"))
