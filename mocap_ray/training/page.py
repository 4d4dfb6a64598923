"""One self-contained HTML page about one prior, or several side by side (floor 5).

No network and no external file. What is drawn stands in the table as numbers, beside the naive answer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from jaxtyping import Float

from mocap_ray import __version__
from mocap_ray.dataset import pictures
from mocap_ray.storage import place
from mocap_ray.training import figures, plots
from mocap_ray.training.evaluate import Judged, Report
from mocap_ray.training.judgement import DEGREES, Judgement
from mocap_ray.training.plots import Series

SHOWN = 12
REAL = 7
"""Index of the colour of held-out poses."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: text per prior, the index of the best one, and the naive answer."""

    title: str
    note: str
    cells: list[str]
    best: int | None
    naive: str


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
        loader=jinja2.ChoiceLoader(
            [
                jinja2.PackageLoader("mocap_ray.training", "templates"),
                jinja2.PackageLoader("mocap_ray.dataset", "templates"),
            ]
        ),
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
        memory=_memory(report.priors),
        marginals=_marginals(report.priors),
        real_colour=REAL,
        css="".join(source.get_source(environment, name)[0] for name in ("page.css", "judge.css"))
        + pictures.STYLE,
    )


def gallery(poses: Float[np.ndarray, "N 55 3"], *, joints: Sequence[int], title: str) -> str:
    """A page of nothing but poses, drawn as hands where `joints`, those that a prior sees, are of hands alone."""
    draw = figures.hand_figures if all(j >= 25 for j in joints) else figures.body_figures
    drawn = draw(poses, labels=[f"Pose {k + 1}" for k in range(len(poses))])
    width = 230 if draw is figures.hand_figures else 110
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title><style>'
        "body{margin:24px;font:16px/1.5 system-ui,sans-serif;background:#fff;color:#131a22}h1{font-size:20px}"
        f"div{{display:grid;grid-template-columns:repeat(auto-fill,minmax({width}px,1fr));gap:10px}}"
        f"{pictures.STYLE}</style></head><body><h1>{escape(title)}</h1><div>{''.join(drawn)}</div></body></html>\n"
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
        return (figures.hand_figures if hands else figures.body_figures)(poses, labels=labels)

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


def rows(priors: Sequence[Judged]) -> list[Row]:
    """The table: every figure with its naive answer; the best of several priors is marked."""
    judgements = [p.judgement for p in priors]
    comparable = len({j.index for j in judgements}) == 1
    likelihoods = [j.likelihood for j in judgements]
    first = judgements[0].samples
    found = [
        _row(
            "held-out NLL",
            "nats per dimension, ± standard error over clips",
            [f"{'≤ ' if x.bound else ''}{x.nll:.3f}" + _error(x.error) for x in likelihoods],
            [x.nll for x in likelihoods] if comparable else [],
            f"{likelihoods[0].gaussian_nll:.3f} (a Gaussian)",
        ),
        _row("", "bits per dimension", [f"{x.bits:.3f}" for x in likelihoods], [], ""),
        _row(
            "train NLL",
            "the gap above it does not generalise",
            [f"{x.train_nll:.3f}" for x in likelihoods],
            [],
            "",
        ),
    ]
    for k, degrees in enumerate(DEGREES):
        values = [j.auroc[degrees] for j in judgements]
        title = "AUROC" if k == 0 else ""
        note = f"every joint turned by {degrees:g}°"
        found.append(_row(title, note, [f"{v:.3f}" for v in values], [-v for v in values], "0.5"))
    for k, hidden in enumerate(dict.fromkeys(c.hidden for j in judgements for c in j.completions)):
        each = [next((c for c in j.completions if c.hidden == hidden), None) for j in judgements]
        errors = [f"{c.error_deg:.1f}°" if c else "" for c in each]
        naive = next(c.mean_pose_deg for c in each if c)
        worth = [c.error_deg if c else np.inf for c in each] if comparable else []
        title = "completion" if k == 0 else ""
        found.append(_row(title, f"error of {hidden}", errors, worth, f"{naive:.1f}° (mean pose)"))
    samples = [j.samples for j in judgements]
    found += [
        _row(
            "samples",
            "mean distance of two: diversity",
            [f"{s.diversity_deg:.1f}°" for s in samples],
            [abs(s.diversity_deg - s.held_out_diversity_deg) for s in samples] if comparable else [],
            f"{first.held_out_diversity_deg:.1f}° (held out)",
        ),
        _row(
            "",
            "median distance to the nearest training pose",
            [f"{s.nearest_deg:.1f}°" for s in samples],
            [],
            f"{first.held_out_nearest_deg:.1f}° (held out)",
        ),
        _row("", "copies of training poses", [f"{s.copies:.1%}" for s in samples], [], "5 % (held out)"),
        _row(
            "",
            "marginals: distance to held-out poses",
            [f"{s.marginal_deg:.1f}°" for s in samples],
            [s.marginal_deg for s in samples] if comparable else [],
            f"{first.train_marginal_deg:.1f}° (training poses)",
        ),
        _row("parameters", "", [f"{j.parameters:,}" for j in judgements], [], ""),
    ]
    if any(j.flow for j in judgements):
        checks = [j.flow for j in judgements]
        found += [
            _row(
                "flow check",
                "round trip, largest error in float32",
                [f"{c.round_trip_max:.1e}" if c else "" for c in checks],
                [],
                "0",
            ),
            _row(
                "",
                "log-determinant against autograd, float64",
                [f"{c.log_det:.1e}" if c else "" for c in checks],
                [],
                "0",
            ),
        ]
    return found


