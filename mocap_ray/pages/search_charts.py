"""The charts of a search: parallel coordinates and learning curves; both show the same trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from mocap_ray.drawing import charts, svg
from mocap_ray.drawing.axes import Axis
from mocap_ray.drawing.charts import STRETCHED, Mark, Series
from mocap_ray.searching.results import Trial, name, short_names, text
from mocap_ray.searching.setup import SearchSetup
from mocap_ray.searching.space import Range
from mocap_ray.wording import counted

NOT_SEARCHED = "as in the base"
"""Tick of an axis for trials that did not search its key."""


def score(trial: Trial, search: SearchSetup) -> float:
    """The best value of a trial."""
    return trial.best(search.metric, search.mode)[0]


def place_on(r: Range, value: Any) -> float:
    """Position of a value on the axis of a range, 0 to 1; below the axis if its key was not searched."""
    if value is None:
        return -0.09
    if r.kind in ("choice", "grid"):
        return float((r.values.index(value) + 0.5) / len(r.values))
    low, high = map(float, r.values)
    if high <= low:
        return 0.5
    if r.kind == "log_uniform":
        value, low, high = math.log(float(value)), math.log(low), math.log(high)
    return min(1.0, max(0.0, (float(value) - low) / (high - low)))


def parallel(order: Sequence[Trial], search: SearchSetup, *, height: int = 270) -> Markup:
    """A line for each trial with a value, worst first, across an axis for each key and one for the metric.

    The better end of the metric is at the top in either mode.
    """
    keys = list(search.space)
    best, worst = _ends(order, search)
    lines = []
    for trial in reversed(order):
        values = trial.best_values(search.metric, search.mode)
        shares = [place_on(r, values.get(key)) for key, r in search.space.items()]
        value = score(trial, search)
        shares.append(0.5 if best == worst else min(1.0, max(0.0, (value - worst) / (best - worst))))
        across = np.linspace(0.0, STRETCHED, len(shares))
        points = svg.points(across, STRETCHED * (1 - np.array(shares)))
        attributes = _looks(trial, order)
        about = _title(trial, f"{search.metric} {value:.5g}")
        lines.append(svg.element("polyline", svg.element("title", about), points=points, **attributes))
    rules = [part for k in range(len(keys) + 1) for part in _rule(k, order, search)]
    picture = svg.element(
        "svg",
        charts.plane(lines),
        *rules,
        class_="plot",
        style=f"height:{height}px",
        role="img",
        aria_label="Parallel coordinates of all trials with a value",
    )
    return svg.element("div", picture, class_="chart")


def _rule(k: int, order: Sequence[Trial], search: SearchSetup) -> list[Markup]:
    """One axis: its line, its title and its numbers; those of the first axis are at the left."""
    count = len(search.space)
    x = svg.share(k / count)
    if k < count:
        title, marks = short_names(list(search.space))[k], _marks(list(search.space.values())[k])
    else:
        title = search.metric
        shares = (1.0, 0.0) if order else ()
        marks = [(at, f"{v:.4g}") for at, v in zip(shares, _ends(order, search), strict=False)]
    anchor = "start" if k == 0 else "end" if k == count else "middle"
    shift = -50 if k == 0 else 50 if k == count else 0
    beside: dict[str, str | float | int | None] = (
        {"dx": -8, "text_anchor": "end"} if k == 0 else {"dx": 8, "text_anchor": "start"}
    )
    return [
        svg.element("line", class_="rule", x1=x, x2=x, y1=0, y2="100%"),
        svg.element("text", title, class_="title", x=x, y=0, dx=shift, dy=-20, text_anchor=anchor),
        *(svg.element("text", label, x=x, y=svg.share(1 - at), dy=4, **beside) for at, label in marks),
    ]


def _marks(r: Range) -> list[tuple[float, str]]:
    """Positions and texts of the ticks on the axis of a range."""
    values = list(r.values)
    if r.kind == "log_uniform":
        values = [values[0], float(f"{math.sqrt(values[0] * values[-1]):.2g}"), values[-1]]
    elif r.kind == "uniform":
        values = [values[0], (values[0] + values[-1]) / 2, values[-1]]
    marks = [(place_on(r, v), text(v)) for v in values]
    return [*marks, (place_on(r, None), NOT_SEARCHED)] if r.when else marks


def _ends(order: Sequence[Trial], search: SearchSetup) -> tuple[float, float]:
    """Best and worst value of the metric; worse ones of trials that diverge lie on the edge."""
    scores = [s for t in _steady(order) if math.isfinite(s := score(t, search))] or [0.0]
    return scores[0], scores[-1]


def curves(order: Sequence[Trial], search: SearchSetup) -> Markup:
    """The metric over the epochs of each trial, worst first, with marks where trials exploited others."""
    x, y = _curve_axes(order, search)
    series = []
    for trial in reversed(order):
        rows = _finite(trial, search)
        epochs = np.array([row["epoch"] for row in rows])
        values = np.array([row[search.metric] for row in rows])
        if len(rows) == 1:
            # A single epoch makes no line: draw a short dash.
            epochs, values = np.append(epochs, epochs + 0.01 * (x.high - x.low)), np.repeat(values, 2)
        looks = _looks(trial, order)
        about = _title(trial, f"{counted(len(trial.rows), 'epoch')}, {trial.state}")
        css = looks.pop("class_")
        named = f"trial {name(trial.number)}"
        series.append(Series(named, epochs, values, css=css, attributes=looks, title=about))
    label = f"Learning curves: {search.metric} over the epochs; metrics.csv of each trial has the numbers"
    return charts.chart(series, x=x, y=y, label=label, marks=_exploits(order, search), height=270)


def _exploits(order: Sequence[Trial], search: SearchSetup) -> list[Mark]:
    """Marks on each curve where one trial copied the weights of another."""
    found = []
    for trial in order:
        values = {int(row["epoch"]): row[search.metric] for row in _finite(trial, search)}
        for stage in trial.history:
            if stage.epoch in values:
                title = f"trial {name(stage.trial)} continued from here; {_listed(stage.values)}"
                looks = {"data_trial": name(trial.number)}
                found.append(Mark(float(stage.epoch), values[stage.epoch], title, looks))
    return found


def _curve_axes(order: Sequence[Trial], search: SearchSetup) -> tuple[Axis, Axis]:
    """Axes of the epochs and of the metric, whose worst tenth of values may lie on the edge."""
    values = sorted(row[search.metric] for t in _steady(order) for row in _finite(t, search)) or [0.0]
    cut = max(1, len(values) // 10)
    low, high = values[0], values[-cut]
    if search.mode == "max":
        low, high = values[cut - 1], values[-1]
    last = max(2, max((int(t.rows[-1]["epoch"]) for t in order if t.rows), default=1))
    epochs = sorted({1, *(round(1 + (last - 1) * k / 4) for k in range(5))})
    return (
        Axis(1.0, float(last), "epoch", marks=tuple(map(float, epochs))),
        Axis(
            low,
            high,
            f"{search.metric}, {search.unit}" if search.unit else search.metric,
            write="{:.4g}".format,
        ),
    )


def _steady(order: Sequence[Trial]) -> Sequence[Trial]:
    """The trials that set the scale: those that do not diverge, if there are any."""
    return [trial for trial in order if not trial.diverged] or order


def _finite(trial: Trial, search: SearchSetup) -> list[dict[str, float]]:
    """The epochs with a finite value of the metric."""
    return [row for row in trial.rows if math.isfinite(row.get(search.metric, math.nan))]


def _looks(trial: Trial, order: Sequence[Trial]) -> dict[str, str]:
    """Class, number and shade of a trial's line: 0 for the best, 1 for the worst."""
    shade = order.index(trial) / max(1, len(order) - 1)
    css = "trial best" if trial is order[0] else "trial"
    css += " running" if trial.state == "running" else ""
    return {"class_": css, "data_trial": name(trial.number), "style": f"--shade:{shade:.3f}"}


def _title(trial: Trial, about: str) -> str:
    return f"trial {name(trial.number)}: {about}; {_listed(trial.values)}"


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{k} {text(v)}" for k, v in values.items())
