"""One self-contained HTML page about one prior, or several side by side.

The page uses no network and no external file. The table has the numbers of the charts, beside a baseline.
"""

from __future__ import annotations

import os
from pathlib import Path

from mocap_ray.drawing import templates
from mocap_ray.drawing.templates import SHARED
from mocap_ray.pages import TEMPLATES, prior_charts, prior_figures, prior_tails
from mocap_ray.pages.save import page_path, save_page
from mocap_ray.priors.judging.evaluate import Evaluation
from mocap_ray.priors.judging.judgement import Judgement
from mocap_ray.priors.judging.scores import rows, short
from mocap_ray.wording import listed


def write_page(report: Evaluation, out: str | os.PathLike[str]) -> Path:
    """Write the page; an existing folder gets it as `index.html`.

    Raises:
        UserError: `out` is on an object store.
        OSError: `out` cannot be written.
    """
    path = page_path(out)
    return save_page(priors_page(report), path)


def priors_page(report: Evaluation) -> str:
    """The page as HTML; the same report gives the same page."""
    priors, lead = report.priors, report.priors[0].judgement
    names = heading([p.name for p in priors])
    return templates.render_page(
        f"{TEMPLATES}/priors.html.j2",
        title=f"{names} · evaluation of pose priors",
        styles=[f"{TEMPLATES}/priors.css"],
        scripts=[f"{SHARED}/charts.js"],
        report=report,
        heading=names,
        kinds=" · ".join(dict.fromkeys(p.judgement.kind for p in priors)),
        hands=prior_figures.only_hands(lead),
        hero=prior_figures.header(lead),
        stats=_stats(lead) if len(priors) == 1 else [],
        rows=rows(priors),
        galleries=prior_figures.galleries(report),
        calibration=prior_charts.calibration(priors),
        energies=[
            (p.name, k, prior_charts.energies(p.name, p.judgement.curves.energies))
            for k, p in enumerate(priors)
        ],
        worst=prior_tails.worst_poses(priors),
        far=prior_tails.far_from_data(priors),
        completions=prior_figures.completions(priors),
        completed=prior_figures.completed(priors),
        memory=prior_charts.memory(priors),
        marginals=prior_charts.marginals(priors),
        real_colour=prior_charts.REAL,
    )


def heading(names: list[str]) -> str:
    """Names of up to three priors.

    >>> heading(["a", "b", "c"]), heading(["a", "b", "c", "d"])
    ('a, b and c', '4 priors')
    """
    return f"{len(names)} priors" if len(names) > 3 else listed(names)


def _stats(j: Judgement) -> list[tuple[str, str, str]]:
    completions = {c.hidden: c for c in j.completions}
    stats = [
        (f"{j.likelihood.nll:.2f}", "nats", "held-out NLL per dimension"),
        (short(j.likelihood.tail.worst), "nats", "the same of the worst pose"),
        (f"{j.auroc[10.0]:.3f}", "", "AUROC at 10 degrees"),
    ]
    for hidden in ("an arm", "a finger"):
        if hidden in completions:
            stats.append((f"{completions[hidden].error_deg:.1f}°", "", f"error of {hidden}, completed"))
    stats.append((f"{j.samples.nearest_deg:.1f}°", "", "samples to the nearest training pose"))
    stats.append((f"{j.parameters:,}", "", "parameters"))
    return stats
