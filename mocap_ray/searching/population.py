"""Population based training: how hyperparameters are perturbed, and the record of each trial.

Jaderberg et al. 2017, "Population Based Training of Neural Networks", arXiv:1711.09846: at intervals, a poor trial
copies the weights of a good one (exploit) and continues with perturbed values of its hyperparameters (explore).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator

from mocap_ray.documents import Count, parse
from mocap_ray.searching.space import Range
from mocap_ray.storage import Place

TRIAL_NAME = "trial.json"
RESAMPLE = 0.25
"""Probability of resampling a value instead of perturbing it."""
FACTORS = (0.8, 1.2)
"""Factors for perturbing a number."""


def refusals(space: Mapping[str, Range], may_change: Sequence[str]) -> list[str]:
    """The problems of a space under scheduler pbt, each with what to do; empty if there are none.

    Args:
        space: ranges by key.
        may_change: keys that may change during a training; see `options.may_change`.
    """
    problems = []
    for key, r in space.items():
        if key not in may_change:
            problems.append(
                f"space.{key}: under scheduler pbt a trial continues with the weights of another one, so {key} must "
                f"stay as it is; set it under fixed, or use scheduler asha. May change: {', '.join(may_change)}"
            )
        elif r.kind == "grid":
            problems.append(
                f"space.{key}: scheduler pbt perturbs values and walks no grid; use choice instead of grid"
            )
        elif r.when:
            problems.append(f"space.{key}: scheduler pbt does not support conditions; remove when")
    return problems


def mutate(space: Mapping[str, Range], values: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Perturb values: resample with probability `RESAMPLE`, else take a neighbour or multiply by one of `FACTORS`.

    Perturbed numbers stay within their range.
    """
    return {key: _perturbed(r, values[key], rng) for key, r in space.items()}


def _perturbed(r: Range, value: Any, rng: np.random.Generator) -> Any:
    resample, up = rng.random() < RESAMPLE, bool(rng.integers(2))
    drawn = r.draw(rng)
    if resample:
        return drawn
    if r.kind == "choice":
        at = r.values.index(value) + (1 if up else -1)
        return r.values[min(max(at, 0), len(r.values) - 1)]
    low, high = r.values
    moved = value * FACTORS[up]
    if r.kind == "int":
        # At least 1, or small numbers would never change.
        moved = max(round(moved), value + 1) if up else min(round(moved), value - 1)
    return type(value)(min(max(moved, low), high))


def _checked_left(left: dict[str, Any]) -> dict[str, Any]:
    """`Stage.left` of a file. Raises ValueError unless it is empty, or has a row with its epoch and the values."""
    if left:
        row, values = left.get("row"), left.get("values")
        if not isinstance(row, dict) or not isinstance(values, dict) or not isinstance(row.get("epoch"), int):
            raise ValueError("expected a row with its epoch, and the values of the row")
        if not all(isinstance(number, int | float) for number in row.values()):
            raise ValueError("expected numbers in the row")
    return left


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage in the history of the weights of a trial.

    Attributes:
        trial: the trial in whose folder the weights were trained.
        epoch: the epoch after which these values are used; 0 for the initial values.
        values: values by key.
        left: the best row that `trial` had before it was replaced, and the values of that row; empty for the initial
            stage.
    """

    trial: Count
    epoch: Count
    values: dict[str, Any]
    left: Annotated[dict[str, Any], AfterValidator(_checked_left)]


@dataclass(frozen=True, slots=True)
class Clone:
    """A replacement of the weights of a trial by those of another one.

    Attributes:
        id: id of the scheduler's decision, so that a killed trial knows whether it was carried out.
        donor: the trial that the weights are copied from.
        epoch: epoch of the copied weights.
        own_epoch: epoch of the replaced weights.
        values: values by key with which the trial continues.
    """

    id: str
    donor: Count
    epoch: Count
    own_epoch: Count
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """The content of `trial.json`.

    Attributes:
        number: number of the trial, from 0.
        values: current values by key.
        history: stages of its weights, across trials; empty except under scheduler pbt.
        clones: all replacements of the weights of this trial.
        pending: a clone and its stage that were started but not finished; left by a kill.
        score: of a trial with folds: epoch and value of the best mean, and the spread over the folds in that epoch.
    """

    number: Count
    values: dict[str, Any]
    history: tuple[Stage, ...] = ()
    clones: tuple[Clone, ...] = ()
    pending: tuple[Clone, Stage] | None = None
    score: dict[str, float] = field(default_factory=dict)

    def write(self, folder: Place) -> None:
        """Write the record into the folder of the trial. Raises OSError."""
        plain = {k: v for k, v in asdict(self).items() if v}
        plain |= {"number": self.number, "values": self.values}
        folder.write_atomic((json.dumps(plain, indent=1) + "\n").encode(), TRIAL_NAME)

    def with_pending(self, clone: Clone, stage: Stage) -> Record:
        """The record with a clone that is about to start."""
        return replace(self, pending=(clone, stage))

    def with_clone(self, donor: Record, epoch: int) -> Record:
        """The record after the pending clone, from the donor's weights at `epoch` and their history."""
        assert self.pending is not None
        clone, stage = self.pending
        return Record(
            self.number,
            stage.values,
            (*donor.history, replace(stage, epoch=epoch)),
            (*self.clones, replace(clone, epoch=epoch)),
        )


def read_record(folder: Place, number: int) -> Record:
    """Read the record in the folder of a trial; an empty one if there is none. Raises UserError if it is damaged."""
    if not folder.exists(TRIAL_NAME):
        return Record(number, {})
    return parse(
        folder.read(TRIAL_NAME),
        Record,
        where=f"{folder.uri}/{TRIAL_NAME}",
        what="the record of a trial",
        remedy="Copy the folder again, or delete it: the search trains this trial again.",
    )


def values_at(history: Sequence[Stage], epoch: int) -> dict[str, Any]:
    """The values that an epoch was trained with."""
    earlier = [stage.values for stage in history if stage.epoch < epoch]
    return earlier[-1] if earlier else {}


def lineage(history: Sequence[Stage]) -> str:
    """The trials that trained the weights, such as `000, 002 from epoch 4`."""
    return ", ".join(f"{s.trial:03d}" + (f" from epoch {s.epoch}" if s.epoch else "") for s in history)
