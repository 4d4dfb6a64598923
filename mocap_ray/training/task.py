"""What is trained: the seam between the training and everything that can be trained.

A member is a `TrainingTask`, and a `TaskKind` names it. Loaders by memory and by stream, the order of rows, teams,
checkpoints, searches and trackers use nothing else of a model or a data set. `tests/training/window_task.py` is a
whole small example.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from jaxtyping import Shaped, UInt8
from torch import Tensor, nn

from mocap_ray.errors import UserError
from mocap_ray.training.options import DataOptions, ModelOptions, TrainingOptions, TrainOutput
from mocap_ray.training.rows import RowSource, TrainingDataError
from mocap_ray.training.team import Team

Role = Literal["train", "val"]
"""What a split is for; which one it is, the data section of the config says."""
M = TypeVar("M", bound=nn.Module)
"""A task's model; `fit.Trainable` says what it must offer."""


@dataclass(frozen=True, slots=True)
class TaskWords:
    """How a task calls its things in messages.

    Attributes:
        row, item: singular; a plain `s` makes the plural. A row is trained on; an item is what it is a part of.
        result: what comes out of a training.
        description: name of the JSON file beside an export's tensors.
        more_rows: what one can do to have more rows.
        leave_out: where one says that an item shall be left out.
        commands: of `mocap-ray`, which take the folder of a finished training.
    """

    row: str = "row"
    item: str = "item"
    result: str = "model"
    description: str = "model.json"
    more_rows: str = "add data"
    leave_out: str = "when you make the data set"
    commands: tuple[str, ...] = ()

    @property
    def rows(self) -> str:
        """Several."""
        return f"{self.row}s"

    @property
    def items(self) -> str:
        """Several."""
        return f"{self.item}s"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the manifest of a data set says of a training.

    Attributes:
        rows: to train on, at most.
        val_rows: to validate on, at most; 0 without such a split.
        row_bytes: bytes that a row takes in memory, as `RowSource.load` holds it.
        source_hash: equal hashes mean equal rows.
    """

    rows: int
    val_rows: int
    row_bytes: int
    source_hash: str

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return (self.rows + self.val_rows) * self.row_bytes


class TrainingTask(ABC, Generic[M]):
    """What is trained: its rows, its model, and what is worth knowing of a trained one.

    Made from the sections `model` and `data` of a config, without reading anything.
    """

    words: TaskWords = TaskWords()

    @abstractmethod
    def check(self) -> Facts:
        """Look whether the data can be trained on, without reading its rows.

        Raises:
            UserError: it cannot; says what to do.
        """

    @abstractmethod
    def rows(self, role: Role) -> RowSource | None:
        """The rows of a split; None where the data has no split for validation.

        Raises:
            UserError: no such data, or no such split to train on.
        """

    @abstractmethod
    def model(self, sample: Shaped[np.ndarray, "N ..."]) -> M:
        """A new model, on the CPU, with parameters from torch's global generator.

        Args:
            sample: rows of the training split, for statistics: all, or enough of them.

        Raises:
            UserError: the model cannot work on such rows.
        """

    @abstractmethod
    def restored(self, description: Mapping[str, Any]) -> M:
        """The model that `describe` described, whatever its parameters: those of the checkpoint replace them."""

    @abstractmethod
    def describe(self, model: M) -> dict[str, Any]:
        """Plain JSON values that `restored` needs besides the tensors and the config's section `model`."""

    def solve(self, model: M, sample: Shaped[np.ndarray, "N ..."]) -> bool:
        """Put the closed form solution into a new model; False where there is none."""
        return False

    def validate(self, model: M, batches: Iterable[Tensor], team: Team) -> dict[str, float]:
        """Figures of the validation rows over the whole team; `loss` is the one that decides.

        By default the model's training loss, as a mean over all rows. Called in eval mode, without gradients and
        with the same random numbers at each call.

        Args:
            model: with the weights that are judged.
            batches: this process's share of the rows, on its device.
            team: to take means with.
        """
        total, rows = 0.0, 0
        for batch in batches:
            loss, _ = model.loss(batch)  # type: ignore[operator]  # nn.Module types attributes as tensors
            total, rows = total + float(loss.detach()) * len(batch), rows + len(batch)
        sums = team.mean({"total": total, "rows": float(rows)})
        return {"loss": sums["total"] / sums["rows"]}

    def other_units(self, loss: float) -> dict[str, float]:
        """The judged loss in other units, by name."""
        return {}

    def summary(self, model: M) -> dict[str, Any]:
        """What a person wants to know of the trained model, as plain JSON values."""
        return {}

    def picture(self, model: M, *, count: int) -> UInt8[np.ndarray, "H W 3"] | None:
        """A picture of samples, the same ones at each call as far as the weights are; None: nothing to draw.

        Args:
            model: with the weights that are judged.
            count: samples to draw.
        """
        return None


@dataclass(frozen=True, slots=True)
class TaskKind:
    """What `model.kind` of a config names: the sections that the config then has, and the task that they make.

    Attributes:
        model: type of the section `model`.
        data: type of the section `data`.
        task: makes the task from the two.
    """

    model: type[ModelOptions]
    data: type[DataOptions]
    task: Callable[[Any, Any], TrainingTask[Any]]


@dataclass(frozen=True, slots=True)
class TrainingSetup(Generic[M]):
    """All that a training needs: its task, and the sections of its config.

    Attributes:
        task: what is trained.
        data: where the rows are, and how they get to the model.
        training: how the model is optimised.
        output: where the files go.
        plain: the whole config as plain JSON values, for config.yaml and checkpoints.
    """

    task: TrainingTask[M]
    data: DataOptions
    training: TrainingOptions
    output: TrainOutput
    plain: Mapping[str, Any]

    @property
    def words(self) -> TaskWords:
        """Of its task."""
        return self.task.words


def too_few(rows: int, *, world: int, words: TaskWords) -> UserError:
    """What to tell the user where a team has more members than there are rows."""
    return TrainingDataError(
        f"{rows} {words.rows} to train on for {world} workers. Set ray.workers to {max(rows, 1)} or less, or "
        f"{words.more_rows}."
    )
