"""Load the result of a training from its folder, a checkpoint or an export."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mocap_ray.errors import UserError
from mocap_ray.storage import Place, place
from mocap_ray.training import checkpoint
from mocap_ray.training.checkpoint import BEST, CHECKPOINTS, EXPORT, LAST, WEIGHTS, CheckpointError
from mocap_ray.training.folds import FOLDS, fold_folders
from mocap_ray.training.task import TaskWords
from mocap_ray.wording import counted

REMEDY = "Copy it again, or train again."


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """The weights of a trained model, and its description.

    Attributes:
        tensors: the weights by name, on the CPU.
        about: the description, plain JSON values.
        where: the file they were loaded from.
    """

    tensors: dict[str, Tensor]
    about: dict[str, Any]
    where: str


def read_trained(path: str | os.PathLike[str], words: TaskWords) -> Trained:
    """Read the output folder of a training (its best checkpoint), a checkpoint, or an export.

    Args:
        path: path or URI of any of these.
        words: nouns of the task.

    Raises:
        CheckpointError: the file is missing, damaged, not a checkpoint, or of a newer format; says what to do.
    """
    folder, name = _find(path, words)
    try:
        if name == words.description:
            tensors, about = checkpoint.read_export(folder, description=name)
        else:
            loaded = checkpoint.read(folder, name)
            tensors, about = checkpoint.weights(loaded["state"]), loaded["about"]
    except FileNotFoundError:
        missing = WEIGHTS if name == words.description else name
        raise CheckpointError(
            f"{folder.uri}/{missing}: there is no such file. Copy the folder again."
        ) from None
    return Trained(tensors, about, f"{folder.uri}/{name}")


def kind_at(path: str | os.PathLike[str], words: TaskWords) -> str:
    """`model.kind` of what a path holds; empty if that is nothing that `read_trained` reads with these words."""
    try:
        model = read_trained(path, words).about.get("model")
    except UserError:
        return ""
    return str(model.get("kind", "")) if isinstance(model, Mapping) else ""


def require_shapes(make: Callable[[], nn.Module], trained: Trained) -> None:
    """Compare the tensors with those of a model, which is built without memory for its parameters.

    A description may claim a model of any size; only one that has the tensors of the file is built for real.

    Raises:
        CheckpointError: a tensor is missing, is not of this model, or has another shape.
    """
    tensors = trained.tensors
    with torch.device("meta"):
        expected = {name: tuple(t.shape) for name, t in make().state_dict().items()}
    for name in sorted(expected.keys() | tensors.keys()):
        found = tuple(tensors[name].shape) if name in tensors else "missing"
        wanted = expected.get(name, "no such tensor")
        if found != wanted:
            raise CheckpointError(
                f"{trained.where}: its tensors and its description do not match: {name:.80} is {found}, expected "
                f"{wanted}. {REMEDY}"
            )


def _find(path: str | os.PathLike[str], words: TaskWords) -> tuple[Place, str]:
    """Folder and name of the file to load: a checkpoint, or the description of an export."""
    about = words.description
    text = str(path).rstrip("/")
    head, _, last = text.rpartition("/")
    if last in (about, WEIGHTS):
        return place(head or "."), about
    if last.endswith(".pt"):
        return place(head or "."), last
    if os.path.isfile(text):
        raise CheckpointError(
            f"{text}: a file that is neither a checkpoint (.pt) nor part of an export ({about}, {WEIGHTS}). "
            "Expected the output folder of `mocap-ray train`, or a checkpoint in it."
        )
    root = place(text)
    for folder, name in (("", about), (CHECKPOINTS, BEST), (EXPORT, about), ("", BEST), ("", LAST)):
        if root.exists(*filter(None, (folder, name))):
            return place(f"{text}/{folder}" if folder else text), name
    if not root.exists():
        raise CheckpointError(
            f"{text}: there is no such file or folder. Expected the output folder of `mocap-ray train`."
        )
    if folds := fold_folders(root):
        raise CheckpointError(
            f"{text}: contains the trainings of {counted(len(folds), 'fold')}, and no {words.result} of its own. "
            f"Choose one of them, such as {text}/{FOLDS}/0."
        )
    names = sorted({root.relative(i.path).split("/")[0] for i in root.files()})
    found = ", ".join(names[:5]) or "nothing"
    raise CheckpointError(
        f"{text}: no trained {words.result} (found {found}). Expected checkpoints/{BEST} or {about} in it; a "
        "training writes its checkpoints after the first epoch."
    )
