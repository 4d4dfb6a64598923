"""The texts of the panel: what comes from files stays text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mocap_ray.viewing import figures, texts
from mocap_ray.viewing.scene import Scene, placements
from tests.dataset.made import walker

SCENE = Scene("a", ((figures.of_joints("", walker(40), fps=20.0),),), (("action", "walk"),))


def test_what_comes_from_files_is_no_markup() -> None:
    hostile = replace(
        SCENE,
        facts=(("<b>", "<img src=x onerror=alert(1)>"),),
        captions=("{alert(1)} <script>alert(1)</script>",),
    )
    html = texts.facts(hostile, placements(hostile.groups))
    assert "<img" not in html
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "{alert(1)}" in html, (
        "braces mean nothing in HTML, and the panel is no Markdown, where they would run"
    )
    assert "<script" not in texts.fault("<script>")
    assert "<script" not in texts.note("<script>")


def test_facts_tell_quality_height_and_why_there_is_no_mesh() -> None:
    html = texts.facts(SCENE, placements(SCENE.groups))
    assert "fastest joint, m/s" in html
    assert "joints without poses" in html
    assert "onto the floor" not in html
    high = replace(SCENE, groups=((figures.of_joints("", walker(40) + np.array([0, 1.5, 0]), fps=20.0),),))
    assert "moved 1.50 m down, onto the floor" in texts.facts(high, placements(high.groups))


def test_long_lists_of_captions_are_cut() -> None:
    many = replace(SCENE, captions=tuple(f"text {k}" for k in range(9)))
    html = texts.facts(many, placements(many.groups))
    assert "text 5" in html
    assert "text 6" not in html
    assert "and 3 more texts" in html


def test_the_place_in_the_playlist_is_said() -> None:
    assert "3 of 18" in texts.place(2, 18, 18)
    assert "1 of 4 that pass the filters, 1,800 in all" in texts.place(0, 4, 1800)
    assert "not among 4 that pass the filters" in texts.place(None, 4, 18)
    assert "No clip passes the filters (18 clips in all)" in texts.place(None, 0, 18)
