"""What a rectified flow knows about its data and its VAE, and the labels of clips that rows do not contain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field, JsonValue, ValidationError
from torch import Tensor

from mocap_ray.dataset.reader import DataSet
from mocap_ray.documents import Document, Sha256, first_problem
from mocap_ray.generation.conditions import ABSENT
from mocap_ray.generation.description import MotionFacts
from mocap_ray.generation.options import MotionVAEConfig
from mocap_ray.generation.text import TEXT_WIDTH, embedded
from mocap_ray.training.checkpoint import CheckpointError


class _Vae(Document):
    """The VAE in the description of a flow."""

    model: MotionVAEConfig
    data: dict[str, JsonValue]
    sha256: Sha256


class _FlowFacts(Document):
    """The keys of a description that a flow adds."""

    actions: Annotated[list[str], Field(max_length=100_000)]
    vae: _Vae
    reflow: bool = False


@dataclass(frozen=True, slots=True)
class FlowFacts(MotionFacts):
    """What a rectified flow knows about its training data.

    Attributes:
        actions: its labels of actions.
        vae: the section `model` of its VAE.
        vae_facts: the data that the VAE was trained on.
        vae_hash: sha256 of the tensors of the VAE, see `training.trained.Trained.digest`.
        reflow: whether it was trained on pairs of a teacher, whose guidance is in them.
    """

    actions: tuple[str, ...]
    vae: MotionVAEConfig
    vae_facts: MotionFacts
    vae_hash: str
    reflow: bool = False

    def describe(self) -> dict[str, Any]:
        """Plain JSON values, from which `of` restores it."""
        vae = {
            "model": self.vae.model_dump(mode="json"),
            "data": self.vae_facts.describe(),
            "sha256": self.vae_hash,
        }
        return {
            **MotionFacts.describe(self),
            "actions": list(self.actions),
            "vae": vae,
            "reflow": self.reflow,
        }

    @classmethod
    def of(cls, description: Mapping[str, Any]) -> FlowFacts:
        """The facts in a description. Raises CheckpointError if it is damaged."""
        base = MotionFacts.of(description)
        try:
            found = _FlowFacts.model_validate(description)
        except ValidationError as error:
            raise CheckpointError(
                f"its description says nothing usable about its VAE ({first_problem(error)})"
            ) from error
        vae = found.vae
        return cls(
            base.labels, base.fps, base.profile, base.length, tuple(found.actions), vae.model,
            MotionFacts.of(vae.data), vae.sha256, found.reflow,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class ClipTable:
    """Labels of the clips of a data set by their number in its index, for training.

    Attributes:
        action: number of the action, counted from 1; 0: none.
        first, count: the captions of a clip are `count` rows of `text` from `first` on.
        text: embeddings of all captions.
    """

    action: Int[Tensor, "C"]
    first: Int[Tensor, "C"]
    count: Int[Tensor, "C"]
    text: Float[Tensor, "M E"]

    @classmethod
    def none(cls) -> ClipTable:
        """A table without clips: all of them have no labels."""
        no = torch.zeros(0, dtype=torch.int64)
        return cls(no, no, no, torch.zeros(0, TEXT_WIDTH))

    @classmethod
    def of(cls, source: DataSet, actions: tuple[str, ...], *, text: bool) -> ClipTable:
        """The labels of all clips of a data set.

        Args:
            source: the data set.
            actions: the table of actions.
            text: whether to encode the captions.

        Raises:
            UserError: the encoder of captions is not installed.
        """
        table = {name: k for k, name in enumerate(actions, start=1)}
        action = [table.get(name or "", ABSENT) for name in source.index["action"].to_pylist()]
        texts = [[t for t in each or () if t] if text else [] for each in source.index["texts"].to_pylist()]
        counts = np.array([len(each) for each in texts], np.int64)
        return cls(
            torch.tensor(action, dtype=torch.int64),
            torch.from_numpy(np.cumsum(counts) - counts),
            torch.from_numpy(counts),
            torch.from_numpy(embedded([t for each in texts for t in each])),
        )

    def mapped(self, fn: Callable[[Tensor], Tensor]) -> ClipTable:
        """A function applied to each tensor, such as one that moves it to a device."""
        return ClipTable(*(fn(getattr(self, name)) for name in ("action", "first", "count", "text")))


def actions_of(source: DataSet, *, split: str) -> tuple[str, ...]:
    """The labels of actions of the clips of a split, sorted."""
    index = source.index
    pairs = zip(index["action"].to_pylist(), index["split"].to_pylist(), strict=True)
    return tuple(sorted({action for action, of in pairs if action and of == split}))
