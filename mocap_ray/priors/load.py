"""`mocap_ray.load_prior`: a prior from a training's folder, a checkpoint or an export, without Ray."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from mocap_ray import priors
from mocap_ray.priors import Coordinates, ModelConfig, Prior
from mocap_ray.priors.task import WORDS, PriorKind
from mocap_ray.training.checkpoint import CheckpointError
from mocap_ray.training.team import own_random_numbers
from mocap_ray.training.trained import Trained, read_trained


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
    build = priors.build if kind is None else kind.prior
    section: TypeAdapter[Any] = TypeAdapter(ModelConfig if kind is None else kind.model)
    try:
        model = about["model"]
        if kind is None and isinstance(model, Mapping) and ":" in str(model.get("kind")):
            raise CheckpointError(
                f"{where}: holds a model from outside this package, {model['kind']}. Load it in Python with "
                "mocap_ray.load_prior(path, kind=...) and the kind that was trained."
            )
        config = section.validate_python(model)
        coordinates = Coordinates.from_description(about["coordinates"])
        with own_random_numbers(
            torch.device("cpu")
        ):  # parameters are initialised at random, then overwritten
            prior = build(config, coordinates)
        prior.load_state_dict(trained.tensors)
    except CheckpointError:
        raise
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise CheckpointError(
            f"{where}: holds a model that this version of mocap_ray does not know (model.{key}: {first['msg']}). "
            "Upgrade mocap_ray, or train again."
        ) from error
    except (
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        AttributeError,
        RuntimeError,
        AssertionError,
    ) as error:
        first_line = str(error).split("\n")[0]
        raise CheckpointError(
            f"{where}: its tensors and its description do not match ({type(error).__name__}: "
            f"{first_line[:200]}). Copy it again, or train again."
        ) from error
    return prior.eval()
