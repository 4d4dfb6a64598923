"""The search space: the range of each key of a training, and how trials are sampled from it."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mocap_ray.errors import UserError
from mocap_ray.wording import counted

KINDS = ("log_uniform", "uniform", "int", "choice", "grid")
"""Continuous, uniform in the logarithm or in the value; integers, both ends included; one of a list; each of a list
in turn."""


@dataclass(frozen=True, slots=True)
class Range:
    """The range of one key.

    Attributes:
        kind: one of `KINDS`.
        values: low and high, or the list.
        when: conditions: other keys, and the values for which this key is searched; otherwise it has the value of the
            base.
    """

    kind: str
    values: tuple[Any, ...]
    when: tuple[tuple[str, tuple[Any, ...]], ...] = ()

    def draw(self, rng: np.random.Generator) -> Any:
        """Sample one value, as a plain Python value. A grid is not sampled: `draw_trials` walks it."""
        assert self.kind != "grid"
        if self.kind == "choice":
            return self.values[int(rng.integers(len(self.values)))]
        low, high = self.values
        if self.kind == "int":
            return int(rng.integers(low, high, endpoint=True))
        if self.kind == "log_uniform":
            return float(np.clip(math.exp(rng.uniform(math.log(low), math.log(high))), low, high))
        return float(rng.uniform(low, high))

    def plain(self) -> dict[str, Any]:
        """The range as in YAML."""
        when = {key: list(allowed) for key, allowed in self.when}
        return {self.kind: list(self.values), **({"when": when} if when else {})}


def parse_space(tree: Any) -> dict[str, Range]:
    """Parse ranges by dotted key, from nested or dotted YAML.

    Raises:
        UserError: every problem, each with its key.
    """
    if isinstance(tree, dict) and tree and all(isinstance(r, Range) for r in tree.values()):
        return dict(tree)
    if not isinstance(tree, dict):
        raise UserError(
            "expected keys of the training, such as training.learning_rate: {log_uniform: [1e-4, 1e-2]}"
        )
    space, problems = {}, []
    for key, leaf in _leaves(tree):
        parsed = _range(leaf)
        if isinstance(parsed, str):
            problems.append(f"{key}: {parsed}")
        else:
            problems += [
                f"{key}: its condition on {other} comes first; put {other} before it"
                for other, _ in parsed.when
                if _later(tree, key, other)
            ]
            space[key] = parsed
    if not space and not problems:
        problems.append("nothing to search; name at least one key of the training")
    if problems:
        raise UserError("; ".join(problems))
    return space


def active(space: Mapping[str, Range], key: str, chosen: Mapping[str, Any], base: Mapping[str, Any]) -> bool:
    """Whether a key is searched, given the values of the keys before it; otherwise it has the value of the base."""
    return all(chosen.get(other, base.get(other)) in allowed for other, allowed in space[key].when)


def draw_trials(
    space: Mapping[str, Range], base: Mapping[str, Any], *, trials: int | None, seed: int
) -> list[dict[str, Any]]:
    """Sample the values of each trial; equal seeds give equal trials, and more trials start with the same ones.

    Args:
        space: from `parse_space`.
        base: the flat values of the base, for conditions on keys that are not searched.
        trials: number of trials; None: each combination of the grids once.
        seed: random seed.

    Raises:
        UserError: there are fewer trials than combinations of the grids.
    """
    grids = combinations(space, base)
    count = len(grids) if trials is None else trials
    if count < len(grids):
        raise UserError(
            f"trials {count} is less than the {counted(len(grids), 'combination')} of the grids; raise it or use choice"
        )
    drawn = []
    for k in range(count):
        rng = np.random.default_rng([seed, k])
        # Every key is sampled, so that a condition does not change the samples of the keys after it.
        values = {
            key: grids[k % len(grids)].get(key) if r.kind == "grid" else r.draw(rng)
            for key, r in space.items()
        }
        drawn.append(_active_values(space, values, base))
    return drawn


def combinations(space: Mapping[str, Range], base: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each combination of the grids once; conditions on sampled keys count as met."""
    keys = [key for key, r in space.items() if r.kind == "grid"]
    distinct: list[dict[str, Any]] = []
    for values in itertools.product(*(space[key].values for key in keys)):
        chosen: dict[str, Any] = {}
        for key, value in zip(keys, values, strict=True):
            fixed = all(other in keys or other not in space for other, _ in space[key].when)
            if not fixed or active(space, key, chosen, base):
                chosen[key] = value
        if chosen not in distinct:
            distinct.append(chosen)
    return distinct


def _active_values(
    space: Mapping[str, Range], values: Mapping[str, Any], base: Mapping[str, Any]
) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    for key in space:
        if active(space, key, chosen, base):
            chosen[key] = values[key]
    return chosen


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Dotted keys, and the values that should be ranges."""
    for key, value in tree.items():
        nested = isinstance(value, dict) and value and not (set(value) & {*KINDS, "when"})
        if nested and all(isinstance(v, dict) for v in value.values()):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _later(tree: Mapping[str, Any], key: str, other: str) -> bool:
    keys = [k for k, _ in _leaves(tree)]
    return other in keys and keys.index(other) >= keys.index(key)


def _range(leaf: Any) -> Range | str:
    """Parse a range; returns the problem as text if it is invalid."""
    example = "expected a range such as {log_uniform: [1e-4, 1e-2]} or {choice: [a, b]}"
    if not isinstance(leaf, dict):
        return f"{example} (found {leaf!r})"
    names = [k for k in leaf if k != "when"]
    if len(names) != 1:
        return f"{example} (found {', '.join(map(str, names)) or 'none'})"
    (kind,) = names
    if kind not in KINDS:
        close = difflib.get_close_matches(str(kind), KINDS, n=1, cutoff=0.5)
        return f"{kind}: unknown. " + (
            f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(KINDS)}."
        )
    values = leaf[kind]
    if not isinstance(values, list | tuple) or not values:
        return f"{kind} takes a list (found {values!r})"
    when = leaf.get("when") or {}
    if not isinstance(when, dict):
        return f"when takes keys and values, such as {{training.scheduler: step}} (found {when!r})"
    conditions = tuple(
        (str(k), tuple(_number(x) for x in (v if isinstance(v, list) else [v]))) for k, v in when.items()
    )
    found = _listed(kind, values) if kind in ("choice", "grid") else _between(kind, values)
    return found if isinstance(found, str) else Range(kind, found, conditions)


def _listed(kind: str, values: Sequence[Any]) -> tuple[Any, ...] | str:
    plain = tuple(_number(v) for v in values)
    if any(plain.count(v) > 1 for v in plain):
        return f"{kind} has a value twice (found {list(plain)})"
    return plain


def _between(kind: str, values: Sequence[Any]) -> tuple[Any, ...] | str:
    """Check low and high; returns the problem as text if they are invalid."""
    ends = tuple(_number(v) for v in values)
    if len(ends) != 2 or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in ends):
        return f"{kind} takes [low, high], two numbers (found {list(values)})"
    low, high = ends
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        return f"{kind} takes a finite low below a finite high (found {list(ends)})"
    if kind == "log_uniform" and low <= 0:
        return f"log_uniform takes numbers above 0 (found {list(ends)})"
    if kind == "int" and not (isinstance(low, int) and isinstance(high, int)):
        return f"int takes whole numbers (found {list(ends)})"
    return ends


def _number(value: Any) -> Any:
    """Convert texts such as 1e-3 to numbers; PyYAML reads them as text."""
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return value
        return number if any(c.isdigit() for c in value) else value
    return value
