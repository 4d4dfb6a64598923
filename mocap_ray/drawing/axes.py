"""Scales of charts: where a value lies, and which numbers stand beside the axis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


def ticks(low: float, high: float, *, about: int = 5) -> list[float]:
    """Round numbers between two bounds.

    >>> ticks(0.0, 1.0), ticks(-3.0, 94.0, about=4)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.0, 20.0, 40.0, 60.0, 80.0])
    """
    raw = max(high - low, 1e-12) / about
    power = 10.0 ** np.floor(np.log10(raw))
    step = float(power * min((1, 2, 5, 10), key=lambda m: abs(np.log(raw / (m * power)))))
    first = int(np.ceil(low / step - 1e-9))
    return [float(np.round(step * k, 12)) for k in range(first, int(np.floor(high / step + 1e-9)) + 1)]


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a chart.

    Attributes:
        low, high: its ends; what lies beyond is drawn on the edge.
        title: what it measures, and in which unit.
        marks: the numbers beside it; None: round ones.
        write: a mark as text.
        read: any value as text, for who points at it.
        linear: half of the range around `centre` in which the scale is about even; farther out it is a logarithm
            (asinh), so that values of very different size share a picture. None: even everywhere.
        centre: where such a scale is even.
    """

    low: float
    high: float
    title: str = ""
    marks: tuple[float, ...] | None = None
    write: Callable[[float], str] = "{:g}".format
    read: Callable[[float], str] = "{:.4g}".format
    linear: float | None = None
    centre: float = 0.0

    def __post_init__(self) -> None:
        if not self.high > self.low:
            object.__setattr__(self, "high", self.low + 1.0)

    def _bent(self, values: Float[np.ndarray, "*N"]) -> Float[np.ndarray, "*N"]:
        bent = values if self.linear is None else np.arcsinh((values - self.centre) / self.linear)
        return np.asarray(bent)

    def at(self, values: Float[np.ndarray, "*N"] | float) -> Float[np.ndarray, "*N"]:
        """Values as shares of the axis, 0 to 1.

        >>> Axis(0.0, 10.0).at(2.5).tolist()
        0.25
        """
        low, high = self._bent(np.array([self.low, self.high]))
        share = (self._bent(np.asarray(values, float)) - low) / (high - low)
        return np.asarray(np.clip(share, 0.0, 1.0))

    def edges(self, count: int) -> Float[np.ndarray, "N"]:
        """Values that cut the axis into pieces of one width in the picture."""
        low, high = self._bent(np.array([self.low, self.high]))
        even = np.linspace(low, high, count + 1)
        return even if self.linear is None else self.centre + self.linear * np.sinh(even)

    def labels(self, *, about: int = 5) -> list[tuple[float, str]]:
        """Share and text of each number beside the axis; on a bent scale those that have room."""
        if self.marks is not None:
            values = list(self.marks)
        elif self.linear is None:
            values = ticks(self.low, self.high, about=about)
        else:
            values = self._bent_ticks(about)
        return [(float(self.at(v)), self.write(v)) for v in values]

    def _bent_ticks(self, about: int) -> list[float]:
        """Zero and 1, 2, 5 times powers of ten, the roundest first, none nearer than the room for a number."""
        assert self.linear is not None
        powers = [10.0**k for k in range(4, -4, -1)]
        candidates = [0.0, *(s * m * p for m in (1, 5, 2) for p in powers for s in (1, -1))]
        chosen: list[float] = []
        for value in candidates:
            if self.low <= value <= self.high and all(
                abs(self.at(value) - self.at(other)) > 0.6 / about for other in chosen
            ):
                chosen.append(value)
        return sorted(chosen)
