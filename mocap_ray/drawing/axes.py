"""Axes of charts: positions of values, and the numbers at the ticks."""

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
        low, high: its ends; values beyond them are drawn on the edge.
        title: its quantity and unit.
        marks: values of the ticks; None: round numbers.
        write: formats the value of a tick.
        read: formats any value, for tooltips.
        linear: half of the range around `centre` in which the scale is about linear; beyond it, the scale is
            logarithmic (asinh), so that values of different magnitude fit into one chart. None: linear everywhere.
        centre: the middle of the linear range.
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

    def _scaled(self, values: Float[np.ndarray, "*N"]) -> Float[np.ndarray, "*N"]:
        scaled = values if self.linear is None else np.arcsinh((values - self.centre) / self.linear)
        return np.asarray(scaled)

    def at(self, values: Float[np.ndarray, "*N"] | float) -> Float[np.ndarray, "*N"]:
        """Values as shares of the axis, 0 to 1.

        >>> Axis(0.0, 10.0).at(2.5).tolist()
        0.25
        """
        low, high = self._scaled(np.array([self.low, self.high]))
        share = (self._scaled(np.asarray(values, float)) - low) / (high - low)
        return np.asarray(np.clip(share, 0.0, 1.0))

    def edges(self, count: int) -> Float[np.ndarray, "N"]:
        """Bin edges of equal width in the picture."""
        low, high = self._scaled(np.array([self.low, self.high]))
        even = np.linspace(low, high, count + 1)
        return even if self.linear is None else self.centre + self.linear * np.sinh(even)

    def labels(self, *, about: int = 5) -> list[tuple[float, str]]:
        """Position and text of each tick; on an asinh scale only as many as fit."""
        if self.marks is not None:
            values = list(self.marks)
        elif self.linear is None:
            values = ticks(self.low, self.high, about=about)
        else:
            values = self._asinh_ticks(about)
        return [(float(self.at(v)), self.write(v)) for v in values]

    def _asinh_ticks(self, about: int) -> list[float]:
        """Zero and 1, 2, 5 times powers of ten, chosen roundest first, with room for a number between them."""
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
