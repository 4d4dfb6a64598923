"""The stick figures of a page about priors: samples and completed poses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from mocap_ray.pages.prior_charts import REAL
from mocap_ray.priors import pictures
from mocap_ray.priors.judging.completion import Examples
from mocap_ray.priors.judging.evaluate import Evaluation, Judged
from mocap_ray.priors.judging.judgement import Judgement

SHOWN = 12
HEADER = 9
"""Number of samples in the header."""


def only_hands(judgement: Judgement) -> bool:
    """Whether a prior models hands alone."""
    return min(judgement.index) >= 3 * 25


def header(judgement: Judgement) -> list[Markup]:
    """The first samples."""
    poses = judgement.curves.shown[:HEADER]
    return drawing(judgement)(poses, labels=[f"Sample {k + 1}" for k in range(len(poses))])


def galleries(report: Evaluation) -> list[tuple[str, int, str, list[Markup]]]:
    """Title, colour, remark and pictures: the held-out poses first, then each prior's samples."""
    lead = report.priors[0].judgement
    real = np.array(report.real[:SHOWN])
    real[:, unseen(lead)] = 0.0
    sets = [("held-out poses", REAL, f"split {report.split}", real)]
    for k, p in enumerate(report.priors):
        remark = p.judgement.kind if p.judgement.kind != p.name else ""
        sets.append((p.name, k, remark, p.judgement.curves.shown[:SHOWN]))
    # Drawn in one call, so that all have the same scale.
    labels = [f"{name}, {k + 1}" for name, _, _, poses in sets for k in range(len(poses))]
    drawn = drawing(lead)(np.concatenate([poses for *_, poses in sets]), labels=labels)
    found = []
    for name, colour, remark, poses in sets:
        found.append((name, colour, remark, drawn[: len(poses)]))
        drawn = drawn[len(poses) :]
    return found


def completions(priors: Sequence[Judged]) -> list[tuple[str, list[tuple[str, int, float, float]]]]:
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
    """A picture of a completed pose and the text below it; the pose itself has no error."""

    svg: Markup
    name: str
    colour: int
    error: str


def completed(priors: Sequence[Judged]) -> list[list[list[Cell]]]:
    """Per task, in the order of `completions`: rows of a pose, each prior's completion of it, and the mean pose."""
    found = []
    for hidden in dict.fromkeys(c.hidden for p in priors for c in p.judgement.completions):
        groups: dict[Any, list[tuple[int, Judged, Examples]]] = {}
        for k, p in enumerate(priors):
            for e in p.judgement.curves.completed:
                if e.hidden == hidden:  # priors of other joints hide other joints and get rows of their own
                    groups.setdefault((p.judgement.index, e.visible.tobytes()), []).append((k, p, e))
        found.append([row for group in groups.values() for row in _completed_rows(group)])
    return found


def _completed_rows(group: Sequence[tuple[int, Judged, Examples]]) -> list[list[Cell]]:
    _, lead, first = group[0]
    names = [("held-out pose", REAL), *((p.name, k) for k, p, _ in group), ("mean pose", REAL)]
    poses = np.stack([first.truth, *(e.found for *_, e in group), first.mean], axis=1)
    poses[:, :, unseen(lead.judgement)] = 0.0
    errors = np.stack([*(e.error_deg for *_, e in group), first.mean_pose_deg], axis=1)
    cells = [["", *(f"{v:.1f}°" for v in row)] for row in errors.tolist()]
    labels = [
        [
            f"{name}: {first.hidden} {'off by ' + error if error else 'hidden'}"
            for (name, _), error in zip(names, row, strict=True)
        ]
        for row in cells
    ]
    drawn = pictures.completed_figures(
        poses, visible=first.visible, labels=labels, hands=only_hands(lead.judgement)
    )
    return [
        [Cell(svg, *name, error) for svg, name, error in zip(svgs, names, row, strict=True)]
        for svgs, row in zip(drawn, cells, strict=True)
    ]


def drawing(judgement: Judgement) -> Callable[..., list[Markup]]:
    """The function that draws poses: stick figures, or hands if a prior models hands alone."""
    return pictures.hand_figures if only_hands(judgement) else pictures.body_figures


def unseen(judgement: Judgement) -> list[int]:
    """Joints that a prior does not model; its samples show them at rest."""
    return [j for j in range(55) if all(3 * j + k not in judgement.index for k in range(3))]
