"""Folds for cross-validation: which groups of rows are held out together, and a task with one fold held out.

A group is never divided, so that no fold validates on a person whose other rows it trained on. `TrainingTask.groups`
says which groups there are; nothing here knows what a group is.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Generic

import numpy as np
from jaxtyping import Shaped, UInt8
from torch import Tensor

from mocap_ray.errors import UserError
from mocap_ray.storage import Place
from mocap_ray.training.options import DataOptions
from mocap_ray.training.rows import RowSource, TrainingDataError
from mocap_ray.training.task import Facts, M, Role, TaskWords, TrainingSetup, TrainingTask
from mocap_ray.training.team import Team
from mocap_ray.wording import counted, listed

FOLDS = "folds"
"""Folder within the output of a training of all folds: `folds/0`, `folds/1`, ... are trainings."""


def divide(groups: Collection[str], folds: int) -> dict[str, int]:
    """The fold of each group; the numbers of groups of two folds differ by at most one.

    Each group has an order of preference among the folds by a hash of its name, and gets the first that is not full;
    groups choose in the order of another hash. So the result does not depend on the order of the groups, and one more
    group moves few of the others: fewer than 3 on average, of 12 or of 344 (consistent hashing with bounded loads,
    Mirrokni et al. 2018, arXiv:1608.01350).

    Args:
        groups: at least as many as folds.
        folds: number of folds.

    >>> divide(["01", "02", "03", "04"], 2)
    {'01': 1, '02': 1, '03': 0, '04': 0}
    """
    least, larger = divmod(len(groups), folds)
    sizes: Counter[int] = Counter()
    homes = {}
    for group in sorted(groups, key=_hash):
        room = least + (sum(size > least for size in sizes.values()) < larger)
        choices = (fold for fold in range(folds) if sizes[fold] < room)
        homes[group] = min(choices, key=lambda fold: _hash(f"{group}\n{fold}"))
        sizes[homes[group]] += 1
    return dict(sorted(homes.items()))


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def by_lists(groups: Collection[str], lists: Sequence[Sequence[str]], *, words: TaskWords) -> dict[str, int]:
    """The fold of each group in the lists; a group in no list has none.

    Raises:
        TrainingDataError: an unknown group, a group in two lists, or an empty list.
    """
    homes: dict[str, int] = {}
    for fold, names in enumerate(lists):
        for name in names:
            if homes.setdefault(name, fold) != fold:
                raise TrainingDataError(
                    f"data.folds: the {words.group} {name} is in lists {homes[name]} and {fold}. Remove it from one."
                )
        if not names:
            raise TrainingDataError(
                f"data.folds: list {fold} is empty. Name the {words.group}s of that fold."
            )
    unknown = [name for name in homes if name not in groups]
    if unknown:
        raise TrainingDataError(
            f"data.folds: no {words.rows} of the {words.group} {unknown[0]}"
            + (f" and {counted(len(unknown) - 1, 'other')}" if len(unknown) > 1 else "")
            + f". Expected names such as {listed(sorted(groups)[:3])}."
        )
    return homes


class Division(Generic[M]):
    """The groups of a task, divided into the folds of its config when they are first needed."""

    def __init__(self, task: TrainingTask[M], data: DataOptions) -> None:
        self.task, self.data = task, data

    @cached_property
    def rows(self) -> dict[str, int]:
        """Largest number of rows of each group that has any. Raises UserError."""
        return {group: rows for group, rows in self.task.groups().items() if rows}

    @cached_property
    def homes(self) -> dict[str, int]:
        """The fold of each group; groups in no fold are always trained on.

        Raises:
            TrainingDataError: there are fewer groups than folds, or the lists do not fit the data.
        """
        folds, words = self.data.folds, self.task.words
        assert folds is not None
        if not isinstance(folds, int):
            return by_lists(self.rows, folds, words=words)
        if len(self.rows) < folds:
            raise TrainingDataError(
                f"data.folds {folds}: {self.data.root} has {words.rows} of "
                f"{counted(len(self.rows), words.group)} in the splits that are divided, and each fold needs one. "
                + (f"Set data.folds to {len(self.rows)} or less, or " if len(self.rows) > 1 else "")
                + (words.more_rows if len(self.rows) > 1 else words.more_rows.capitalize())
                + "."
            )
        return divide(self.rows, folds)

    def held_out(self, fold: int) -> list[str]:
        """The groups of a fold, sorted."""
        return sorted(group for group, home in self.homes.items() if home == fold)

    def trained(self, fold: int) -> list[str]:
        """The groups to train on, sorted."""
        return sorted(group for group in self.rows if self.homes.get(group) != fold)


class Folded(TrainingTask[M]):
    """A task with one fold held out: its rows validate, and all others are trained on."""

    def __init__(self, division: Division[M], fold: int) -> None:
        self.division, self.fold, self.task = division, fold, division.task
        self.words = self.task.words

    @property
    def held_out(self) -> list[str]:
        """The groups whose rows validate."""
        return self.division.held_out(self.fold)

    def check(self) -> Facts:
        """The facts of the task, with the rows of this fold."""
        facts, rows = self.task.check(), self.division.rows
        return replace(
            facts,
            rows=sum(rows[group] for group in self.division.trained(self.fold)),
            val_rows=sum(rows[group] for group in self.held_out),
        )

    def look(self) -> None:
        """As the task does."""
        self.task.look()

    @property
    def solvable(self) -> bool:
        """As the task says."""
        return self.task.solvable

    def groups(self) -> Mapping[str, int]:
        """The groups of the task."""
        return self.task.groups()

    def rows_of(self, groups: Collection[str]) -> RowSource:
        """The rows of the task."""
        return self.task.rows_of(groups)

    def rows(self, role: Role) -> RowSource:
        """The rows of the other folds, or those of this one."""
        chosen = self.division.trained if role == "train" else self.division.held_out
        return self.task.rows_of(chosen(self.fold))

    def model(self, sample: Shaped[np.ndarray, "N ..."]) -> M:
        """The model of the task, with the statistics of this fold's own training rows."""
        return self.task.model(sample)

    def restored(self, description: Mapping[str, Any]) -> M:
        """As the task does."""
        return self.task.restored(description)

    def describe(self, model: M) -> dict[str, Any]:
        """As the task does, with the names of the groups that were held out."""
        return {**self.task.describe(model), "held_out": self.held_out}

    def solve(self, model: M, sample: Shaped[np.ndarray, "N ..."]) -> bool:
        """As the task does."""
        return self.task.solve(model, sample)

    def validate(self, model: M, batches: Iterable[Tensor], team: Team) -> dict[str, float]:
        """As the task does."""
        return self.task.validate(model, batches, team)

    def other_units(self, loss: float) -> dict[str, float]:
        """As the task does."""
        return self.task.other_units(loss)

    def summary(self, model: M) -> dict[str, Any]:
        """As the task does, with the fold and the groups that were held out."""
        return {**self.task.summary(model), "fold": self.fold, "held_out": self.held_out}

    def caveat(self, summaries: Sequence[Mapping[str, Any]]) -> str:
        """As the task does."""
        return self.task.caveat(summaries)

    def picture(self, model: M, *, count: int) -> UInt8[np.ndarray, "H W 3"] | None:
        """As the task does."""
        return self.task.picture(model, count=count)


