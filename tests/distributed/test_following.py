"""What a search shows while it runs: the page after each trial that ends, and trials that the scheduler stopped."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mocap_ray.distributed.following import Following
from mocap_ray.searching.population import Record
from mocap_ray.searching.results import mark_stopped
from mocap_ray.storage import Place, place
from tests.pages.test_searches_page import SETUP


class _Seen:
    """Records the events that a view gets."""

    def __init__(self) -> None:
        self.events: list[tuple[int, str]] = []

    def on_trial(self, number: int, event: str, value: Any) -> None:
        self.events.append((number, event))


def _trial(out: Place, number: int, *losses: float) -> Place:
    folder = out.folder("trials", f"{number:03d}")
    Record(number, {"training.learning_rate": 1e-3, "training.scheduler": "cosine"}).write(folder)
    folder.write_atomic(b"training: {max_epochs: 3}\n", "config.yaml")
    table = "epoch,val_loss\n" + "".join(f"{k + 1},{loss}\n" for k, loss in enumerate(losses))
    folder.write_atomic(table.encode(), "metrics.csv")
    return folder


def _wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "does not happen"
        time.sleep(0.01)


class _Sent(queue.Queue[tuple[str, Any]]):
    """Events that trials send, here from this process."""

    def take(self) -> list[tuple[str, Any]]:
        return [self.get() for _ in range(self.qsize())]


def test_the_page_is_written_after_each_trial_that_ends(tmp_path: Path) -> None:
    out, seen, sent = place(tmp_path), _Seen(), _Sent()
    page = tmp_path / "page.html"
    with Following(seen, sent.take, out=out, count=4, setup=SETUP) as following:
        assert "running: 0 of 4 trials ended" in page.read_text()
        for number in (0, 1, 2):
            sent.put(("started", (number, {})))
        _trial(out, 0, 0.5, 0.4, 0.3).write_atomic(b"{}", "summary.json")
        sent.put(("finished", (0, {})))
        _wait(lambda: "running: 1 of 4 trials ended" in page.read_text())
        # The scheduler stops a trial without an event; it is found with the next one.
        mark_stopped(_trial(out, 1, 0.9), epoch=1)
        sent.put(("epoch", (2, {"epoch": 1, "val_loss": 0.7})))
        _wait(lambda: "running: 2 of 4 trials ended" in page.read_text())
        assert "<dt>stopped early</dt><dd>1</dd>" in page.read_text()
        # And one in its last epoch is finished.
        mark_stopped(_trial(out, 2, 0.9, 0.8, 0.7), epoch=3)
        sent.put(("epoch", (2, {"epoch": 3, "val_loss": 0.7})))
        _wait(lambda: "<dt>finished</dt><dd>2</dd>" in page.read_text())
        sent.put(("finished", (2, {})))  # its process was faster than the end of Tune
        sent.put(("failed", (3, "the loss is nan")))
        _wait(lambda: bool(following.failed))
    ends = [event for event in seen.events if event[1] not in ("started", "epoch")]
    assert ends == [(0, "finished"), (1, "stopped"), (2, "finished"), (3, "failed")]
    assert following.failed == {3: "the loss is nan"}


def test_a_trial_that_is_restarted_has_not_failed(tmp_path: Path) -> None:
    sent = _Sent()
    with Following(_Seen(), sent.take, out=place(tmp_path), count=1, setup=SETUP) as following:
        for event in (("failed", (0, "its node was lost")), ("started", (0, {})), ("finished", (0, {}))):
            sent.put(event)
    assert not following.failed


def test_a_resumed_search_counts_the_trials_that_had_ended(tmp_path: Path) -> None:
    out, seen = place(tmp_path), _Seen()
    _trial(out, 0, 0.5, 0.4).write_atomic(b"{}", "summary.json")
    _trial(out, 1, 0.9)
    with Following(seen, _Sent().take, out=out, count=3, setup=SETUP):
        assert "running: 1 of 3 trials ended" in (tmp_path / "page.html").read_text()
    assert seen.events == [(0, "started"), (0, "epoch"), (0, "epoch"), (0, "finished")]


def test_a_search_that_is_interrupted_leaves_a_page_that_does_not_reload(tmp_path: Path) -> None:
    page = tmp_path / "page.html"

    def interrupted() -> None:
        with Following(_Seen(), _Sent().take, out=place(tmp_path), count=2, setup=SETUP):
            assert "refresh" in page.read_text()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert "refresh" not in page.read_text()
