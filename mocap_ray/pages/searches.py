"""One self-contained HTML page about a search: parallel coordinates, learning curves, a table.

Lines are pictures of the same trials in both charts; pointing at one, or at its row, marks it everywhere. No
network, no external file. What is drawn stands in the table as numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from mocap_ray.runs.search import SearchConfig
from mocap_ray.searching.results import Trial, cloned, heads, name, ranked, short_names, table, text
from mocap_ray.searching.space import Range
from mocap_ray.storage import Place
from mocap_ray.version import __version__

PAGE_NAME = "page.html"
WIDTH, HEIGHT = 1160.0, 360.0
TOP, BOTTOM, LEFT, RIGHT = 44.0, 40.0, 76.0, 76.0
OFF = "as in the base"
"""Tick of an axis for trials in which its key was not searched."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of an axis: where, and its label."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Axis:
    """A vertical axis of the parallel coordinates."""

    title: str
    x: float
    ticks: list[Tick]


@dataclass(frozen=True, slots=True)
class Line:
    """A trial as a polyline; `shade` is 0 for the best and 1 for the worst."""

    trial: str
    points: str
    shade: float
    title: str
    best: bool


@dataclass(frozen=True, slots=True)
class Mark:
    """Where on its curve a trial went on with the weights of another."""

    trial: str
    x: float
    y: float
    title: str


def write_page(out: Place, trials: Sequence[Trial], config: SearchConfig) -> None:
    """Write `page.html` into the folder of the search. Raises OSError."""
    out.publish(page(trials, config, where=out.uri).encode(), PAGE_NAME)


def page(trials: Sequence[Trial], config: SearchConfig, *, where: str) -> str:
    """The page as HTML."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mocap_ray.pages", "templates"),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    assert environment.loader is not None
    keys = list(config.space)
    order = [t for t in ranked(trials, config.metric, config.mode) if not math.isnan(_score(t, config))]
    states = [t.state for t in trials]
    return environment.get_template("search.html.j2").render(
        css=environment.loader.get_source(environment, "page.css")[0],
        config=config,
        where=where,
        version=__version__,
        best=order[0] if order else None,
        best_value=f"{_score(order[0], config):.5g}" if order else "",
        best_values=[(k, text(_values(order[0], config).get(k)) or OFF) for k in keys] if order else [],
        states=[
            (s, states.count(s)) for s in ("finished", "stopped", "failed", "not started") if s in states
        ],
        heads=heads(keys, config.metric, lineage=cloned(trials)),
        rows=table(trials, keys, config.metric, config.mode),
        axes=axes(order, config),
        parallel=parallel(order, config),
        title=PurePath(config.base).stem,
        curves=curves(order, config),
        marks=marks(order, config),
        clone_heads=["epoch", "trial", "went on as", "gave up epoch", *keys],
        clones=clones(trials, keys),
        curve_axes=curve_axes(order, config),
        width=WIDTH,
        height=HEIGHT,
        top=TOP,
        bottom=HEIGHT - BOTTOM,
        left=LEFT,
        right=WIDTH - RIGHT,
    )


def _score(trial: Trial, config: SearchConfig) -> float:
    return trial.best(config.metric, config.mode)[0]


def _values(trial: Trial, config: SearchConfig) -> dict[str, Any]:
    """Those of its best epoch."""
    return trial.best_values(config.metric, config.mode)


def _vertical(share: float) -> float:
    """Share of an axis, 0 below and 1 above, as y."""
    return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)


def _share(value: float, low: float, high: float, *, log: bool = False) -> float:
    if log:
        value, low, high = math.log(value), math.log(low), math.log(high)
    return 0.5 if high <= low else min(1.0, max(0.0, (value - low) / (high - low)))


def _shades(order: Sequence[Trial]) -> dict[int, float]:
    return {t.number: k / max(1, len(order) - 1) for k, t in enumerate(order)}


def place_on(r: Range, value: Any) -> float:
    """Share of the axis of a range at which a value stands; below the axis where it was not searched."""
    if value is None:
        return -0.09
    if r.kind in ("choice", "grid"):
        return (r.values.index(value) + 0.5) / len(r.values)
    low, high = map(float, r.values)
    return _share(float(value), low, high, log=r.kind == "log_uniform")


def axes(order: Sequence[Trial], config: SearchConfig) -> list[Axis]:
    """One for each key, and the metric's at the right, whose better end is above."""
    step = (WIDTH - LEFT - RIGHT) / len(config.space)
    found = []
    titles = short_names(list(config.space))
    for k, r in enumerate(config.space.values()):
        low, high = r.values[0], r.values[-1]
        marks = list(r.values)
        if r.kind == "log_uniform":
            marks = [low, math.sqrt(low * high), high]
        elif r.kind == "uniform":
            marks = [low, (low + high) / 2, high]
        ticks = [Tick(_vertical(place_on(r, v)), text(v)) for v in marks]
        if r.when:
            ticks.append(Tick(_vertical(place_on(r, None)), OFF))
        found.append(Axis(titles[k], LEFT + k * step, ticks))
    ends = _ends(order, config)
    ticks = (
        [Tick(_vertical(share), f"{v:.4g}") for share, v in zip((1.0, 0.0), ends, strict=True)]
        if order
        else []
    )
    return [*found, Axis(config.metric, WIDTH - RIGHT, ticks)]