def each_fold(setup: TrainingSetup[M]) -> list[TrainingSetup[M]]:
    """The trainings of all folds, each in its own folder below the output of the setup, without a tracker."""
    division = Division(setup.task, setup.data)
    return [_with_fold(setup, division, fold) for fold in range(setup.data.fold_count)]


def _with_fold(setup: TrainingSetup[M], division: Division[M], fold: int) -> TrainingSetup[M]:
    changes = {"root": fold_root(setup.output.root, fold), "tracker": "none"}
    plain = setup.plain
    return replace(
        setup,
        task=Folded(division, fold),
        data=setup.data.model_copy(update={"fold": fold}),
        output=setup.output.model_copy(update=changes),
        plain={
            **plain,
            "data": {**plain["data"], "fold": fold},
            "output": {**plain["output"], **changes},
        },
    )


def fold_root(root: str, fold: int) -> str:
    """The folder of a fold."""
    return f"{root.rstrip('/')}/{FOLDS}/{fold}"


def fold_folders(out: Place) -> list[Place]:
    """The folders of the folds in the output of a training; empty if it has none."""
    numbers = [int(name) for name in out.folder(FOLDS).names() if name.isdecimal()]
    return [out.folder(FOLDS, str(number)) for number in sorted(numbers)]


def refuse_every_fold(data: DataOptions) -> None:
    """Raise UserError if a config that trains all folds is used where one training is expected."""
    if data.every_fold:
        raise UserError(
            f"data.folds {data.fold_count}: this trains one model. Set data.fold to the fold to hold out, from 0 to "
            f"{data.fold_count - 1}."
        )
