"""One self-contained HTML page about one prior, or several side by side.

No network and no external file. What is drawn stands in the table as numbers, beside the naive answer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mocap_ray.drawing import charts, figures
from mocap_ray.drawing.charts import Series
from mocap_ray.priors import pictures
from mocap_ray.priors.judging.completion import Examples
from mocap_ray.priors.judging.evaluate import Judged, Report
from mocap_ray.priors.judging.judgement import DEGREES, Judgement
from mocap_ray.priors.judging.scores import rows
from mocap_ray.storage import place
from mocap_ray.version import __version__

SHOWN = 12
REAL = 7
"""Index of the colour of held-out poses."""


def write_page(report: Report, out: str | os.PathLike[str]) -> Path:
    """Write the page; an existing folder gets it as `index.html`.

    Raises:
        ValueError: `out` lies on an object store.
        OSError: it cannot be written.
    """
    if "://" in str(out):
        raise ValueError(f"{out}: the page is a local file. Write it here and copy it there.")
    path = Path(out)
    path = path / "index.html" if path.is_dir() else path
    place(path.parent).publish(page(report).encode(), path.name)
    return path


def page(report: Report) -> str:
    """The page as HTML; the same report gives the same page."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mocap_ray.pages", "templates"),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=lambda n: f"{n:,}")
    source = environment.loader
    assert source is not None
    draw = _drawing(report.priors[0].judgement)
    lead = report.priors[0].judgement
    return environment.get_template("judge.html.j2").render(
        report=report,
        version=__version__,
        heading=heading([p.name for p in report.priors]),
        kinds=" · ".join(dict.fromkeys(p.judgement.kind for p in report.priors)),
        hero=draw(lead.curves.shown[:9], [f"Sample {k + 1}" for k in range(min(9, len(lead.curves.shown)))]),
        stats=_stats(lead) if len(report.priors) == 1 else [],
        rows=rows(report.priors),
        galleries=_galleries(report),
        calibration=_calibration(report.priors),
        energies=[(p.name, k, _energies(p)) for k, p in enumerate(report.priors)],
        completions=_completions(report.priors),
        completed=_completed(report.priors),
        memory=_memory(report.priors),
        marginals=_marginals(report.priors),
        real_colour=REAL,
        css="".join(source.get_source(environment, name)[0] for name in ("page.css", "judge.css"))
        + figures.STYLE,
    )


def gallery(poses: Float[np.ndarray, "N 55 3"], *, joints: Sequence[int], title: str) -> str:
    """A page of nothing but poses, drawn as hands where `joints`, those that a prior sees, are of hands alone."""
    draw = pictures.hand_figures if all(j >= 25 for j in joints) else pictures.body_figures
    drawn = draw(poses, labels=[f"Pose {k + 1}" for k in range(len(poses))])
    width = 230 if draw is pictures.hand_figures else 110
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title><style>'
        "body{margin:24px;font:16px/1.5 system-ui,sans-serif;background:#fff;color:#131a22}h1{font-size:20px}"
        f"div{{display:grid;grid-template-columns:repeat(auto-fill,minmax({width}px,1fr));gap:10px}}"
        f"{figures.STYLE}</style></head><body><h1>{escape(title)}</h1><div>{''.join(drawn)}</div></body></html>\n"
    )


def heading(names: Sequence[str]) -> str:
    """Names of up to three priors.

    >>> heading(["a"]), heading(["a", "b"]), heading(["a", "b", "c", "d"])
    ('a', 'a and b', '4 priors')
    """
    if len(names) > 3:
        return f"{len(names)} priors"
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _drawing(judgement: Judgement) -> Callable[[np.ndarray, list[str]], list[str]]:
    """Stick figures, or hands where a prior sees nothing else."""
    hands = min(judgement.index) >= 3 * 25

    def draw(poses: Float[np.ndarray, "N 55 3"], labels: list[str]) -> list[str]:
        return (pictures.hand_figures if hands else pictures.body_figures)(poses, labels=labels)

    return draw


