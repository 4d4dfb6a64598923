"""The table of one or more judged priors as text, for the page and for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mocap_ray.priors.judging.evaluate import Judged
from mocap_ray.priors.judging.judgement import DEGREES


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: a text per prior, the index of the best one, and the baseline."""

    title: str
    note: str
    cells: list[str]
    best: int | None
    naive: str


def rows(priors: Sequence[Judged]) -> list[Row]:
    """The table: every figure with its baseline; the best of several priors is marked."""
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
            "a lower value than held out: overfitting",
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
        ranked = [c.error_deg if c else np.inf for c in each] if comparable else []
        title = "completion" if k == 0 else ""
        found.append(_row(title, f"error of {hidden}", errors, ranked, f"{naive:.1f}° (mean pose)"))
    samples = [j.samples for j in judgements]
    found += [
        _row(
            "samples",
            "diversity: mean distance of two",
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


def _row(title: str, note: str, cells: list[str], ranked: Sequence[float], naive: str) -> Row:
    """A row of the table; the lowest of `ranked` is the best prior; empty: none is marked."""
    best = int(np.argmin(ranked)) if len(ranked) > 1 and np.isfinite(ranked).any() else None
    return Row(title, note, cells, best, naive)
