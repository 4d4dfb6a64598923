"""The clock of the viewer: play, pause, speed, scrub, loop."""

from __future__ import annotations

from dataclasses import dataclass

SPEEDS: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
"""Speeds to choose from, as multiples of the real one."""


@dataclass
class Player:
    """A position in time that moves while it plays.

    >>> player = Player(duration=2.0)
    >>> player.advance(1.5), player.advance(1.0)
    (1.5, 0.5)
    >>> player.speed = 0.5
    >>> player.advance(1.0)
    1.0

    Attributes:
        duration: seconds.
        time: seconds, from 0 to the duration.
        speed: seconds of motion per second.
        playing: whether `advance` moves.
        loop: whether to start again at the end; otherwise it stops there.
    """

    duration: float = 0.0
    time: float = 0.0
    speed: float = 1.0
    playing: bool = True
    loop: bool = True

    def load(self, duration: float) -> None:
        """Start at the beginning of another motion."""
        self.duration, self.time = duration, 0.0

    def seek(self, time: float) -> None:
        """Move to a time; beyond the ends, to the end."""
        self.time = max(0.0, min(self.duration, time))

    def toggle(self) -> None:
        """Play or pause; playing again from the end starts at the beginning."""
        if not self.playing and not self.loop and self.time >= self.duration:
            self.time = 0.0
        self.playing = not self.playing

    def advance(self, seconds: float) -> float:
        """Let this much real time pass and return the new position."""
        if not self.playing or self.duration <= 0:
            return self.time
        time = self.time + seconds * self.speed
        if time > self.duration:
            if self.loop:
                time = 0.0 if time > 2 * self.duration else time - self.duration
            else:
                time, self.playing = self.duration, False
        self.time = time
        return time