def _stats(j: Judgement) -> list[tuple[str, str, str]]:
    arms = {c.hidden: c for c in j.completions}
    stats = [
        (f"{j.likelihood.nll:.2f}", "nats", "held-out NLL per dimension"),
        (f"{j.auroc[10.0]:.3f}", "", "AUROC at 10 degrees"),
    ]
    for hidden in ("an arm", "a finger"):
        if hidden in arms:
            stats.append((f"{arms[hidden].error_deg:.1f}°", "", f"error of {hidden} completed"))
    stats.append((f"{j.samples.nearest_deg:.1f}°", "", "samples to the nearest training pose"))
    stats.append((f"{j.parameters:,}", "", "parameters"))
    return stats


def _galleries(report: Report) -> list[tuple[str, int, str, list[str]]]:
    """Title, colour, remark and pictures: the held-out poses first, then each prior's samples."""
    draw = _drawing(report.priors[0].judgement)
    real = np.array(report.real[:SHOWN])
    real[:, _unseen(report.priors[0].judgement)] = 0.0
    sets = [("held-out poses", REAL, f"split {report.split}", real)]
    for k, p in enumerate(report.priors):
        remark = p.judgement.kind if p.judgement.kind != p.name else ""
        sets.append((p.name, k, remark, p.judgement.curves.shown[:SHOWN]))
    # Drawn all at once, so that all have one scale.
    labels = [label for name, _, _, poses in sets for label in _labels(name, poses)]
    drawn = draw(np.concatenate([poses for *_, poses in sets]), labels)
    found = []
    for name, colour, remark, poses in sets:
        found.append((name, colour, remark, drawn[: len(poses)]))
        drawn = drawn[len(poses) :]
    return found


def _labels(what: str, poses: np.ndarray) -> list[str]:
    return [f"{what}, {k + 1}" for k in range(len(poses))]


def _calibration(priors: Sequence[Judged]) -> str:
    x = np.array([0.0, *DEGREES])
    series = [
        Series(p.name, x, np.array([0.5, *(p.judgement.auroc[d] for d in DEGREES)]), k, dots=True)
        for k, p in enumerate(priors)
    ]
    text = "; ".join(f"{p.name} " + ", ".join(f"{v:.3f}" for v in p.judgement.auroc.values()) for p in priors)
    return charts.chart(
        series,
        label=f"AUROC at 5, 10 and 20 degrees of noise: {text}",
        x_title="degrees by which every joint is turned",
        y_title="share of pairs told apart",
        x_range=(0.0, 20.5),
        y_range=(0.5, 1.0),
        x_ticks=[0.0, *DEGREES],
    )


def _energies(p: Judged) -> str:
    energies = p.judgement.curves.energies
    real = energies[0.0][np.isfinite(energies[0.0])]
    low = float(np.quantile(real, 0.002)) if len(real) else 0.0
    near = energies[DEGREES[0]][np.isfinite(energies[DEGREES[0]])]
    most, far = (float(np.quantile(x, q)) if len(x) else low for x, q in ((real, 0.99), (near, 0.8)))
    # A sharp prior's energies at 5 degrees are tens of nats: a range with all of them in it shows nothing else.
    high = max(low + 1.0, most, min(far, low + 4 * (most - low)))
    series = [Series("held out", *charts.density(real, low=low, high=high), REAL, filled=True)]
    for k, degrees in enumerate(DEGREES):
        found = charts.density(energies[degrees], low=low, high=high)
        series.append(Series(f"{degrees:g} degrees", *found, 4 + k))
    return charts.chart(
        series,
        label=f"Energies of {p.name}: held-out poses and the same poses with every joint turned by 5, 10, 20 degrees",
        x_title="energy per dimension, nats",
        x_range=(low, high),
        size=(420.0, 190.0),
    )


def _completions(priors: Sequence[Judged]) -> list[tuple[str, list[tuple[str, int, float, float]]]]:
    """Per task: bars as (name, colour, degrees, share of the longest), the mean pose last."""
    tasks = dict.fromkeys(c.hidden for p in priors for c in p.judgement.completions)
    found = []
    for hidden in tasks:
        each = [
            (p.name, k, c.error_deg, c.mean_pose_deg)
            for k, p in enumerate(priors)
            for c in p.judgement.completions
            if c.hidden == hidden
        ]
        longest = max(max(e[2], e[3]) for e in each) or 1.0
        bars = [(name, k, error, error / longest) for name, k, error, _ in each]
        bars.append(("mean pose", REAL, each[0][3], each[0][3] / longest))
        found.append((hidden, bars))
    return found


