"""What a page about priors shows of the worst held-out pose, and of the energy far from the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from mocap_ray.drawing import charts
from mocap_ray.drawing.axes import Axis
from mocap_ray.drawing.charts import Series
from mocap_ray.pages.prior_figures import drawing, unseen
from mocap_ray.priors.judging.evaluate import Judged
from mocap_ray.priors.judging.scores import short

LISTED = 6
"""Joints whose energies are listed beside the worst pose."""


@dataclass(frozen=True, slots=True)
class WorstFigure:
    """The worst held-out pose of a prior.

    Attributes:
        name, colour: of the prior.
        svg: the pose.
        source: where it comes from.
        nll: nats per active dimension, as text.
        bars: joint, its nats as text, and their share of the largest.
        exact: whether the energies of all joints add up to the energy of the pose.
    """

    name: str
    colour: int
    svg: Markup
    source: str
    nll: str
    bars: list[tuple[str, str, float]]
    exact: bool


def worst_poses(priors: Sequence[Judged]) -> list[WorstFigure]:
    """The worst pose of each prior beside the joints with the highest energies."""
    lead = priors[0].judgement
    poses = np.stack([p.judgement.worst.pose for p in priors])
    poses[:, unseen(lead)] = 0.0
    sources = [p.source for p in priors]
    labels = [f"{p.name}: {source}" for p, source in zip(priors, sources, strict=True)]
    drawn = drawing(lead)(poses, labels=labels)
    found = []
    for k, (p, svg, source) in enumerate(zip(priors, drawn, sources, strict=True)):
        worst = p.judgement.worst
        found.append(WorstFigure(p.name, k, svg, source, short(worst.nll), _bars(worst.joints), worst.exact))
    return found


def _bars(joints: dict[str, float]) -> list[tuple[str, str, float]]:
    ranked = sorted(joints.items(), key=lambda item: -item[1] if np.isfinite(item[1]) else -np.inf)
    top = max((v for v in joints.values() if np.isfinite(v)), default=0.0)
    return [
        (name.replace("_", " "), f"{v:,.1f}" if np.isfinite(v) else short(v), _share(v, top))
        for name, v in ranked[:LISTED]
    ]


def _share(value: float, top: float) -> float:
    if not np.isfinite(value):
        return 1.0
    return max(0.0, value / top) if top > 0 else 0.0


def far_from_data(priors: Sequence[Judged]) -> tuple[Markup, Markup]:
    """Charts of the energy, and of its gradient, on the way from held-out poses to random rotations."""
    far = [(k, p.name, p.judgement.geodesics) for k, p in enumerate(priors)]
    return (
        _chart(
            [(k, name, g.share, g.energy) for k, name, g in far],
            title="energy per dimension, nats",
            label="Energy per dimension on the way from held-out poses to random rotations",
        ),
        _chart(
            [(k, name, g.share, g.gradient) for k, name, g in far],
            title="norm of the gradient, nats per rad and dimension",
            label="Norm of the gradient of the energy on the way from held-out poses to random rotations",
        ),
    )


Curve = tuple[int, str, Float[np.ndarray, "T"], dict[str, Float[np.ndarray, "T"]]]


def _chart(curves: Sequence[Curve], *, title: str, label: str) -> Markup:
    """The median over the poses as a line, and the largest value as a dashed one; logarithmic from 1 on."""
    series = []
    for k, name, share, by in curves:
        for quantile, dashed in (("median", False), ("largest", True)):
            known = np.isfinite(by[quantile])
            series.append(Series(f"{name}, {quantile}", share[known], by[quantile][known], k, dashed=dashed))
    values = np.concatenate([s.y for s in series]) if series else np.zeros(1)
    low, high = (float(f(values)) if len(values) else 0.0 for f in (np.min, np.max))
    low, high = min(low, 0.0), max(high, 2.0)
    marks = [m for m in (-100.0, -10.0, 0.0, *(10.0**e for e in _powers(high))) if low <= m <= high]
    ends = "; ".join(f"{s.name} {short(float(s.y.max()))}" for s in series if len(s.y))
    return charts.chart(
        series,
        x=Axis(0.0, 1.0, "share of the way to random rotations of all joints (the whole way: 126 degrees on average)"),
        y=Axis(
            low, high, f"{title} (logarithmic from 1 on)", marks=tuple(marks), write=_power, linear=1.0
        ),
        label=f"{label}. Highest: {ends}",
        height=240,
    )  # fmt: skip


def _powers(high: float) -> range:
    """Exponents of the ticks, at most about five."""
    most = max(1, int(np.log10(high)))
    return range(0 if most < 5 else 1, most + 1, 1 if most < 6 else 2)


def _power(value: float) -> str:
    """A tick that fits beside the axis.

    >>> [_power(v) for v in (0.0, 10.0, 1e4, 1e6, 1e10)]
    ['0', '10', '10k', '1M', '1e10']
    """
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if size <= abs(value) < 1e9:
            return f"{value / size:g}{letter}"
    return f"{value:g}".replace("e+", "e")
