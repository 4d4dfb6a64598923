"""The training task of pose priors: the first implementation of `training.task`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from pydantic import field_validator
from torch import Tensor

from mocap_ray import priors
from mocap_ray.dataset.poses import (
    COLUMN,
    ROW_BYTES,
    PoseRows,
    Source,
    manifest_hash,
    open_source,
    pose_rows,
)
from mocap_ray.dataset.views import DataSetError
from mocap_ray.priors import Coordinates, Prior, PriorConfig
from mocap_ray.priors.forms import joint_indices, parts_of
from mocap_ray.priors.pictures import sample_sheet
from mocap_ray.priors.prior import ClosedForm
from mocap_ray.training.options import DataOptions
from mocap_ray.training.task import Facts, Role, TaskKind, TaskWords, TrainingTask
from mocap_ray.training.team import Team

WORDS = TaskWords(
    row="pose",
    item="clip",
    result="prior",
    description="prior.json",
    more_rows="extract more recordings",
    leave_out="`mocap-ray dataset exclude`",
    loss_unit="nats per dimension",
    steadier=(
        "raise model.jitter, the noise on training poses (0.1 to 0.2)",
        "train on more subjects: poses unlike all that were trained on stay unlikely",
    ),
    commands=("evaluate", "sample"),
)


class PoseData(DataOptions):
    """Poses of a data set that `mocap-ray extract` wrote with the column `poses`."""

    joints: Literal["all", "body", "hands"] | tuple[str, ...] = "all"
    """Joints that the prior models: all 55, `body` (21, without the global orientation), `hands` (30), or names."""
    dataset: str | None = None
    """Train on this sub-dataset only."""

    @field_validator("joints")
    @classmethod
    def _known(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        joint_indices(value)
        return value


MakePrior = Callable[[Any, Coordinates], Prior]
"""Builds a prior from a config and coordinates; the class of a prior is such a function."""


class PoseTask(TrainingTask[Prior]):
    """A prior on single poses [55, 3], axis-angle in rad."""

    words = WORDS

    def __init__(self, model: PriorConfig, data: PoseData, *, make: MakePrior = priors.build) -> None:
        """Take the sections `model` and `data` of a config, and the function that builds the prior."""
        self.config, self.data, self.make = model, data, make

    def check(self) -> Facts:
        """Read sizes from the manifest. Raises DataSetError."""
        data = self.data
        source = open_source(data.root)
        source.checked_columns([COLUMN])
        rows = pose_rows(source, split=data.train, dataset=data.dataset)
        if not rows:
            raise DataSetError(
                f"{data.root}: no clip in split '{data.train}'"
                + (f" of dataset '{data.dataset}'" if data.dataset else "")
                + f". Splits are {', '.join(source.splits)}; set data.train."
            )
        return Facts(rows, self._val_rows(source), ROW_BYTES, manifest_hash(source))

    def _val_rows(self, source: Source) -> int:
        if self.data.val not in source.splits:
            return 0
        return pose_rows(source, split=self.data.val, dataset=self.data.dataset)

    def rows(self, role: Role) -> PoseRows | None:
        """The frames of all clips with poses; or the single poses that give all joints that are modelled."""
        data = self.data
        if role == "val" and data.val not in open_source(data.root).splits:
            return None
        split = data.train if role == "train" else data.val
        return PoseRows(data.root, split, data.dataset, parts_of(data.joints))

    def model(self, sample: Float[np.ndarray, "N 55 3"]) -> Prior:
        """Build the prior on coordinates fitted to the sample."""
        coordinates = priors.fit_coordinates(self.config, sample, joints=self.data.joints)
        return self.make(self.config, coordinates)

    def restored(self, description: Mapping[str, Any]) -> Prior:
        """Build the prior on the coordinates of the description."""
        return self.make(self.config, Coordinates.from_description(description.get("coordinates")))

    def describe(self, model: Prior) -> dict[str, Any]:
        """The config of the model and its coordinates."""
        return dict(model.export())

    def solve(self, model: Prior, sample: Float[np.ndarray, "N 55 3"]) -> bool:
        """Set the maximum likelihood solution, if the prior has one in closed form."""
        if not isinstance(model, ClosedForm):
            return False
        model.fit_closed_form(torch.from_numpy(sample))
        return True

    def validate(self, model: Prior, batches: Iterable[Tensor], team: Team) -> dict[str, float]:
        """Negative log density of the poses, nats per active dimension.

        This is the model's score, not its training loss, which may still be in warm-up.
        """
        total, rows = 0.0, 0
        for batch in batches:
            total -= float(model.log_prob(batch).double().sum())
            rows += len(batch)
        sums = team.mean({"total": total, "rows": float(rows)})
        return {"loss": sums["total"] / sums["rows"] / model.coordinates.active}

    def other_units(self, loss: float) -> dict[str, float]:
        """Bits per active dimension."""
        return {"bits": loss / math.log(2)}

    def summary(self, model: Prior) -> dict[str, Any]:
        """The axes of a pose that the prior models and excludes."""
        return {
            "active": model.coordinates.active,
            "degenerate": model.coordinates.degenerate,
            "bound": model.bound,
        }

    def picture(self, model: Prior, *, count: int) -> UInt8[np.ndarray, "H W 3"]:
        """Draw samples from the same noise on each call, so that changes show."""
        return sample_sheet(model, count=count)


@dataclass(frozen=True, slots=True)
class PriorKind(TaskKind):
    """A kind of task that trains a pose prior.

    Attributes:
        prior: builds the prior from its config and coordinates.
    """

    prior: MakePrior


def prior_kind(config: type[PriorConfig], prior: MakePrior) -> PriorKind:
    """The object that `model.kind: package.module:NAME` names for a prior of your own; see docs/extending.md.

    Args:
        config: type of the section `model`, with a `kind` of its own.
        prior: the class of the prior.
    """
    return PriorKind(config, PoseData, partial(PoseTask, make=prior), prior)
