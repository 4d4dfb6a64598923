"""`mocap_ray.load_prior`: a prior from a training's folder, a checkpoint or an export, without Ray."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from mocap_ray import priors
from mocap_ray.documents import first_problem
from mocap_ray.errors import UserError
from mocap_ray.priors import Coordinates, ModelConfig, Prior
from mocap_ray.priors.task import WORDS, MakePrior, PriorKind
from mocap_ray.training.checkpoint import CheckpointError
from mocap_ray.training.team import own_random_numbers
from mocap_ray.training.trained import REMEDY, Trained, read_trained, require_shapes


def load_prior(
    path: str | os.PathLike[str], *, device: str | torch.device = "cpu", kind: PriorKind | None = None
) -> Prior:
    """Load a trained prior in eval mode, with the weights that were validated (the averaged ones if there are any).

    Args:
        path: the output folder of a training (loads its best checkpoint), a checkpoint such as
            `checkpoints/last.pt`, or an export (the folder with `prior.json`); a local path or an address.
        device: the device of its tensors.
        kind: the kind of a prior of your own (`model.kind: package.module:NAME`). It is never taken from the file,
            because importing what a file names would run code.

    Raises:
        CheckpointError: the path does not exist, or its content is damaged, foreign or newer than this version.
    """
    return prior_of(read_trained(path, WORDS), kind=kind).to(device)


def prior_of(trained: Trained, *, kind: PriorKind | None = None) -> Prior:
    """Build the prior of a description and tensors. Raises CheckpointError if they do not match."""
    about, where = trained.about, trained.where
    config = config_of(trained, kind=kind)
    build: MakePrior = priors.build if kind is None else kind.prior
    try:
        coordinates = Coordinates.from_description(about.get("coordinates"))
        make = partial(build, config, coordinates)
        if kind is None:
            require_shapes(make, trained)
        with own_random_numbers(
            torch.device("cpu")
        ):  # parameters are initialised at random, then overwritten
            prior = make()
    except CheckpointError:
        raise
    except UserError as error:
        raise CheckpointError(
            f"{where}: its tensors and its description do not match: {str(error).rstrip('.')}. {REMEDY}"
        ) from error
    try:
        prior.load_state_dict(trained.tensors)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{where}: its tensors and its description do not match ({first}). {REMEDY}"
        ) from error
    return prior.eval()


def config_of(trained: Trained, *, kind: PriorKind | None = None) -> Any:
    """The section `model` of a description. Raises CheckpointError if it is damaged, or of another kind of model."""
    model, where = trained.about.get("model"), trained.where
    if "model" not in trained.about:
        raise CheckpointError(
            f"{where}: its tensors and its description do not match: it describes no model. {REMEDY}"
        )
    if not isinstance(model, Mapping):
        raise CheckpointError(
            f"{where}: holds a model that this version of mocap_ray does not know (model is a {type(model).__name__}). "
            "Upgrade mocap_ray, or train again."
        )
    if kind is None and ":" in str(model.get("kind")):
        raise CheckpointError(
            f"{where}: holds a model from outside this package, {str(model['kind'])!r:.100}. Load it in Python with "
            "mocap_ray.load_prior(path, kind=...) and the kind that was trained."
        )
    section: TypeAdapter[Any] = TypeAdapter(ModelConfig if kind is None else kind.model)
    try:
        return section.validate_python(_upgraded(model))
    except ValidationError as error:
        raise CheckpointError(
            f"{where}: holds a model that this version of mocap_ray does not know (model.{first_problem(error)}). "
            "Upgrade mocap_ray, or train again."
        ) from error


def _upgraded(model: Mapping[str, Any]) -> dict[str, Any]:
    """The description of a model that an older version wrote, in the keys of this one: the density stays the same."""
    found = {"tails": "gaussian", **model}
    if found.get("condition_dim") == 0:
        del found["condition_dim"]
    return found
