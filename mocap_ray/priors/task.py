"""The training task of pose priors: the first implementation of `training.task`."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
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
from mocap_ray.priors.movement import require_movement
from mocap_ray.priors.pictures import sample_sheet
from mocap_ray.priors.prior import ClosedForm
from mocap_ray.training.options import DataOptions
from mocap_ray.training.task import Facts, Role, TaskKind, TaskWords, TrainingTask
from mocap_ray.training.team import Team
from mocap_ray.wording import listed

WORDS = TaskWords(
    row="pose",
    item="clip",
    result="prior",
    description="prior.json",
    more_rows="extract more recordings",
    leave_out="`mocap-ray dataset exclude`",
    group="subject",
    loss_unit="nats per dimension",
    steadier=(
        "raise model.jitter, the noise on training poses (0.1 to 0.2)",
        "train on more subjects: poses unlike all that were trained on stay unlikely",
    ),
    commands=("evaluate", "sample"),
)


class PoseData(DataOptions):
    """Poses of a data set that `mocap-ray extract` wrote with the column `poses`; `folds` divide them by subject."""

    joints: Literal["all", "body", "hands"] | tuple[str, ...] = "all"
    """Joints that the prior models: all 55, `body` (21, without the global orientation), `hands` (30), or names."""
    dataset: str | None = None
    """Train on this sub-dataset only."""
    domain: str | None = None
    """Train on this domain only: a source of the data set, or several that share a domain."""

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

    @property
    def solvable(self) -> bool:
        """Whether the prior has a closed form, and no noise is to be added to the training poses."""
        make: object = priors.MODELS[self.config.kind][1] if self.make is priors.build else self.make
        noisy = bool(self.config.noise_deg or self.config.jitter)
        return isinstance(make, type) and issubclass(make, ClosedForm) and not noisy

    def check(self) -> Facts:
        """Read sizes from the manifest. Raises DataSetError."""
        data = self.data
        source = open_source(data.root)
        source.checked_columns([COLUMN])
        rows = pose_rows(source, split=data.train, dataset=data.dataset, domain=data.domain)
        if not rows:
            raise DataSetError(
                f"{data.root}: no clip in split '{data.train}'"
                + (f" of dataset '{data.dataset}'" if data.dataset else "")
                + (f" of domain '{data.domain}'" if data.domain else "")
                + f". Splits are {', '.join(source.splits)}; set data.train."
            )
        return Facts(rows, self._val_rows(source), ROW_BYTES, manifest_hash(source))

    def look(self) -> None:
        """Refuse joints that do not move, such as missing hands. Raises UserError."""
        require_movement(self._rows(self.data.train), self.data.joints)

    def _rows(self, split: str) -> PoseRows:
        data = self.data
        return PoseRows(data.root, split, data.dataset, data.domain, parts=parts_of(data.joints))

    def _val_rows(self, source: Source) -> int:
        if self.data.val not in source.splits:
            return 0
        return pose_rows(source, split=self.data.val, dataset=self.data.dataset, domain=self.data.domain)

    def rows(self, role: Role) -> PoseRows | None:
        """The frames of all clips with poses; or the single poses that give all joints that are modelled."""
        data = self.data
        if role == "val" and data.val not in open_source(data.root).splits:
            return None
        return self._rows(data.train if role == "train" else data.val)

    def groups(self) -> Mapping[str, int]:
        """The subjects of the splits for folds. Raises DataSetError."""
        return self.rows_of(()).by_subject()

    def rows_of(self, groups: Collection[str]) -> PoseRows:
        """The frames of some subjects."""
        data, source = self.data, self._source
        splits = data.fold_splits or tuple(s for s in (data.train, data.val) if s in source.splits)
        return PoseRows(
            data.root,
            splits,
            data.dataset,
            data.domain,
            subjects=frozenset(groups),
            opened=source,
            parts=parts_of(data.joints),
        )

    @cached_property
    def _source(self) -> Source:
        """The data set, whose index is then read once for all folds."""
        return open_source(self.data.root)

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

    def caveat(self, summaries: Sequence[Mapping[str, Any]]) -> str:
        """Whether the folds have the same active axes, by which their losses are divided."""
        axes = [set(summary["degenerate"]) for summary in summaries]
        counts = [int(summary["active"]) for summary in summaries]
        if all(other == axes[0] for other in axes):
            return ""
        differ = sorted(set.union(*axes) - set.intersection(*axes))
        return (
            f"The folds have {min(counts)} to {max(counts)} active dimensions, because their training rows leave out "
            f"other axes ({listed(differ, most=5)}): the loss of each is a mean over its own dimensions."
        )

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
