"""How a metric differs between the folds of a trial, from the columns of metrics.csv beside its mean."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mocap_ray.training.means import SPREAD

SPREAD_HEADS = ("std of folds", "worst fold")
"""Names of the columns in a table."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How a metric differs between the folds of a trial, whose mean is compared with other trials.

    Attributes:
        std: sample standard deviation over the folds.
        worst: the worst fold.
    """

    std: float
    worst: float


def spread_of(row: Mapping[str, int | float], metric: str, mode: str) -> Spread | None:
    """The spread in a row of metrics.csv; None if the row has no folds, or none for this metric."""
    score = score_of(row, metric)
    if score is None:
        return None
    return Spread(score[f"{metric}_std"], score[f"{metric}_{'max' if mode == 'min' else 'min'}"])


def score_of(row: Mapping[str, int | float], metric: str) -> dict[str, float] | None:
    """Epoch, mean and spread of a metric in a row of metrics.csv; None if the row has no spread of it."""
    keys = (metric, *(f"{metric}_{ending}" for ending in SPREAD))
    if not all(math.isfinite(row.get(key, math.nan)) for key in keys):
        return None
    return {key: float(row[key]) for key in ("epoch", *keys)}


def spread_text(spread: Spread | None, write: Callable[[float], str]) -> tuple[str, str]:
    """Standard deviation and worst fold as text."""
    return ("", "") if spread is None else (write(spread.std), write(spread.worst))
