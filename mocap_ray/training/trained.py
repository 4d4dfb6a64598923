"""What a training left: the judged weights and their description, from any path into its folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mocap_ray.storage import Place, place
from mocap_ray.training import checkpoint
from mocap_ray.training.checkpoint import BEST, CHECKPOINTS, EXPORT, LAST, WEIGHTS, CheckpointError
from mocap_ray.training.task import TaskWords


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """The judged weights of a model, and what describes it.

    Attributes:
        tensors: by name, on the CPU.
        about: the description, plain JSON values.
        where: the file that they were read from.
    """

    tensors: dict[str, Tensor]
    about: dict[str, Any]
    where: str


def read_trained(path: str | os.PathLike[str], words: TaskWords) -> Trained:
    """Read the output folder of a training (its best checkpoint), a checkpoint, or an export.

    Args:
        path: of any of them: a path or an address.
        words: of the task that was trained.

    Raises:
        CheckpointError: nothing there, damaged, foreign or newer; says what to do.
    """
    folder, name = _find(path, words)
    try:
        if name == words.description:
            tensors, about = checkpoint.read_export(folder, description=name)
        else:
            found = checkpoint.read(folder, name)
            tensors, about = checkpoint.weights(found["state"]), found["about"]
    except FileNotFoundError:
        lacking = WEIGHTS if name == words.description else name
        raise CheckpointError(
            f"{folder.uri}/{lacking}: there is no such file. Copy the folder again."
        ) from None
    return Trained(tensors, about, f"{folder.uri}/{name}")


def _find(path: str | os.PathLike[str], words: TaskWords) -> tuple[Place, str]:
    """The folder and the name of the file to read: a checkpoint, or the description of an export."""
    about = words.description
    text = str(path).rstrip("/")
    head, _, last = text.rpartition("/")
    if last in (about, WEIGHTS):
        return place(head or "."), about
    if last.endswith(".pt"):
        return place(head or "."), last
    if os.path.isfile(text):
        raise CheckpointError(
            f"{text}: a file that is neither a checkpoint (.pt) nor of an export ({about}, {WEIGHTS}). "
            "Expected the output folder of `mocap-ray train`, or a checkpoint in it."
        )
    here = place(text)
    for folder, name in (("", about), (CHECKPOINTS, BEST), (EXPORT, about), ("", BEST), ("", LAST)):
        if here.exists(*filter(None, (folder, name))):
            return place(f"{text}/{folder}" if folder else text), name
    if not here.exists():
        raise CheckpointError(f"{text}: there is nothing. Expected the output folder of `mocap-ray train`.")
    names = sorted({here.relative(i.path).split("/")[0] for i in here.files()})
    found = ", ".join(names[:5]) or "nothing"
    raise CheckpointError(
        f"{text}: no trained {words.result} (found {found}). Expected checkpoints/{BEST} or {about} below it; a "
        "training writes them after its first epoch."
    )
