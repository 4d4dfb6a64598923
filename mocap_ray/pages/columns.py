"""The two diagrams of a data set's page: clip lengths, and statistics by feature group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from mocap_ray.dataset.views import Statistics
from mocap_ray.drawing import charts
from mocap_ray.drawing.axes import Axis, ticks
from mocap_ray.motion import features
from mocap_ray.wording import counted

WORDS: tuple[tuple[str, str, str], ...] = (
    ("root_yaw_vel", "half turn of the facing", "rad/frame"),
    ("root_xz_vel", "step of the root", "m/frame"),
    ("root_y", "height of the root", "m"),
    ("feet_contact", "feet on the ground", "0 or 1"),
    ("ric", "joint positions around the root", "m"),
    ("rot_6d", "local joint rotations", "matrix entries"),
    ("local_vel", "joint steps", "m/frame"),
)
"""Name of a feature group, and a short meaning and unit for its chart; small groups first."""

WIDTHS = (0.25, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1e9)
"""Round widths of a histogram's bins, seconds."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """A histogram of clip lengths: bars as (label, count), and its chart."""

    bars: list[tuple[str, int]]
    shortest: float
    median: float
    longest: float
    svg: Markup


def lengths(seconds: Float[np.ndarray, "N"]) -> Lengths | None:
    """Histogram of clip lengths in up to 24 bins of a round width; None if there are no clips.

    The longest three per cent of the clips share the last bin if they would stretch the axis.
    """
    if not len(seconds):
        return None
    low = float(seconds.min())
    reach = max(float(np.quantile(seconds, 0.97)), low + 1e-3)
    width = next(float(w) for w in WIDTHS if (reach - low) / w <= 22)
    first = float(np.floor(low / width) * width)
    bins = int((reach - first) // width) + 1
    counts = np.bincount(
        np.minimum(((seconds - first) // width).astype(int), bins - 1), minlength=bins
    ).tolist()
    tail = bool(seconds.max() >= first + bins * width)
    names = [f"{first + k * width:g} to {first + (k + 1) * width:g} s" for k in range(bins)]
    if tail:
        names[-1] = f"{first + (bins - 1) * width:g} s and longer"
    bars = list(zip(names, counts, strict=True))
    svg = _histogram(bars, first=first, width=width, tail=tail)
    return Lengths(bars, low, float(np.median(seconds)), float(seconds.max()), svg)


def _histogram(bars: list[tuple[str, int]], *, first: float, width: float, tail: bool) -> Markup:
    counts = [count for _, count in bars]
    titles = [f"{counted(count, 'clip')} of {name}" for name, count in bars]
    end = first + len(bars) * width
    title = f"length in seconds; the last bar: {bars[-1][0]}" if tail else "length in seconds"
    return charts.bars(
        counts,
        titles,
        x=Axis(first, end, title),
        y=_counts(max(counts)),
        label=f"Histogram of clip lengths: {', '.join(t for t, n in zip(titles, counts, strict=True) if n)}",
    )


def _counts(most: int) -> Axis:
    """An axis of whole numbers."""
    whole = [v for v in ticks(0.0, float(most), about=4) if v == round(v)]
    return Axis(0.0, 1.05 * most, "clips", marks=tuple(whole), write="{:,.0f}".format)


@dataclass(frozen=True, slots=True)
class ColumnPanel:
    """One panel: a group of feature columns and its chart."""

    name: str
    columns: str
    meaning: str
    small: bool
    svg: Markup


def feature_groups(statistics: Statistics) -> list[ColumnPanel]:
    """A panel for each group of columns: mean and one standard deviation to either side.

    In the flowmimic profile contacts are not normalised, so their panel shows mean 0 and std 1.
    """
    columns_of = {group.name: group.columns for group in features.GROUPS}
    panels = []
    for name, meaning, unit in WORDS:
        first, last = columns_of[name].start, columns_of[name].stop
        mean, std = (np.asarray(a[first:last], float) for a in (statistics.mean, statistics.std))
        columns = str(first) if last == first + 1 else f"{first}:{last}"
        svg = _panel(mean, std, name=name, first=first, unit=unit)
        panels.append(ColumnPanel(name, columns, meaning, last - first < 10, svg))
    return panels


def _panel(
    mean: Float[np.ndarray, "K"], std: Float[np.ndarray, "K"], *, name: str, first: int, unit: str
) -> Markup:
    """The chart of a panel: numbers of the columns below, the unit above."""
    last = first + len(mean) - 1
    marks = {first, last} if len(mean) < 30 else {k for k in range(first, last + 1) if k % 20 == 0}
    return charts.bands(
        mean,
        std,
        titles=[
            f"column {first + k}: {m:.3g} ± {s:.3g} {unit}"
            for k, (m, s) in enumerate(zip(mean, std, strict=True))
        ],
        x=Axis(first - 0.5, last + 0.5, "column", marks=tuple(sorted(map(float, marks)))),
        y=Axis(min(0.0, float((mean - std).min())), max(0.0, float((mean + std).max())), unit),
        label=f"{name}: means from {mean.min():.3g} to {mean.max():.3g}, "
        f"standard deviations from {std.min():.3g} to {std.max():.3g} {unit}",
    )
