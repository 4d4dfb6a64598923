"""The panel of the page: its widgets, and what they ask for.

Handles of inputs are `Any`: mypy takes the property `value` of viser's classes for read-only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import viser

from mocap_ray.viewing import texts
from mocap_ray.viewing.browser.stage import Look
from mocap_ray.viewing.player import SPEEDS
from mocap_ray.viewing.playlist import Playlist
from mocap_ray.viewing.rows import Filters, Rows

Post = Callable[[Callable[[], None]], None]
"""Hands an act to the thread that owns the window; callbacks of viser run in threads of their own."""

ANY, LISTED = "any", "as listed"
ALONE, DECODED, PINNED = "nothing", "decoded features", "the pinned clip"
MOST_NAMES = 500
"""Names that the list of clips offers; more make browsers slow."""


class Panel:
    """The widgets. Each hands an act to the window when somebody uses it; the window sets their values."""

    def __init__(self, server: viser.ViserServer, playlist: Playlist, window: Any, post: Post) -> None:
        """Build the panel.

        Args:
            server: the page.
            playlist: decides which filters there are.
            window: the acts: `go`, `step`, `seek`, `toggle`, `change`, `pin`, `aim`, `filter`, `measure`.
            post: how to ask for one.
        """
        self.gui, self.window, self.post = server.gui, window, post
        self.status = self.gui.add_html("")
        with self.gui.add_folder("Clip"):
            self._clip(many=len(playlist) > 1)
        self.clockwork = self.gui.add_folder("Time")
        with self.clockwork:
            self._time()
        with self.gui.add_folder("Show"):
            self._show()
        self.facets: dict[str, Any] = {}
        self.limits: dict[str, Any] = {}
        self.sort: Any = None
        self.words: Any = None
        if len(playlist) > 1:
            self.filters = self.gui.add_folder("Filter")
            with self.filters:
                self._filters(playlist)
            self.add_numbers(playlist.rows)

    def _clip(self, *, many: bool) -> None:
        self.place = self.gui.add_html("")
        self.name: Any = self.gui.add_dropdown("Name", (" ",), visible=many)
        self.move = self.gui.add_button_group("Go to", ("Previous", "Next"), visible=many)
        self.facts = self.gui.add_html("")
        self._on(self.name, lambda value: self.window.go(value))
        self.move.on_click(
            lambda event: self.post(
                lambda by=1 if event.target.value == "Next" else -1: self.window.step(by)  # type: ignore[misc]
            )
        )

    def _time(self) -> None:
        self.play = self.gui.add_button("Pause", icon=viser.Icon.PLAYER_PAUSE)
        self.time: Any = self.gui.add_slider("Time, s", min=0.0, max=1.0, step=0.01, initial_value=0.0)
        self.speed = self.gui.add_dropdown("Speed", tuple(map(_times, SPEEDS)), initial_value=_times(1.0))
        self.loop = self.gui.add_checkbox("Repeat", True)
        self.play.on_click(lambda event: self.post(self.window.toggle))
        self._on(self.time, lambda value: self.window.seek(value))
        self._on(self.speed, lambda value: self.window.change())
        self._on(self.loop, lambda value: self.window.change())

    def _show(self) -> None:
        self.skeleton = self.gui.add_checkbox("Skeleton", True)
        self.mesh: Any = self.gui.add_checkbox("Mesh", True)
        self.labels = self.gui.add_checkbox("Names", True)
        self.follow = self.gui.add_checkbox("Follow", True, hint="The view goes with the person.")
        self.compare: Any = self.gui.add_dropdown("Beside it", (ALONE,))
        self.pin = self.gui.add_button("Pin this clip", hint="Keeps this clip, to set it beside others.")
        self.aim = self.gui.add_button("Reset the camera")
        for handle in (self.skeleton, self.mesh, self.labels, self.follow):
            self._on(handle, lambda value: self.window.change())
        self._on(self.compare, lambda value: self.window.compare(value))
        self.pin.on_click(lambda event: self.post(self.window.pin))
        self.aim.on_click(lambda event: self.post(self.window.aim))

    def _filters(self, playlist: Playlist) -> None:
        self.words = self.gui.add_text(
            "Words", "", hint="Words of the name, the labels or the text, in any order."
        )
        self._on(self.words, lambda value: self.window.filter())
        for facet in playlist.rows.facets:
            values = playlist.rows.values(facet)
            if len(values) > 1:
                self.facets[facet] = self.gui.add_dropdown(
                    facet.capitalize(), (ANY, *(_option(name, count) for name, count in values))
                )
                self._on(self.facets[facet], lambda value: self.window.filter())
        self.sort = self.gui.add_dropdown("Order", (LISTED,), visible=bool(playlist.rows.numbers))
        self._on(self.sort, lambda value: self.window.filter())
        if playlist.measurable:
            self.measure = self.gui.add_button(
                "Measure all clips", hint="Reads every clip once, for limits and orders by quality."
            )
            self.measured: Any = self.gui.add_progress_bar(0.0, visible=False)
            self.measure.on_click(lambda event: self.post(self.window.measure))

    def add_numbers(self, rows: Rows) -> None:
        """A range and two orders for each number that has none yet."""
        for name, column in rows.numbers.items():
            known = column[np.isfinite(column)]
            if name in self.limits or len(known) < 2 or known.min() == known.max():
                continue
            low, high = float(np.floor(known.min() * 100) / 100), float(np.ceil(known.max() * 100) / 100)
            with self.filters:
                self.limits[name] = self.gui.add_multi_slider(
                    _head(name), min=low, max=high, step=(high - low) / 200, initial_value=(low, high)
                )
            self._on(self.limits[name], lambda value: self.window.filter())
            self.sort.visible = True
            self.sort.options = (*self.sort.options, f"{name}, largest first", f"{name}, smallest first")

    def asked(self) -> Filters:
        """The filters that the widgets show."""
        facets = {name: h.value.rpartition(" (")[0] for name, h in self.facets.items() if h.value != ANY}
        limits = {}
        for name, handle in self.limits.items():
            low, high = handle.value
            # At an end of the range there is no limit, so that rounding hides nothing.
            limits[name] = (low if low > handle.min else None, high if high < handle.max else None)
        sort, _, direction = (self.sort.value if self.sort is not None else LISTED).rpartition(", ")
        return Filters(
            facets,
            self.words.value if self.words is not None else "",
            {name: limit for name, limit in limits.items() if limit != (None, None)},
            sort or None,
            direction != "smallest first",
        )

    def preset(self, filters: Filters) -> None:
        """Show the filters of the command line."""
        if self.words is not None:
            self.words.value = filters.text
        for name, value in filters.facets.items():
            if handle := self.facets.get(name):
                handle.value = next(o for o in handle.options if o.rpartition(" (")[0] == value)

    def look(self) -> Look:
        """What is to be shown."""
        return Look(self.skeleton.value, self.mesh.value, self.labels.value, self.follow.value)

    def offer(self, rows: Rows, chosen: np.ndarray, current: int) -> None:
        """List the clips that pass the filters, and mark the current one."""
        at = np.flatnonzero(chosen == current)
        first = max(0, int(at[0]) - MOST_NAMES // 2) if len(at) else 0
        names = [rows.names[k] for k in chosen[first : first + MOST_NAMES]]
        if not len(at):
            names = [rows.names[current], *names]
        if tuple(names) != self.name.options:
            self.name.options = tuple(names)
        self.name.value = rows.names[current]
        self.place.content = texts.place(int(at[0]) if len(at) else None, len(chosen), len(rows))

    def clock(self, seconds: float, *, playing: bool) -> None:
        """Show the time, and what the button does."""
        self.time.value = round(seconds, 3)
        label = "Pause" if playing else "Play"
        if self.play.label != label:
            self.play.label = label
            self.play.icon = viser.Icon.PLAYER_PAUSE if playing else viser.Icon.PLAYER_PLAY

    def span(self, duration: float, fps: float) -> None:
        """The range of the time slider; a still picture has none."""
        self.time.value = 0.0
        self.time.max = max(math.ceil(duration * 100) / 100, 0.01)
        self.time.step = max(round(1.0 / fps, 3), 0.001)
        self.clockwork.visible = duration > 0

    def _on(self, handle: Any, act: Callable[[Any], None]) -> None:
        """Ask for an act when somebody changes a value in a browser, not when the window sets it."""

        def changed(event: Any) -> None:
            if event.client_id is not None:
                self.post(lambda value=event.target.value: act(value))  # type: ignore[misc]

        handle.on_update(changed)


def _times(speed: float) -> str:
    """A speed as a choice.

    >>> _times(0.25), _times(2.0)
    ('0.25 x', '2 x')
    """
    return f"{speed:g} x"


def speed_of(text: str) -> float:
    """The speed of a choice.

    >>> speed_of("0.25 x")
    0.25
    """
    return float(text.split(" ")[0])


def _option(name: str, count: int) -> str:
    return f"{name} ({count:,})"


def _head(name: str) -> str:
    return name[0].upper() + name[1:]
