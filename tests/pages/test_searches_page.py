"""The page of a search shows each trial in both charts and in the table, and runs none of its texts."""

from __future__ import annotations

from dataclasses import replace

from mocap_ray.pages.searches import search_page
from mocap_ray.searching.results import Trial
from mocap_ray.searching.setup import SearchSetup
from tests.searching.test_results import CONFIG, _clone, _trials, _with_folds

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


def test_the_page_of_a_running_search_reloads_and_tells_states_apart() -> None:
    running = [replace(trial, searching=True, stopped=trial.number == 1) for trial in _trials()]
    running[3] = replace(
        running[3], values={"training.scheduler": "step"}, rows=[{"epoch": 1.0, "val_loss": 3.0}]
    )
    waiting = Trial(4, {}, [], started=False, finished=False, searching=True)
    html = search_page([*running, waiting], SETUP, where="out")
    assert '<meta http-equiv="refresh"' in html
    assert "running: 3 of 5 trials ended" in html
    for state in ("running", "finished", "stopped early", "failed", "waiting"):
        assert f"<dt>{state}</dt><dd>1</dd>" in html
    assert html.count('class="trial running"') == 2, "in both charts"
    assert "is the best so far" in html
    ended = search_page(_trials(), SETUP, where="out")
    assert "refresh" not in ended
    assert "so far" not in ended


def test_trials_that_diverge_are_named_with_what_to_try() -> None:
    losses = zip((2.0, 0.5, 0.1, 0.0), (100.0, 10.0, 24.0, 23.0), strict=True)
    rows = [{"epoch": k + 1.0, "loss": a, "val_loss": b} for k, (a, b) in enumerate(losses)]
    bad = Trial(4, {"training.learning_rate": 1.0}, rows, started=True, finished=True)
    html = search_page([*_trials(), bad], SETUP, where="out")
    assert "The validation loss of trial 004 diverges" in html
    assert "training.learning_rate" in html.partition("trial 004 diverges")[2][:300]
    assert "diverges" not in search_page(_trials(), SETUP, where="out")


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


def test_the_spread_over_folds_stands_beside_the_mean() -> None:
    html = search_page(_with_folds(), SETUP, where="out")
    assert "val_loss 1 (mean over its folds; standard deviation 0.25, worst fold 1.375)" in html
    assert '<th scope="col">worst fold</th>' in html
    assert "fold" not in search_page(_trials(), SETUP, where="out")
