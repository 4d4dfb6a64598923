"""The table of an evaluation, for the terminal and for the page."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from mocap_ray.generation.judging.results import MotionEvaluation, Scores


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table.

    Attributes:
        title: what is measured, with its unit.
        cells: one for each domain.
        note: how to read it.
    """

    title: str
    cells: list[str]
    note: str


def rows(report: MotionEvaluation) -> list[Row]:
    """The figures that are known; those of the originals in parentheses."""
    lines: list[tuple[str, Callable[[Scores], str], str]] = [
        ("windows", lambda s: f"{s.windows:,}", "held out"),
        ("MPJPE, mm", lambda s: _short(s.mpjpe), "both start at the same place and run freely"),
        ("MPJPE in place, mm", lambda s: _short(s.mpjpe_local), "with the roots on the same spot"),
        ("root error, mm", lambda s: _short(s.root), "drift of the path"),
        ("contact F1", lambda s: _short(s.contact_f1, 3), "of the four contacts of the feet"),
        ("KL, nats per number", lambda s: _short(s.kl, 3), "of the latents from a standard normal"),
        ("active units", lambda s: f"{s.active} of {s.latent}", "numbers of a latent that are used"),
        (
            "style accuracy",
            lambda s: _beside(s.style_accuracy, s.style_baseline, 2),
            "told no style (always the most frequent one)",
        ),
        ("jitter, m/s³", lambda s: _beside(s.jitter, s.jitter_real, 0), "mean third difference (originals)"),
        ("foot skate, mm/frame", lambda s: _beside(s.skate, s.skate_real, 1), "in contact (originals)"),
        ("FID", lambda s: _beside(s.fid, s.fid_split, 2), "to the originals (two halves of the originals)"),
        (
            "diversity",
            lambda s: _beside(s.diversity, s.diversity_real, 2),
            "of feature vectors (originals)",
        ),
    ]
    found = [Row(title, [cell(s) for s in report.scores], note) for title, cell, note in lines]
    return [row for row in found if any(row.cells)]


def heading(report: MotionEvaluation) -> str:
    """What was judged on what, on one line."""
    windows = sum(s.windows for s in report.scores if s.name != "all")
    return f"{windows:,} windows of up to {report.length} frames, split {report.split} of {report.root}"


def _short(value: float, digits: int = 1) -> str:
    return "" if math.isnan(value) else f"{value:,.{digits}f}"


def _beside(value: float, real: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:,.{digits}f} ({_short(real, digits) or '-'})"
