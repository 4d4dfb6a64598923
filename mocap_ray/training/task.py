"""The interface between the training and the models that can be trained.

A task is a subclass of `TrainingTask`, registered as a `TaskKind`. The loaders, the shuffling, the process groups,
the checkpoints, the searches and the trackers access a model and a data set only through it.
`tests/training/window_task.py` is a complete small example.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from jaxtyping import Shaped, UInt8
from torch import Tensor, nn

from mocap_ray.errors import UserError
from mocap_ray.training.options import DataOptions, ModelOptions, TrainingOptions, TrainOutput
from mocap_ray.training.rows import RowSource, TrainingDataError
from mocap_ray.training.team import Team
from mocap_ray.wording import counted

Role = Literal["train", "val"]
"""The role of a split; the data section of the config names the split."""
M = TypeVar("M", bound=nn.Module)
"""The model of a task; see `batch.Trainable` for the methods it needs."""


@dataclass(frozen=True, slots=True)
class TaskWords:
    """The nouns of a task, for messages.

    Attributes:
        row, item: singular nouns; the plural adds an `s`. A row is one training sample; an item is what
            the row comes from, such as a file.
        result: what a training produces.
        description: name of the JSON file next to the tensors of an export.
        more_rows: what the user can do to get more rows.
        leave_out: how the user can exclude an item.
        group: what the rows of a fold have in common and those of two folds must not, such as a person.
        loss_unit: unit of the validation loss.
        steadier: what else the user can do if the validation loss diverges.
        commands: `mocap-ray` commands that accept the folder of a finished training.
    """

    row: str = "row"
    item: str = "item"
    result: str = "model"
    description: str = "model.json"
    more_rows: str = "add data"
    leave_out: str = "when you make the data set"
    group: str = "group"
    loss_unit: str = ""
    steadier: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()

    @property
    def rows(self) -> str:
        """Plural of `row`."""
        return f"{self.row}s"

    @property
    def items(self) -> str:
        """Plural of `item`."""
        return f"{self.item}s"


@dataclass(frozen=True, slots=True)
class Facts:
    """The size of the training data, from the manifest of the data set.

    Attributes:
        rows: rows to train on, at most.
        val_rows: rows to validate on, at most; 0 without a validation split.
        row_bytes: bytes per row in memory, as `RowSource.load` stores it.
        source_hash: hash of the data; equal hashes mean equal rows.
    """

    rows: int
    val_rows: int
    row_bytes: int
    source_hash: str

    @property
    def size(self) -> int:
        """Bytes of all rows in memory."""
        return (self.rows + self.val_rows) * self.row_bytes


class TrainingTask(ABC, Generic[M]):
    """What is trained: the rows, the model, and how to validate and summarize it.

    Created from the sections `model` and `data` of a config, without reading any file.
    """

    words: TaskWords = TaskWords()

    @abstractmethod
    def check(self) -> Facts:
        """Check that the data can be trained on, without reading its rows.

        Raises:
            UserError: the data cannot be used; the message says what to do.
        """

    def look(self) -> None:
        """Read a bounded sample of the rows, and refuse data from which nothing can be learned; by default none.

        Called once, before any worker starts; it should take a second.

        Raises:
            UserError: no training on this data can succeed; the message says what to do.
        """

    @abstractmethod
    def rows(self, role: Role) -> RowSource | None:
        """The rows of a split; None if the data has no validation split.

        Raises:
            UserError: the data or the training split does not exist.
        """

    def groups(self) -> Mapping[str, int]:
        """Names of the groups that folds keep whole -> largest number of their rows, without reading the rows.

        Only rows of the splits for folds are counted: `data.fold_splits`, or else those of `data.train` and `data.val`
        that exist.

        Raises:
            UserError: the data cannot be used, or its rows have no groups.
        """
        raise TrainingDataError("data.folds: this kind of model has no groups of rows. Remove data.folds.")

    def rows_of(self, groups: Collection[str]) -> RowSource:
        """The rows of some of `groups()`."""
        raise NotImplementedError

    @abstractmethod
    def model(self, sample: Shaped[np.ndarray, "N ..."]) -> M:
        """Create a model on the CPU, initialized from torch's global random generator.

        Args:
            sample: rows of the training split for statistics: all of them, or enough.

        Raises:
            UserError: the model does not support these rows.
        """

    @abstractmethod
    def restored(self, description: Mapping[str, Any]) -> M:
        """Create the model that `describe` described; the checkpoint replaces its parameters afterwards."""

    @abstractmethod
    def describe(self, model: M) -> dict[str, Any]:
        """Plain JSON values that `restored` needs, besides the tensors and the section `model` of the config."""

    @property
    def solvable(self) -> bool:
        """Whether `solve` finds the solution in closed form, so that there is nothing to train."""
        return False

    def solve(self, model: M, sample: Shaped[np.ndarray, "N ..."]) -> bool:
        """Set a new model to its closed-form solution; return False if there is none."""
        return False

    def validate(self, model: M, batches: Iterable[Tensor], team: Team) -> dict[str, float]:
        """Validation metrics over all processes; `loss` decides which epoch is the best.

        The default is the training loss of the model, as a mean over all rows. Called in eval mode, without gradients
        and with the same random numbers at each call.

        Args:
            model: with the weights to validate.
            batches: the share of the rows of this process, on its device.
            team: averages the metrics over the processes.
        """
        total, rows = 0.0, 0
        for batch in batches:
            loss, _ = model.loss(batch)  # type: ignore[operator]  # nn.Module types attributes as tensors
            total, rows = total + float(loss.detach()) * len(batch), rows + len(batch)
        sums = team.mean({"total": total, "rows": float(rows)})
        return {"loss": sums["total"] / sums["rows"]}

    def other_units(self, loss: float) -> dict[str, float]:
        """The validation loss in other units, by name."""
        return {}

    def summary(self, model: M) -> dict[str, Any]:
        """Facts about the trained model for summary.json, as plain JSON values."""
        return {}

    def caveat(self, summaries: Sequence[Mapping[str, Any]]) -> str:
        """Why the losses of folds cannot be compared exactly, given the `summary` of each; empty if they can."""
        return ""

    def picture(self, model: M, *, count: int) -> UInt8[np.ndarray, "H W 3"] | None:
        """A picture of samples, equal for equal weights; None if the task draws none.

        Args:
            model: with the weights that are validated.
            count: number of samples to draw.
        """
        return None


@dataclass(frozen=True, slots=True)
class TaskKind:
    """The entry that `model.kind` of a config refers to: the types of two sections, and the task they create.

    Attributes:
        model: type of the section `model`.
        data: type of the section `data`.
        task: creates the task from the two sections.
    """

    model: type[ModelOptions]
    data: type[DataOptions]
    task: Callable[[Any, Any], TrainingTask[Any]]


@dataclass(frozen=True, slots=True)
class TrainingSetup(Generic[M]):
    """Everything a training needs: its task, and the sections of its config.

    Attributes:
        task: what is trained.
        data: where the rows are, and how they are loaded.
        training: how the model is optimised.
        output: where the files are written.
        plain: the whole config as plain JSON values, for config.yaml and checkpoints.
        searched: dotted keys whose values a search compares; empty outside of a search.
    """

    task: TrainingTask[M]
    data: DataOptions
    training: TrainingOptions
    output: TrainOutput
    plain: Mapping[str, Any]
    searched: tuple[str, ...] = ()

    @property
    def words(self) -> TaskWords:
        """The nouns of the task."""
        return self.task.words


def too_few(rows: int, *, world: int, words: TaskWords) -> UserError:
    """The error for a process group with more workers than training rows."""
    return TrainingDataError(
        f"{counted(rows, words.row)} to train on for {counted(world, 'worker')}. Set ray.workers to {max(rows, 1)} or "
        f"less, or "
        f"{words.more_rows}."
    )
