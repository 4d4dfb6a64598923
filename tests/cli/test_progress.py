"""Progress: a bar whose finished line stays on a terminal, and a few plain lines without one."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from mocap_ray.cli.progress import Lines, counting_bar, progress_bar
from mocap_ray.cli.view import View, work_columns


def _terminal() -> tuple[Console, io.StringIO]:
    sink = io.StringIO()
    return Console(force_terminal=True, width=100, file=sink, color_system=None), sink


def _log() -> tuple[Console, io.StringIO]:
    sink = io.StringIO()
    return Console(force_terminal=False, width=100, file=sink), sink


class _Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("seconds", "least", "most"),
    [(1.0, 0, 0), (6.0, 1, 3), (100.0, 9, 11), (3600.0, 30, 101)],
)
def test_a_log_gets_a_line_for_each_tenth_or_ten_seconds_but_is_not_flooded(
    seconds: float, least: int, most: int
) -> None:
    clock = _Clock()
    lines, written = Lines(clock), 0
    for step in range(1, 5001):
        clock.now = seconds * step / 5000
        written += lines.due(step / 5000)
    assert least <= written <= most


def test_a_log_says_how_long_the_rest_takes() -> None:
    clock = _Clock()
    lines = Lines(clock)
    clock.now = 30.0
    assert lines.left(0.25) == pytest.approx(90.0)


def test_short_work_leaves_no_line_in_a_log() -> None:
    out, sink = _log()
    with progress_bar(out, "evaluating") as update:
        for step in range(100):
            update(step / 100, "samples")
    assert sink.getvalue() == ""


def test_the_finished_line_stays_on_a_terminal_with_percentage_and_time() -> None:
    out, sink = _terminal()
    with counting_bar(out, "exporting") as update:
        update(1, 3)
        update(3, 3)
    # A bar that vanishes would erase its line once more at the end.
    last = sink.getvalue().rpartition("\x1b[2K")[2]
    for part in ("exporting", "100%", "0:00:0"):
        assert part in last


def test_the_bar_of_a_run_stays_and_one_of_a_run_that_did_not_start_does_not() -> None:
    out, sink = _terminal()
    with View(out, *work_columns()) as view:
        early = view.bar.add_task("1 x 1 CPU", total=50, completed=7, figures="epoch 7 of 50")
        view.bar.add_task("starting Ray", total=None, figures="")
    last = sink.getvalue().rpartition("\x1b[2K")[2]
    assert "epoch 7 of 50" in last
    assert "100%" in last, "a training that ended early is complete"
    assert "starting Ray" not in last
    assert view.bar.tasks[early].finished
