"""`mocap_ray.load_prior`: a prior from a training's folder, a checkpoint or an export, without Ray."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from mocap_ray import priors
from mocap_ray.priors import Coordinates, ModelConfig, Prior
from mocap_ray.storage import Place, place
from mocap_ray.training import checkpoint
from mocap_ray.training.checkpoint import ABOUT, BEST, LAST, WEIGHTS, CheckpointError


def load_prior(path: str | os.PathLike[str], *, device: str | torch.device = "cpu") -> Prior:
    """A trained prior, in eval mode, with the weights that validation judged (averaged ones where there are).

    Args:
        path: the output folder of a training (its best checkpoint), a checkpoint such as
            `checkpoints/last.pt`, or an export (the folder with `prior.json`); a path or an address.
        device: where its tensors shall be.

    Raises:
        CheckpointError: nothing there, damaged, foreign or newer; says what to do.
    """
    tensors, about, where = read_trained(path)
    return prior_of(about, tensors, where=where).to(device)


def read_trained(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any], str]:
    """The judged weights and `about` behind any of the paths that `load_prior` takes, and which file it was.

    Raises:
        CheckpointError: see `load_prior`.
    """
    folder, name = _find(path)
    where = f"{folder.uri}/{name}"
    try:
        if name == ABOUT:
            tensors, about = checkpoint.read_export(folder)
        else:
            found = checkpoint.read(folder, name)
            tensors, about = checkpoint.weights(found["state"]), found["about"]
    except FileNotFoundError:
        lacking = WEIGHTS if name == ABOUT else name
        raise CheckpointError(
            f"{folder.uri}/{lacking}: there is no such file. Copy the folder again."
        ) from None
    return tensors, about, where


def prior_of(about: Mapping[str, Any], tensors: Mapping[str, Tensor], *, where: str) -> Prior:
    """The prior that `about` and tensors describe. Raises CheckpointError where they do not."""
    try:
        config = TypeAdapter(ModelConfig).validate_python(about["model"])
        coordinates = Coordinates.from_description(about["coordinates"])
        with torch.random.fork_rng():  # fresh parameters are drawn, and overwritten
            prior = priors.build(config, coordinates)
        prior.load_state_dict(dict(tensors))
    except ValidationError as error:
        first = error.errors()[0]
        place_of = ".".join(map(str, first["loc"]))
        raise CheckpointError(
            f"{where}: holds a model that this mocap_ray does not know (model.{place_of}: {first['msg']}). "
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
            f"{where}: its tensors and its description do not make a prior ({type(error).__name__}: "
            f"{first_line[:200]}). Copy it again, or train again."
        ) from error
    return prior.eval()


def _find(path: str | os.PathLike[str]) -> tuple[Place, str]:
    """The folder and the name of the file to read: a checkpoint, or prior.json of an export."""
    text = str(path).rstrip("/")
    head, _, last = text.rpartition("/")
    if last in (ABOUT, WEIGHTS):
        return place(head or "."), ABOUT
    if last.endswith(".pt"):
        return place(head or "."), last
    if os.path.isfile(text):
        raise CheckpointError(
            f"{text}: a file that is neither a checkpoint (.pt) nor of an export (prior.json, model.safetensors). "
            "Expected the output folder of `mocap-ray train`, or a checkpoint in it."
        )
    here = place(text)
    for folder, name in (("", ABOUT), ("checkpoints", BEST), ("export", ABOUT), ("", BEST), ("", LAST)):
        if here.exists(*filter(None, (folder, name))):
            return place(f"{text}/{folder}" if folder else text), name
    if not here.exists():
        raise CheckpointError(f"{text}: there is nothing. Expected the output folder of `mocap-ray train`.")
    names = sorted({here.relative(i.path).split("/")[0] for i in here.files()})
    found = ", ".join(names[:5]) or "nothing"
    raise CheckpointError(
        f"{text}: no trained prior (found {found}). Expected checkpoints/best.pt or prior.json below it; a "
        "training writes them after its first epoch."
    )
