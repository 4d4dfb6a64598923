"""The page of a search shows each trial in both charts and in the table, and runs none of its texts."""

from __future__ import annotations

from mocap_ray.pages.searches import search_page
from mocap_ray.searching.setup import SearchSetup
from tests.searching.test_results import CONFIG, _clone, _trials

SETUP = SearchSetup(
    base=CONFIG.base,
    space=CONFIG.space,
    metric=CONFIG.metric,
    mode=CONFIG.mode,
    scheduler=CONFIG.scheduler,
    searcher=CONFIG.searcher,
)


def test_the_page_needs_no_network_runs_no_text_and_draws_each_trial_with_a_value_twice() -> None:
    html = search_page(_trials(), SETUP, where="out")
    assert html.count("<polyline") == 4
    assert "<b>the loss" not in html
    assert "&lt;b&gt;the loss" in html
    assert "http" not in html.replace("http-equiv", "")
    assert "nan" not in html.replace("the loss is nan", "").lower().replace("name", "")


def test_a_search_without_any_value_has_a_page_too() -> None:
    html = search_page(_trials()[2:], SETUP, where="out")
    assert "No trial reported a val_loss" in html
    assert "<polyline" not in html


def test_the_page_tells_who_went_on_as_whom() -> None:
    html = search_page([_clone(), *_trials()], SETUP, where="out")
    assert html.count('class="mark"') == 1
    assert "Which trial copied which" in html
    assert "<td>001</td><td>000</td><td>2</td><td>0.0008</td>" in html
    assert "Which trial copied which" not in search_page(_trials(), SETUP, where="out")
