"""The live table of a search: its trials with their states, the best so far, and a bar that stays."""

from __future__ import annotations

import io
import re

from rich.console import Console

from mocap_ray.cli.search_view import OTHER_LINES, SearchView
from mocap_ray.distributed.cluster import Cluster
from mocap_ray.distributed.resources import Share
from tests.searching.test_results import CONFIG


def _view(*, height: int = 40, trials: int = 4) -> tuple[SearchView, io.StringIO]:
    sink = io.StringIO()
    out = Console(force_terminal=True, width=120, height=height, file=sink, color_system=None)
    view = SearchView(out, CONFIG)
    view.on_cluster(
        Cluster(workers=2, nodes=1, own=True, whole=True), Share(1, 1.0, 0.0), concurrency=2, trials=trials
    )
    return view, sink


def _lines(view: SearchView) -> list[str]:
    out = Console(width=120, file=io.StringIO(), color_system=None)
    out.print(view.bar.get_renderable())
    return [line.rstrip() for line in out.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_the_table_tells_states_apart_and_shows_running_trials_first() -> None:
    view, _ = _view()
    for number in range(4):
        view.on_trial(number, "started", {"training.learning_rate": 0.001 * (number + 1)})
        for epoch in (1, 2):
            view.on_trial(number, "epoch", {"epoch": epoch, "val_loss": 1.0 / (number + epoch)})
    view.on_trial(0, "finished", {})
    view.on_trial(1, "stopped", {})
    view.on_trial(2, "failed", "the loss is nan")
    head, *rows, bar = _lines(view)
    assert re.split(r"\s{2,}", head)[:6] == ["trial", "state", "epoch", "val_loss", "best", "learning_rate"]
    assert [re.split(r"\s{2,}", row)[:2] for row in rows] == [
        ["003", "running"],
        ["002", "failed"],
        ["001", "stopped early"],
        ["000", "finished"],
    ]
    assert rows[0].split()[2:] == ["2", "0.2", "0.2", "0.004"]
    for part in (
        "75%",
        "1 running",
        "1 stopped early",
        "1 failed",
        "1 finished",
        "best val_loss 0.2 (trial 003)",
    ):
        assert part in bar


def test_the_table_fits_the_terminal() -> None:
    view, _ = _view(height=20, trials=100)
    for number in range(100):
        view.on_trial(number, "started", {"training.learning_rate": 0.001})
    assert len(_lines(view)) == 20 - OTHER_LINES + 2, "with a head and the bar"


def test_the_bar_stays_when_the_search_has_ended() -> None:
    view, sink = _view(trials=1)
    with view:
        view.on_trial(0, "started", {"training.learning_rate": 0.001})
        view.on_trial(0, "epoch", {"epoch": 1, "val_loss": 0.5})
        view.on_trial(0, "finished", {})
    last = sink.getvalue().rpartition("\x1b[2K")[2]
    assert "100%" in last
    assert "best val_loss 0.5 (trial 000)" in last
    assert "learning_rate" not in last, "the final table follows"
