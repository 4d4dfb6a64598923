"""`mocap_ray.load_motion_model`: a model of motion from a training's folder, a checkpoint or an export, without Ray."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from mocap_ray.documents import first_problem
from mocap_ray.errors import UserError
from mocap_ray.generation import MODELS
from mocap_ray.generation.description import MotionFacts
from mocap_ray.generation.task import WORDS
from mocap_ray.training.checkpoint import CheckpointError
from mocap_ray.training.team import own_random_numbers
from mocap_ray.training.trained import REMEDY, Trained, read_trained, require_shapes


def load_motion_model(path: str | os.PathLike[str], *, device: str | torch.device = "cpu") -> Any:
    """Load a trained model of motion in eval mode, with the weights that were validated.

    Args:
        path: the output folder of a training (loads its best checkpoint), a checkpoint such as
            `checkpoints/last.pt`, or an export (the folder with `motion_model.json`); a local path or an address.
        device: the device of its tensors.

    Returns:
        The `generation.MotionVAE` or `generation.MotionEvaluator`.

    Raises:
        CheckpointError: the path does not exist, or its content is damaged, foreign or newer than this version.
    """
    return model_of(read_trained(path, WORDS)).to(device)


def model_of(trained: Trained) -> nn.Module:
    """Build the model of a description and tensors. Raises CheckpointError if they do not match."""
    where = trained.where
    try:
        config, make = _config_of(trained.about)
        facts = MotionFacts.of(trained.about)
        build = partial(make, config, facts)
        require_shapes(build, trained)
        with own_random_numbers(torch.device("cpu")):  # initialised at random, then overwritten
            model: nn.Module = build()
        model.load_state_dict(trained.tensors)
    except CheckpointError:
        raise
    except UserError as error:
        raise CheckpointError(f"{where}: {str(error).rstrip('.')}. {REMEDY}") from error
    return model.eval()


def _config_of(about: Mapping[str, Any]) -> tuple[Any, Any]:
    """The section `model` of a description, and the class that it configures. Raises UserError."""
    model = about.get("model")
    kind = model.get("kind") if isinstance(model, Mapping) else None
    if kind not in MODELS:
        raise UserError(
            f"holds a model of kind {str(kind)!r:.80}. Expected one of {', '.join(MODELS)}; a pose prior is loaded "
            "with mocap_ray.load_prior"
        )
    section, make = MODELS[str(kind)]
    try:
        return section.model_validate(model), make
    except ValidationError as error:
        raise UserError(
            f"holds a model that this version of mocap_ray does not know (model.{first_problem(error)})"
        ) from error