def _ends(order: Sequence[Trial], config: SearchConfig) -> tuple[float, float]:
    """Best and worst value of the metric."""
    scores = [s for t in order if math.isfinite(s := _score(t, config))] or [0.0]
    return scores[0], scores[-1]


def parallel(order: Sequence[Trial], config: SearchConfig) -> list[Line]:
    """A line for each trial with a value, worst first, so that the best lie above."""
    step = (WIDTH - LEFT - RIGHT) / len(config.space)
    best, worst = _ends(order, config)
    shades = _shades(order)
    lines = []
    for trial in reversed(order):
        score = _score(trial, config)
        points = [
            (LEFT + k * step, _vertical(place_on(r, _values(trial, config).get(key))))
            for k, (key, r) in enumerate(config.space.items())
        ]
        # Best above, whichever way the metric goes.
        share = 0.5 if best == worst else min(1.0, max(0.0, (score - worst) / (best - worst)))
        points.append((WIDTH - RIGHT, _vertical(share)))
        lines.append(_line(trial, points, shades, f"{config.metric} {score:.5g}", best=trial is order[0]))
    return lines


def curves(order: Sequence[Trial], config: SearchConfig) -> list[Line]:
    """The metric over the epochs of each trial, worst first."""
    low, high, last = _curve_ends(order, config)
    shades = _shades(order)
    lines = []
    for trial in reversed(order):
        points = [
            _at(row, config.metric, low, high, last)
            for row in trial.rows
            if config.metric in row and math.isfinite(row[config.metric])
        ]
        if len(points) == 1:
            # A single epoch has no line; a short dash stands for it.
            points.append((points[0][0] + 8, points[0][1]))
        lines.append(
            _line(trial, points, shades, f"{len(trial.rows)} epochs, {trial.state}", best=trial is order[0])
        )
    return lines


def _at(row: dict[str, float], metric: str, low: float, high: float, last: int) -> tuple[float, float]:
    """Where a row stands among the curves."""
    across = _share(row["epoch"], 1.0, float(last)) * (WIDTH - LEFT - RIGHT)
    return LEFT + across, _vertical(_share(row[metric], low, high))


def marks(order: Sequence[Trial], config: SearchConfig) -> list[Mark]:
    """Of each curve, where its weights passed from one trial to another."""
    low, high, last = _curve_ends(order, config)
    found = []
    for trial in order:
        rows = {
            int(row["epoch"]): row for row in trial.rows if math.isfinite(row.get(config.metric, math.nan))
        }
        for stage in trial.history:
            if stage.epoch in rows:
                x, y = _at(rows[stage.epoch], config.metric, low, high, last)
                title = f"trial {name(stage.trial)} went on from here; {_listed(stage.values)}"
                found.append(Mark(name(trial.number), x, y, title))
    return found


def clones(trials: Sequence[Trial], keys: Sequence[str]) -> list[list[str]]:
    """Every time that a trial went on with another's weights, by epoch."""
    each = sorted(((c.epoch, t.number, c) for t in trials for c in t.clones), key=lambda found: found[:2])
    return [
        [str(c.epoch), name(number), name(c.donor), str(c.own_epoch), *(text(c.values.get(k)) for k in keys)]
        for _, number, c in each
    ]


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{k} {text(v)}" for k, v in values.items())


def curve_axes(order: Sequence[Trial], config: SearchConfig) -> dict[str, list[Tick]]:
    """Ticks of the learning curves, both ways."""
    low, high, last = _curve_ends(order, config)
    epochs = sorted({1, *(round(1 + (last - 1) * k / 4) for k in range(5))})
    return {
        "x": [
            Tick(LEFT + _share(float(e), 1.0, float(last)) * (WIDTH - LEFT - RIGHT), str(e)) for e in epochs
        ],
        "y": [Tick(_vertical(k / 3), f"{low + (high - low) * k / 3:.4g}") for k in range(4)] if order else [],
    }


def _curve_ends(order: Sequence[Trial], config: SearchConfig) -> tuple[float, float, int]:
    """Low and high of the metric, and the last epoch. The worst tenth may leave the picture."""
    values = sorted(
        row[config.metric]
        for t in order
        for row in t.rows
        if config.metric in row and math.isfinite(row[config.metric])
    ) or [0.0]
    cut = max(1, len(values) // 10)
    low, high = values[0], values[-cut]
    if config.mode == "max":
        low, high = values[cut - 1], values[-1]
    last = max((int(t.rows[-1]["epoch"]) for t in order if t.rows), default=1)
    return low, high, max(2, last)


def _line(
    trial: Trial, points: Sequence[tuple[float, float]], shades: dict[int, float], about: str, *, best: bool
) -> Line:
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    title = f"trial {name(trial.number)}: {about}; {_listed(trial.values)}"
    return Line(name(trial.number), joined, shades[trial.number], title, best)
