"""The viewer itself: one thread that owns clip, time and filters, and does what the page asks for."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import viser

from mocap_ray.errors import UserError
from mocap_ray.viewing import texts
from mocap_ray.viewing.browser.panel import ALONE, DECODED, PINNED, Panel, speed_of
from mocap_ray.viewing.browser.stage import RATE, Stage
from mocap_ray.viewing.player import Player
from mocap_ray.viewing.playlist import Playlist
from mocap_ray.viewing.rows import Filters, step
from mocap_ray.viewing.scene import Group, Scene

CLOCK_S = 0.1
"""Seconds between updates of the time slider while it plays."""


class Window:
    """Shows a playlist on a page until its thread is interrupted.

    Everything but `measure` happens in the thread that calls `run`, so nothing here needs a lock.
    """

    def __init__(self, server: viser.ViserServer, playlist: Playlist, filters: Filters) -> None:
        """Build the page and show the first clip that passes the filters.

        Raises:
            UserError: no clip passes.
        """
        self.playlist, self.todo = playlist, queue.SimpleQueue[Callable[[], None]]()
        self.chosen = playlist.rows.select(filters)
        if not len(self.chosen):
            raise UserError(
                f"{playlist.title}: no clip passes the filters of the command line. Leave one out."
            )
        self.numbers = {name: k for k, name in enumerate(playlist.rows.names)}
        self.player, self.stage = Player(), Stage(server)
        self.panel = Panel(server, playlist, self, self.todo.put)
        self.panel.preset(filters)
        self.current = int(self.chosen[0])
        self.scene: Scene | None = None
        self.pinned: tuple[Group, ...] = ()
        self.clocked = 0.0
        self.stopped = threading.Event()
        self._load(self.current)
        if self.scene is not None and all(f.skin is not None for f in self.scene.figures):
            self.panel.skeleton.value = False  # the mesh would hide it, or shine through
            self._draw()
        server.on_client_connect(lambda client: self.todo.put(lambda: self.stage.aim(client)))

    def run(self) -> None:
        """Play and do what the page asks for, until Ctrl-C or SIGTERM raises."""
        before = time.monotonic()
        try:
            while True:
                self._wait(before)
                now = time.monotonic()
                was = self.player.playing
                self.player.advance(now - before)
                before = now
                if self.player.playing or was:
                    self._draw()
        finally:
            self.stopped.set()

    def _wait(self, before: float) -> None:
        """Until the next picture is due; acts are done as soon as they are asked for."""
        due = before + (1.0 / RATE if self.player.playing else 3600.0)
        try:
            act = self.todo.get(timeout=max(0.0, due - time.monotonic()))
            while True:
                act()
                act = self.todo.get_nowait()
        except queue.Empty:
            return

    def go(self, name: str) -> None:
        """Show the clip of this name."""
        self._load(self.numbers[name])

    def step(self, by: int) -> None:
        """Show the next clip that passes the filters, or the previous one."""
        found = step(self.chosen, self.current, by)
        if found is not None:
            self._load(found)

    def seek(self, seconds: float) -> None:
        """Move to a time."""
        self.player.seek(seconds)
        self._draw(clock=True)

    def toggle(self) -> None:
        """Play or pause."""
        self.player.toggle()
        self._draw(clock=True)

    def change(self) -> None:
        """Take over speed, repeat and what is shown."""
        self.player.speed, self.player.loop = speed_of(self.panel.speed.value), self.panel.loop.value
        self._draw()

    def compare(self, what: str) -> None:
        """Set nothing, the decoded features or the pinned clip beside this one."""
        self._show(self.player.time)

    def pin(self) -> None:
        """Keep this clip, and set it beside the ones that follow."""
        if self.scene is not None:
            title = self.scene.title
            self.pinned = tuple(
                tuple(replace(f, name=f"{f.name or title} (pinned)") for f in group)
                for group in self.scene.groups
            )
            self._offer()
            self.panel.compare.value = PINNED
            self._show(self.player.time)

    def aim(self) -> None:
        """Put the camera back to its start."""
        self.stage.aim()

    def filter(self) -> None:
        """Apply the filters, and show the first clip that passes if the current one does not."""
        self.chosen = self.playlist.rows.select(self.panel.asked())
        if len(self.chosen) and self.current not in self.chosen:
            self._load(int(self.chosen[0]))
        else:
            self.panel.offer(self.playlist.rows, self.chosen, self.current)

    def measure(self) -> None:
        """Measure all clips in a thread of its own, while the page goes on."""
        panel = self.panel
        panel.measure.disabled, panel.measured.visible = True, True

        def progress(done: int, total: int) -> None:
            panel.measured.value = 100.0 * done / total

        def work() -> None:
            try:
                found = self.playlist.measure(progress, stopped=self.stopped.is_set)
                self.todo.put(lambda: self._measured(found))
            except (UserError, OSError) as error:
                text = str(error)
                self.todo.put(lambda: self._say(texts.fault(text)))

        threading.Thread(target=work, daemon=True).start()

    def _measured(self, found: dict[str, np.ndarray]) -> None:
        self.playlist.rows.numbers |= found
        self.panel.add_numbers(self.playlist.rows)
        self.panel.measure.visible = self.panel.measured.visible = False

    def _load(self, index: int) -> None:
        """Read a clip and show it from its beginning."""
        self.current = index
        self.panel.offer(self.playlist.rows, self.chosen, index)
        self._say(texts.note("Loading ..."))
        try:
            self.scene = self.playlist.scene(index)
        except (UserError, OSError) as error:
            self.scene = None
            self.stage.load(None)
            self.player.load(0.0)
            self.panel.facts.content = ""
            self._say(texts.fault(str(error)))
            return
        self._offer()
        self._show(0.0)

    def _offer(self) -> None:
        """What this clip can be compared with."""
        options = [ALONE]
        options += [DECODED] if self.scene is not None and self.scene.decoded is not None else []
        options += [PINNED] if self.pinned else []
        self.panel.compare.options = tuple(options)

    def _show(self, seconds: float) -> None:
        """Put the scene on the stage, with what is beside it."""
        if self.scene is None:
            return
        before, fault = len(self.stage.drawn), ""
        try:
            scene = self._beside(self.scene)
        except (UserError, OSError) as error:
            scene, fault = self.scene, texts.fault(str(error))
        placed = self.stage.load(scene)
        self.panel.facts.content = texts.facts(scene, placed)
        self.player.load(scene.duration)
        self.player.seek(seconds)
        self.panel.span(scene.duration, scene.fps)
        self.panel.mesh.disabled = all(f.skin is None for f in scene.figures)
        if len(self.stage.drawn) != before:
            self.stage.aim()
        if self.panel.mesh.value and any(f.skin is not None for f in scene.figures):
            self._say(texts.note("Reading the body model ..."))
        if self._draw(clock=True):
            self._say(fault)

    def _beside(self, scene: Scene) -> Scene:
        what = self.panel.compare.value
        if what == PINNED:
            return scene.beside(self.pinned)
        if what == DECODED and scene.decoded is not None:
            return scene.beside(((scene.decoded(),),))
        return scene

    def _draw(self, *, clock: bool = False) -> bool:
        """Show the current moment, and whether that worked; the slider less often, as it is a message of its own."""
        if self.scene is None:
            return False
        done = True
        look = self.panel.look()
        try:
            self.stage.show(self.player.time, look)
        except (UserError, OSError) as error:
            done, self.panel.mesh.value = False, False
            self._say(texts.fault(str(error)))
        now = time.monotonic()
        if clock or not self.player.playing or now - self.clocked > CLOCK_S:
            self.clocked = now
            self.panel.clock(self.player.time, playing=self.player.playing)
        return done

    def _say(self, html: str) -> None:
        """Something at the top of the panel; an empty text clears it."""
        if self.panel.status.content != html:
            self.panel.status.content = html
