"""What a motion model knows about its training data, as plain JSON values next to its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from jaxtyping import Float
from pydantic import Field, ValidationError
from torch import Tensor

from mocap_ray.dataset.reader import DataSet
from mocap_ray.documents import Document, first_problem
from mocap_ray.generation.labels import Labels
from mocap_ray.generation.losses import CONTACTS
from mocap_ray.training.checkpoint import CheckpointError


class _Facts(Document):
    """The keys of a description that are facts about the data."""

    domains: Annotated[list[str], Field(min_length=1, max_length=10_000)]
    styles: Annotated[list[str], Field(max_length=100_000)]
    fps: Annotated[float, Field(gt=0, le=1000)]
    profile: str
    length: Annotated[int, Field(ge=1, le=100_000)]


@dataclass(frozen=True, slots=True)
class MotionFacts:
    """What a motion model knows about its training data.

    Attributes:
        labels: its domains and styles.
        fps: frames per second.
        profile: profile of the features, see `motion.features`.
        length: frames of the windows.
    """

    labels: Labels
    fps: float
    profile: str
    length: int

    def describe(self) -> dict[str, Any]:
        """Plain JSON values, from which `of` restores it."""
        return {
            "domains": list(self.labels.domains),
            "styles": list(self.labels.styles),
            "fps": self.fps,
            "profile": self.profile,
            "length": self.length,
        }

    @classmethod
    def of(cls, description: Mapping[str, Any]) -> MotionFacts:
        """The facts in a description. Raises CheckpointError if it is damaged."""
        try:
            found = _Facts.model_validate(description)
        except ValidationError as error:
            raise CheckpointError(
                f"its description says nothing usable about the training data ({first_problem(error)})"
            ) from error
        labels = Labels(tuple(found.domains), tuple(found.styles))
        return cls(labels, found.fps, found.profile, found.length)


def statistics_of(source: DataSet) -> tuple[Float[Tensor, "263"], Float[Tensor, "263"]]:
    """Mean and deviation of the features of a data set, with which models normalise; contacts keep 0 and 1.

    Raises:
        DataSetError: the data set has no statistics, or damaged ones.
    """
    mean, std = (torch.from_numpy(a).clone() for a in (source.statistics.mean, source.statistics.divisor))
    mean[CONTACTS], std[CONTACTS] = 0.0, 1.0
    return mean, std
