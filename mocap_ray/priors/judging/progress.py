"""Progress of an evaluation: the share of the work that is done, from parts that know nothing of each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping

Progress = Callable[[float, str], None]
"""Called with the share of the work that is done, 0 to 1, and the name of what runs now."""


def silent(share: float, text: str) -> None:
    """Report nothing."""


def part(progress: Progress, start: float, end: float, *, name: str = "") -> Progress:
    """The progress of a part of the work, as progress of the whole.

    Args:
        progress: of the whole.
        start, end: where the part begins and ends, as shares of the whole.
        name: put before what the part reports.

    >>> part(print, 0.5, 0.75, name="second")(0.5, "samples")
    0.625 second: samples
    """

    def report(share: float, text: str) -> None:
        progress(start + (end - start) * share, f"{name}: {text}" if name and text else name or text)

    return report


def stages(progress: Progress, costs: Mapping[str, float]) -> dict[str, Progress]:
    """The progress of each stage of some work.

    Args:
        progress: of the whole.
        costs: name -> cost in any unit, in the order in which they run.

    >>> stages(print, {"likelihood": 3.0, "samples": 1.0})["samples"](0.0, "samples")
    0.75 samples
    """
    total, done, found = sum(costs.values()), 0.0, {}
    for name, cost in costs.items():
        found[name] = part(progress, done / total, (done + cost) / total)
        done += cost
    return found