@dataclass(frozen=True, slots=True)
class Cell:
    """A picture of a completed pose and what stands below it; the pose itself has no error."""

    svg: str
    name: str
    colour: int
    error: str


def _completed(priors: Sequence[Judged]) -> list[list[list[Cell]]]:
    """Per task, as `_completions`: for each pose the pose, each prior's completion of it, and the mean pose."""
    found = []
    for hidden in dict.fromkeys(c.hidden for p in priors for c in p.judgement.completions):
        asked: dict[Any, list[tuple[int, Judged, Examples]]] = {}
        for k, p in enumerate(priors):
            for e in p.judgement.curves.completed:
                if e.hidden == hidden:  # priors of other joints have others hidden: rows of their own
                    asked.setdefault((p.judgement.index, e.visible.tobytes()), []).append((k, p, e))
        found.append([row for group in asked.values() for row in _completed_rows(group)])
    return found


def _completed_rows(group: Sequence[tuple[int, Judged, Examples]]) -> list[list[Cell]]:
    _, lead, first = group[0]
    names = [("held-out pose", REAL), *((p.name, k) for k, p, _ in group), ("mean pose", REAL)]
    poses = np.stack([first.truth, *(e.found for *_, e in group), first.mean], axis=1)
    poses[:, :, _unseen(lead.judgement)] = 0.0
    errors = np.stack([*(e.error_deg for *_, e in group), first.mean_pose_deg], axis=1)
    cells = [["", *(f"{v:.1f}°" for v in row)] for row in errors.tolist()]
    labels = [
        [
            f"{name}: {first.hidden} {'off by ' + error if error else 'hidden'}"
            for (name, _), error in zip(names, row, strict=True)
        ]
        for row in cells
    ]
    hands = min(lead.judgement.index) >= 3 * 25
    drawn = pictures.completed_figures(poses, visible=first.visible, labels=labels, hands=hands)
    return [
        [Cell(svg, *name, error) for svg, name, error in zip(svgs, names, row, strict=True)]
        for svgs, row in zip(drawn, cells, strict=True)
    ]


def _unseen(judgement: Judgement) -> list[int]:
    """Joints that a prior does not see, so that its samples do not show them either."""
    return [j for j in range(55) if all(3 * j + k not in judgement.index for k in range(3))]


def _memory(priors: Sequence[Judged]) -> str:
    real = priors[0].judgement.curves.held_out_nearest
    series = [Series("held-out poses", *charts.cumulative(real), REAL, dashed=True)]
    series += [
        Series(p.name, *charts.cumulative(p.judgement.curves.nearest), k) for k, p in enumerate(priors)
    ]
    return charts.chart(
        series,
        label="Share of samples within a distance of the nearest training pose, beside that of held-out poses",
        x_title="distance to the nearest training pose, degrees (mean over joints)",
        y_title="share of poses",
        x_range=(0.0, max(float(s.x.max()) for s in series)),
        y_range=(0.0, 1.0),
    )


def _marginals(priors: Sequence[Judged]) -> list[tuple[str, str, str]]:
    """Joint, its distances as text, and a small chart of angles from the mean rotation, per joint of the first."""
    first = priors[0].judgement.curves
    found = []
    for j, joint in enumerate(first.joints):
        real = first.held_out_angles[:, j]
        columns = [(k, p, p.judgement.curves.joints) for k, p in enumerate(priors)]
        columns = [(k, p, names) for k, p, names in columns if joint in names]
        drawn = [p.judgement.curves.angles[:, names.index(joint)] for _, p, names in columns]
        high = max(5.0, *(float(np.quantile(a, 0.98)) for a in (real, *drawn)))
        series = [Series("held out", *charts.density(real, low=0.0, high=high, bins=30), REAL, filled=True)]
        for (k, p, _), angles in zip(columns, drawn, strict=True):
            series.append(Series(p.name, *charts.density(angles, low=0.0, high=high, bins=30), k))
        distances = [p.judgement.curves.marginals[names.index(joint)] for _, p, names in columns]
        title = joint.replace("_", " ")
        text = " · ".join(f"{d:.1f}°" for d in distances)
        label = (
            f"{title}: angle from the mean rotation, 0 to {high:.0f} degrees, samples beside held-out poses"
        )
        found.append((title, text, charts.small(series, label=label, x_range=(0.0, high))))
    return found
