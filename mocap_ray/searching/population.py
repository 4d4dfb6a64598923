"""A population in training: how values mutate, and what a trial's record says of its clones.

Jaderberg et al. 2017, "Population Based Training of Neural Networks", arXiv:1711.09846: now and then a trial that
is behind takes over the weights of one that leads, with values a step away from the leader's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from mocap_ray.searching.space import Range
from mocap_ray.storage import Place

TRIAL_NAME = "trial.json"
RESAMPLE = 0.25
"""Probability that a value is drawn anew instead of moved."""
FACTORS = (0.8, 1.2)
"""By which a number is moved."""


def refusals(space: Mapping[str, Range], may_change: Sequence[str]) -> list[str]:
    """What in a space a population cannot search, each with what to do; empty where all is well.

    Args:
        space: by key.
        may_change: keys of the training that may change within it; see `options.may_change`.
    """
    problems = []
    for key, r in space.items():
        if key not in may_change:
            problems.append(
                f"space.{key}: under scheduler pbt a trial goes on with another one's weights, so {key} must stay as "
                f"it is; set it under fixed, or use scheduler asha. May change: {', '.join(may_change)}"
            )
        elif r.kind == "grid":
            problems.append(f"space.{key}: scheduler pbt moves through values; write choice in place of grid")
        elif r.when:
            problems.append(f"space.{key}: scheduler pbt knows no conditions; remove when")
    return problems


def mutate(space: Mapping[str, Range], values: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Values a step away: drawn anew with probability `RESAMPLE`, else a neighbour or times one of `FACTORS`.

    What is moved stays within the ends of its range.
    """
    return {key: _moved(r, values[key], rng) for key, r in space.items()}


def _moved(r: Range, value: Any, rng: np.random.Generator) -> Any:
    anew, up = rng.random() < RESAMPLE, bool(rng.integers(2))
    drawn = r.draw(rng)
    if anew:
        return drawn
    if r.kind == "choice":
        at = r.values.index(value) + (1 if up else -1)
        return r.values[min(max(at, 0), len(r.values) - 1)]
    low, high = r.values
    moved = value * FACTORS[up]
    if r.kind == "int":
        # A whole step at least, or small numbers would stay for ever.
        moved = max(round(moved), value + 1) if up else min(round(moved), value - 1)
    return type(value)(min(max(moved, low), high))


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the history of a trial's weights.

    Attributes:
        trial: in whose folder they were trained.
        epoch: after which these values held; 0 for the draw.
        values: by key.
        left: what `trial` gave up to go on from there: its best row and the values of that; empty for the draw.
    """

    trial: int
    epoch: int
    values: dict[str, Any]
    left: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Clone:
    """A trial went on with another's weights.

    Attributes:
        id: of the scheduler's decision, so that a killed trial knows whether it carried it out.
        donor: whose weights.
        epoch: of them.
        own_epoch: of the weights given up.
        values: with which it went on, by key.
    """

    id: str
    donor: int
    epoch: int
    own_epoch: int
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """`trial.json` of a trial.

    Attributes:
        number: from 0.
        values: in force now, by key.
        history: of its weights, whichever trials they went through; empty where nothing mutates.
        clones: what befell this trial.
        pending: a clone and its stage that were begun; a kill came before their end where there is one.
    """

    number: int
    values: dict[str, Any]
    history: tuple[Stage, ...] = ()
    clones: tuple[Clone, ...] = ()
    pending: tuple[Clone, Stage] | None = None

    def write(self, folder: Place) -> None:
        """Publish it in the trial's folder. Raises OSError."""
        plain = {k: v for k, v in asdict(self).items() if v}
        plain |= {"number": self.number, "values": self.values}
        folder.write_atomic((json.dumps(plain, indent=1) + "\n").encode(), TRIAL_NAME)

    def begun(self, clone: Clone, stage: Stage) -> Record:
        """With a clone under way."""
        return replace(self, pending=(clone, stage))

    def done(self, donor: Record, epoch: int) -> Record:
        """With the pending clone carried out, from weights of that epoch: their history becomes this trial's."""
        assert self.pending is not None
        clone, stage = self.pending
        return Record(
            self.number,
            stage.values,
            (*donor.history, replace(stage, epoch=epoch)),
            (*self.clones, replace(clone, epoch=epoch)),
        )


def read_record(folder: Place, number: int) -> Record:
    """The record in a trial's folder; an empty one where none is."""
    if not folder.exists(TRIAL_NAME):
        return Record(number, {})
    found = json.loads(folder.read(TRIAL_NAME))
    pending = found.get("pending")
    return Record(
        found["number"],
        found["values"],
        tuple(Stage(**s) for s in found.get("history", ())),
        tuple(Clone(**c) for c in found.get("clones", ())),
        None if pending is None else (Clone(**pending[0]), Stage(**pending[1])),
    )


def values_at(history: Sequence[Stage], epoch: int) -> dict[str, Any]:
    """The values with which an epoch was trained."""
    held = [stage.values for stage in history if stage.epoch < epoch]
    return held[-1] if held else {}


def lineage(history: Sequence[Stage]) -> str:
    """`000, 002 from epoch 4`: through which trials the weights went."""
    return ", ".join(f"{s.trial:03d}" + (f" from epoch {s.epoch}" if s.epoch else "") for s in history)
