"""The page's two diagrams as plain numbers and SVG: clip lengths, and statistics by feature group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mocap_ray.dataset.views import Statistics
from mocap_ray.motion import features

WORDS: tuple[tuple[str, str, str], ...] = (
    ("root_yaw_vel", "half turn of the facing", "rad/frame"),
    ("root_xz_vel", "step of the root", "m/frame"),
    ("root_y", "height of the root", "m"),
    ("feet_contact", "feet on the ground", "0 or 1"),
    ("ric", "joint positions around the root", "m"),
    ("rot_6d", "local joint rotations", "matrix entries"),
    ("local_vel", "joint steps", "m/frame"),
)
"""Name of a feature group, and its meaning and unit in the few words of a chart; small groups first."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """A histogram of clip lengths: bars as (label, count, share of the highest bar)."""

    bars: list[tuple[str, int, float]]
    shortest: float
    median: float
    longest: float
    ticks: list[str]


def lengths(seconds: Float[np.ndarray, "N"]) -> Lengths | None:
    """Histogram of clip lengths in up to 24 bins of a round width; None without clips.

    The longest three per cent of the clips share the last bin where they would stretch the axis.
    """
    if not len(seconds):
        return None
    low = float(seconds.min())
    reach = max(float(np.quantile(seconds, 0.97)), low + 1e-3)
    width = next(
        w for w in (0.25, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1e9) if (reach - low) / w <= 22
    )
    first = np.floor(low / width) * width
    bins = int((reach - first) // width) + 1
    counts = np.bincount(np.minimum(((seconds - first) // width).astype(int), bins - 1), minlength=bins)
    tail = seconds.max() >= first + bins * width
    bars = [
        (
            f"{first + k * width:g} s and longer"
            if tail and k == bins - 1
            else f"{first + k * width:g} to {first + (k + 1) * width:g} s",
            int(n),
            float(n) / counts.max(),
        )
        for k, n in enumerate(counts)
    ]
    end = "longest" if tail else f"{first + bins * width:g} s"
    middle = f"{first + bins * width / 2:g} s"
    ticks = [f"{first:g} s", middle, end]
    return Lengths(bars, low, float(np.median(seconds)), float(seconds.max()), ticks)


@dataclass(frozen=True, slots=True)
class Group:
    """One panel: a group of feature columns, its picture and the ends of its axis."""

    name: str
    columns: str
    meaning: str
    unit: str
    high: str
    low: str
    small: bool
    svg: str


def feature_groups(statistics: Statistics, profile: str) -> list[Group]:
    """A panel for each group of columns: mean and one standard deviation to either side.

    In the flowmimic profile contacts are not normalised, so their panel shows mean 0 and std 1.
    """
    panels = []
    columns_of = {group.name: group.columns for group in features.GROUPS}
    for name, meaning, unit in WORDS:
        first, last = columns_of[name].start, columns_of[name].stop
        mean, std = (np.asarray(a[first:last], float) for a in (statistics.mean, statistics.std))
        low, high = min(0.0, float((mean - std).min())), max(0.0, float((mean + std).max()))
        high = high if high > low else low + 1.0
        label = (
            f"{name}: means from {mean.min():.3g} to {mean.max():.3g}, "
            f"standard deviations from {std.min():.3g} to {std.max():.3g} {unit}"
        )
        columns = str(first) if last == first + 1 else f"{first}:{last}"
        svg = _panel(mean, std, low=low, high=high, label=label)
        panels.append(
            Group(name, columns, meaning, unit, f"{high:.2g}", f"{low:.2g}", last - first < 10, svg)
        )
    return panels


def _panel(
    mean: Float[np.ndarray, "K"], std: Float[np.ndarray, "K"], *, low: float, high: float, label: str
) -> str:
    """Bars from mean - std to mean + std with a tick at the mean, stretched to the width of the page."""
    many, height = len(mean), 100.0

    def y(value: float) -> str:
        return f"{4 + (height - 8) * (high - value) / (high - low):.1f}"

    parts = [f'<line class="zero" x1="0" x2="{10 * many}" y1="{y(0.0)}" y2="{y(0.0)}"/>']
    for k, (m, s) in enumerate(zip(mean.tolist(), std.tolist(), strict=True)):
        x, wide = (10 * k + 1.2, 7.6) if many > 10 else (10 * k + 3.2, 3.6)
        parts.append(
            f'<rect class="band" x="{x:.1f}" width="{wide}" y="{y(m + s)}" '
            f'height="{(height - 8) * 2 * s / (high - low):.1f}"/>'
            f'<line class="mean" x1="{x:.1f}" x2="{x + wide:.1f}" y1="{y(m)}" y2="{y(m)}"/>'
        )
    return (
        f'<svg viewBox="0 0 {10 * many} {height:.0f}" preserveAspectRatio="none" role="img" '
        f'aria-label="{label}">{"".join(parts)}</svg>'
    )