def _error(value: float) -> str:
    return f" ± {value:.3f}" if np.isfinite(value) else ""


def _row(title: str, note: str, cells: list[str], worth: Sequence[float], naive: str) -> Row:
    """`worth` is low where a prior is good; empty: nothing to win."""
    best = int(np.argmin(worth)) if len(worth) > 1 and np.isfinite(worth).any() else None
    return Row(title, note, cells, best, naive)


def _galleries(report: Report) -> list[tuple[str, int, str, list[str]]]:
    """Title, colour, remark and pictures: the held-out poses first, then each prior's samples."""
    draw = _drawing(report.priors[0].judgement)
    joints = report.priors[0].judgement.index
    real = np.array(report.real[:SHOWN])
    hidden = [j for j in range(55) if all(3 * j + k not in joints for k in range(3))]
    real[:, hidden] = 0.0  # what a prior does not see, its samples do not show either
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
    return plots.chart(
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
    far = energies[DEGREES[1]][np.isfinite(energies[DEGREES[1]])]
    high = max(low + 1.0, *(float(np.quantile(x, q)) for x, q in ((real, 0.99), (far, 0.7)) if len(x)))
    series = [Series("held out", *plots.density(real, low=low, high=high), REAL, filled=True)]
    for k, degrees in enumerate(DEGREES):
        found = plots.density(energies[degrees], low=low, high=high)
        series.append(Series(f"{degrees:g} degrees", *found, 4 + k))
    return plots.chart(
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


def _memory(priors: Sequence[Judged]) -> str:
    real = priors[0].judgement.curves.held_out_nearest
    series = [Series("held-out poses", *plots.cumulative(real), REAL, dashed=True)]
    series += [Series(p.name, *plots.cumulative(p.judgement.curves.nearest), k) for k, p in enumerate(priors)]
    return plots.chart(
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
        series = [Series("held out", *plots.density(real, low=0.0, high=high, bins=30), REAL, filled=True)]
        for (k, p, _), angles in zip(columns, drawn, strict=True):
            series.append(Series(p.name, *plots.density(angles, low=0.0, high=high, bins=30), k))
        distances = [p.judgement.curves.marginals[names.index(joint)] for _, p, names in columns]
        title = joint.replace("_", " ")
        text = " · ".join(f"{d:.1f}°" for d in distances)
        label = (
            f"{title}: angle from the mean rotation, 0 to {high:.0f} degrees, samples beside held-out poses"
        )
        found.append((title, text, plots.small(series, label=label, x_range=(0.0, high))))
    return found
