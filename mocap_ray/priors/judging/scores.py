"""The table of one or more judged priors as text, for the page and for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mocap_ray.priors.judging.evaluate import Judged
from mocap_ray.priors.judging.judgement import DEGREES, Judgement, Likelihood
from mocap_ray.wording import counted

UNIFORM = (math.log(8 * math.pi**2) + 2 * math.log(math.pi / 2)) / 3
"""Nats per dimension of evenly random rotations, at most: log(8 pi^2) for the volume of SO(3), and the density of
rotation vectors at half a turn."""


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
            [f"{'≤ ' if x.bound else ''}{short(x.nll)}" + _error(x.error) for x in likelihoods],
            [x.nll for x in likelihoods] if comparable else [],
            f"{likelihoods[0].gaussian_nll:.3f} (a Gaussian)",
        ),
        _row("", "bits per dimension", [f"{x.bits:.3f}" for x in likelihoods], [], ""),
        *_tail_rows(likelihoods, ranked=comparable),
        _row(
            "train NLL",
            "a lower value than held out: overfitting",
            [short(x.train_nll) for x in likelihoods],
            [],
            "",
        ),
    ]
    found += _common_rows(judgements)
    for k, degrees in enumerate(DEGREES):
        values = [j.auroc[degrees] for j in judgements]
        title = "AUROC" if k == 0 else ""
        note = f"every joint turned by {degrees:g}°"
        found.append(_row(title, note, [f"{v:.3f}" for v in values], [-v for v in values], "0.5"))
    found += _far_rows(judgements)
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


def worst_line(prior: Judged) -> str:
    """Where the worst pose of a prior comes from, and which joint is to blame, for the terminal."""
    worst = prior.judgement.worst
    joint = max(worst.joints, key=lambda name: worst.joints[name])
    part = f"{worst.joints[joint]:,.1f} of its {worst.nll * prior.judgement.likelihood.active:,.1f} nats"
    return f"worst pose of {prior.name}: {prior.source}; {joint.replace('_', ' ')} has " + (
        part if worst.exact else f"{worst.joints[joint]:,.1f} nats more than at the training mean"
    )


def _tail_rows(likelihoods: Sequence[Likelihood], *, ranked: bool) -> list[Row]:
    """The distribution of NLLs over poses."""
    tails = [x.tail for x in likelihoods]
    signs = ["≤ " if x.bound else "" for x in likelihoods]
    found = []
    for note, values in (
        ("median", [t.median for t in tails]),
        ("99th percentile", [t.p99 for t in tails]),
        ("worst pose", [t.worst for t in tails]),
        ("mean without the worst 1 %", [t.others for t in tails]),
    ):
        cells = [f"{sign}{short(v)}" for sign, v in zip(signs, values, strict=True)]
        found.append(_row("", note, cells, values if ranked else [], ""))
    shares = [f"{t.worst_share:.0%}" for t in tails]
    found.append(
        _row("", "share of the excess over the median that the worst 1 % own", shares, [], "7 % (normal)")
    )
    return found


def _common_rows(judgements: Sequence[Judgement]) -> list[Row]:
    """The NLL over the joints that all priors model and that the held-out poses move."""
    each = [j.common for j in judgements]
    if not all(each):
        return []
    known = [c for c in each if c is not None]
    first = known[0]
    joints = counted(len(first.joints), "joint")
    return [
        _row(
            "NLL of common joints",
            f"nats per dimension over {joints} ({counted(first.active, 'axis', 'axes')})",
            [f"{'≤ ' if c.bound else ''}{short(c.nll)}" for c in known],
            [c.nll for c in known],
            f"{short(first.gaussian_nll)} (a Gaussian)",
        )
    ]


def _far_rows(judgements: Sequence[Judgement]) -> list[Row]:
    """Energy and gradient between held-out poses and random rotations; none is the best, a constant has the lowest."""
    far = [j.geodesics for j in judgements]
    energies, gradients = [g.largest_energy for g in far], [g.largest_gradient for g in far]
    return [
        _row(
            "far from the data",
            "largest energy on the way to random rotations, nats per dimension",
            [short(v) for v in energies],
            [],
            f"{UNIFORM:.1f} (evenly random rotations)",
        ),
        _row(
            "",
            "largest gradient there, nats per rad and dimension",
            [short(v) for v in gradients],
            [],
            "",
        ),
    ]


def short(value: float) -> str:
    """Three decimals for numbers that are compared by them, fewer for large ones.

    >>> short(-0.87123), short(2829.4), short(float("inf"))
    ('-0.871', '2,829', 'not finite')
    """
    if not np.isfinite(value):
        return "not finite"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 1000 else f"{value:,.0f}"


def _error(value: float) -> str:
    return f" ± {value:.3f}" if np.isfinite(value) else ""


def _row(title: str, note: str, cells: list[str], ranked: Sequence[float], naive: str) -> Row:
    """A row of the table; the lowest of `ranked` is the best prior; empty: none is marked."""
    best = int(np.argmin(ranked)) if len(ranked) > 1 and np.isfinite(ranked).any() else None
    return Row(title, note, cells, best, naive)
