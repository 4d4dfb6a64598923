"""What a search shows while it runs: the events of its trials, and its page."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

from ray.exceptions import RayError

from mocap_ray.distributed.train import POLL_S
from mocap_ray.distributed.watch import died
from mocap_ray.pages.searches import write_page
from mocap_ray.searching.results import STOPPED_NAME, Trial, name, read_trial
from mocap_ray.searching.setup import SearchSetup
from mocap_ray.storage import Place

PAGE_EVERY_S = 10.0
"""Seconds between two versions of the page, unless a trial ends."""
ENDED = ("finished", "stopped", "failed")
Events = Callable[[], list[tuple[str, Any]]]
"""Returns the events since the last call: kind, and (number of the trial, value)."""


class OnTrial(Protocol):
    """The part of `search.SearchCallback` that is called here."""

    def on_trial(self, number: int, event: str, value: Any) -> None:
        """Called on an event of a trial."""


class Following:
    """Forwards the events of the trials to the callback and writes the page, in a thread: Tune uses the main thread.

    This is not a callback of Tune: Tune pickles those into its journal, so a restored search would call the callback
    of the previous run. A trial that the scheduler stops sends no event, so its folder is read.
    """

    def __init__(
        self, callback: OnTrial, events: Events, *, out: Place, count: int, setup: SearchSetup
    ) -> None:
        """Take what to call, what returns the new events, the folder of the search, its trials and its setup."""
        self.callback, self.events, self.out, self.count, self.setup = callback, events, out, count, setup
        self.failed: dict[int, str] = {}
        self.running: set[int] = set()
        self.ended: dict[int, Trial] = {}
        self.written = time.monotonic()
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._follow, name="search-events", daemon=True)

    def __enter__(self) -> Following:
        self.write_page(searching=True)
        for number, trial in self.ended.items():  # by an earlier run of a resumed search
            self.callback.on_trial(number, "started", trial.values)
            for row in trial.rows:
                self.callback.on_trial(number, "epoch", row)
            self.callback.on_trial(number, trial.state, {})
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stopping.set()
        self.thread.join()
        if kind is not None:
            self.write_page(searching=False)  # so that it reloads no longer

    def write_page(self, *, searching: bool) -> None:
        """Write the page from the folders of the trials; those that ended are read once."""
        self.written = time.monotonic()
        with suppress(OSError):  # the end of the search writes it again, and reports an error
            trials = [self._trial(number, searching=searching) for number in range(self.count)]
            write_page(self.out, trials, self.setup)

    def _trial(self, number: int, *, searching: bool) -> Trial:
        trial = self.ended.get(number) or replace(self._read(number), searching=searching)
        if trial.state in ENDED and searching and number not in self.running:
            self.ended[number] = trial
        return trial

    def _read(self, number: int) -> Trial:
        trial = read_trial(self.out.folder("trials", name(number)), number)
        return replace(trial, error=self.failed.get(number, ""))

    def _follow(self) -> None:
        last = False
        while not last:
            last = self.stopping.wait(POLL_S)
            try:
                events = self.events()
            except RayError:
                if died():  # the main thread ends the search with a sentence
                    return
                raise
            ended = sum(self._forward(number, kind, value) for kind, (number, value) in events)
            ended += self._find_stopped() if events else 0
            late = bool(events) and time.monotonic() - self.written > PAGE_EVERY_S
            if (ended or late) and not last:
                self.write_page(searching=True)

    def _forward(self, number: int, kind: str, value: Any) -> bool:
        """Forward an event; returns whether the trial has ended with it."""
        if kind == "started":
            self.running.add(number)
            self.ended.pop(number, None)
            self.failed.pop(number, None)  # Tune has restarted it
        elif kind in ENDED:
            if kind == "failed":
                self.failed[number] = value
            elif number not in self.running:
                return False  # its folder has already said so
            self.running.discard(number)
        self.callback.on_trial(number, kind, value)
        return kind in ENDED

    def _find_stopped(self) -> int:
        """Report the trials that the scheduler has stopped since the last call; returns how many there are."""
        with suppress(OSError):  # looked at again with the next event
            marked = [n for n in self.running if self.out.exists("trials", name(n), STOPPED_NAME)]
            states = {number: self._read(number).state for number in marked}
            return sum(self._forward(number, state, {}) for number, state in states.items())
        return 0
