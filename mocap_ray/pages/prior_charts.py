"""The charts of a page about priors: calibration, energies, nearest neighbours, angles of each joint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from mocap_ray.drawing import charts
from mocap_ray.drawing.axes import Axis
from mocap_ray.drawing.charts import Series
from mocap_ray.priors.judging.evaluate import Judged
from mocap_ray.priors.judging.judgement import DEGREES

REAL = 7
"""Index of the colour of held-out poses."""


def calibration(priors: Sequence[Judged]) -> Markup:
    """AUROC over the degrees of noise, a curve for each prior."""
    x = np.array([0.0, *DEGREES])
    series = [
        Series(p.name, x, np.array([0.5, *(p.judgement.auroc[d] for d in DEGREES)]), k, dots=True)
        for k, p in enumerate(priors)
    ]
    text = "; ".join(f"{p.name} " + ", ".join(f"{v:.3f}" for v in p.judgement.auroc.values()) for p in priors)
    return charts.chart(
        series,
        x=Axis(0.0, 20.5, "degrees by which every joint is turned", marks=(0.0, *DEGREES)),
        y=Axis(0.5, 1.0, "share of pairs ranked correctly (AUROC)"),
        label=f"AUROC at 5, 10 and 20 degrees of noise: {text}",
    )


def energies(name: str, found: Mapping[float, Float[np.ndarray, "_"]]) -> Markup:
    """Histograms of the energies of held-out poses and of perturbed ones, by degrees of noise."""
    axis = _energy_axis([found[d] for d in (0.0, *DEGREES)])
    series = [Series("held out", *charts.density(found[0.0], axis), REAL, filled=True)]
    series += [
        Series(f"{degrees:g} degrees", *charts.density(found[degrees], axis), 4 + k)
        for k, degrees in enumerate(DEGREES)
    ]
    top = max(float(s.y.max()) for s in series)
    return charts.chart(
        series,
        x=axis,
        y=Axis(
            0.0,
            1.05 * top,
            "share of poses in each of 48 bins",
            write=lambda v: f"{100 * v:g} %",
            read=lambda v: f"{100 * v:.3g} %",
        ),
        label=f"Energies of {name}: held-out poses and the same poses with every joint turned by 5, 10, 20 degrees",
    )


def _energy_axis(energies: Sequence[Float[np.ndarray, "_"]]) -> Axis:
    """From the lowest energy of held-out poses to the highest of perturbed ones.

    Energies of a sharp prior are a few nats for held-out poses and hundreds for perturbed ones, so the scale is linear
    around the held-out poses and logarithmic beyond.
    """
    each = [e[np.isfinite(e)] for e in energies]
    real = each[0] if len(each[0]) else np.zeros(1)
    low, middle, most = (float(np.quantile(real, q)) for q in (0.002, 0.5, 0.99))
    high = max([most, *(float(np.quantile(e, 0.98)) for e in each[1:] if len(e))])
    spread = max(most - low, 1e-3)
    if high <= low + 4 * spread:
        return Axis(low, max(high, low + 1.0), "energy per dimension, nats")
    title = "energy per dimension, nats (linear around the held-out poses, logarithmic beyond)"
    # Leave room for a bin beyond a narrow peak at the upper end.
    return Axis(low, high + 0.25 * (high - middle), title, linear=spread, centre=middle)


def memory(priors: Sequence[Judged]) -> Markup:
    """The share of samples within a distance of the nearest training pose, beside that of held-out poses."""
    real = priors[0].judgement.curves.held_out_nearest
    series = [Series("held-out poses", *charts.cumulative(real), REAL, dashed=True)]
    series += [
        Series(p.name, *charts.cumulative(p.judgement.curves.nearest), k) for k, p in enumerate(priors)
    ]
    farthest = max(float(s.x.max()) for s in series)
    return charts.chart(
        series,
        x=Axis(0.0, farthest, "distance to the nearest training pose, degrees (mean over joints)"),
        y=Axis(0.0, 1.0, "share of poses"),
        label="Share of samples within a distance of the nearest training pose, beside that of held-out poses",
    )


def marginals(priors: Sequence[Judged]) -> list[tuple[str, str, Markup]]:
    """Name, distances as text, and a small chart of angles from the mean rotation, per joint of the first prior."""
    first = priors[0].judgement.curves
    found = []
    for j, joint in enumerate(first.joints):
        columns = [(k, p, p.judgement.curves.joints) for k, p in enumerate(priors)]
        columns = [(k, p, names) for k, p, names in columns if joint in names]
        drawn = [p.judgement.curves.angles[:, names.index(joint)] for _, p, names in columns]
        angles = [(k, p.name, values) for (k, p, _), values in zip(columns, drawn, strict=True)]
        distances = [p.judgement.curves.marginals[names.index(joint)] for _, p, names in columns]
        title = joint.replace("_", " ")
        chart = _angles(title, first.held_out_angles[:, j], angles)
        found.append((title, " · ".join(f"{d:.1f}°" for d in distances), chart))
    return found


def _angles(
    title: str, real: Float[np.ndarray, "N"], drawn: Sequence[tuple[int, str, Float[np.ndarray, "_"]]]
) -> Markup:
    high = max(5.0, *(float(np.quantile(a, 0.98)) for a in (real, *(values for *_, values in drawn))))
    axis = Axis(0.0, high, "degrees", marks=(0.0, high), write="{:.0f}°".format)
    series = [Series("held out", *charts.density(real, axis, bins=30), REAL, filled=True)]
    series += [Series(name, *charts.density(values, axis, bins=30), k) for k, name, values in drawn]
    return charts.chart(
        series,
        x=axis,
        y=Axis(0.0, max(float(s.y.max()) for s in series), read=lambda v: f"{100 * v:.3g} %"),
        label=f"{title}: angle from the mean rotation, 0 to {high:.0f} degrees, samples beside held-out poses",
        height=58,
        small=True,
    )
