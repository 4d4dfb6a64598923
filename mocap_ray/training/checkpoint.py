"""Checkpoints of a training, best and last, and the plain files of a finished one.

A checkpoint is a dict of tensors and plain values, so `torch.load(weights_only=True)` reads it:

    {"format": 1, "about": {...}, "state": {"model": {name: tensor}, "ema": ..., "optimiser": ..., ...}}

`about` is plain JSON: the config's model section, what the task describes of its model, the hash of its data. An
export is the judged weights as safetensors, with `about` as JSON beside them, in a file that the task names.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mocap_ray.errors import UserError
from mocap_ray.storage import Place
from mocap_ray.version import __version__

FORMAT = 1
BEST, LAST = "best.pt", "last.pt"
WEIGHTS = "model.safetensors"
CHECKPOINTS, EXPORT = "checkpoints", "export"
"""Folders below that of a training."""


class CheckpointError(UserError):
    """A file that is no checkpoint or export, is damaged, or does not fit what it shall be used for."""


class Checkpoints:
    """Writes `best.pt` and `last.pt` into a folder, each whole or not at all; keeps no others."""

    def __init__(self, folder: Place, *, about: Mapping[str, Any]) -> None:
        self.folder, self.about = folder, dict(about)

    def save(self, state: Mapping[str, Any], *, best: bool) -> None:
        """Write the last state, and the best one where it is that too.

        Raises:
            OSError: disk full, no permission; the files before stay as they were.
        """
        sink = io.BytesIO()
        torch.save({"format": FORMAT, "about": self.about, "state": dict(state)}, sink)
        # Best first: were the run killed between the two, its resumption would find the older `last`, train
        # that epoch again to the same numbers and write the same best.
        for name in (BEST, LAST) if best else (LAST,):
            self.folder.write_atomic(sink.getvalue(), name)


def read(folder: Place, name: str) -> dict[str, Any]:
    """A checkpoint as `{"format", "about", "state"}`, its tensors on the CPU.

    Nothing in the file is run: `torch.load(weights_only=True)`.

    Raises:
        FileNotFoundError: not there.
        CheckpointError: damaged, foreign, of a newer format, or made to run code.
    """
    data, where = folder.read(name), f"{folder.uri}/{name}"
    remedy = "Copy it again, or use the other one of best.pt and last.pt."
    try:
        # torch leaves the checksums in its zip files unchecked; a flipped bit would become a wrong weight.
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError, OSError) as error:
        raise CheckpointError(
            f"{where}: not a checkpoint, or cut short ({len(data):,} bytes: {error}). {remedy}"
        ) from error
    if damaged is not None:
        raise CheckpointError(f"{where}: damaged (the checksum of {damaged} is wrong). {remedy}")
    try:
        found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what its parts raise: UnpicklingError, RuntimeError, KeyError
        first = str(error).split("\n")[0]
        raise CheckpointError(
            f"{where}: cannot be read without running code from it ({first[:200]}). Expected a checkpoint that "
            "mocap_ray wrote; train again if this one came from elsewhere."
        ) from error
    if not isinstance(found, dict) or not {"format", "about", "state"} <= set(found):
        keys = ", ".join(map(str, list(found)[:5])) if isinstance(found, dict) else type(found).__name__
        raise CheckpointError(f"{where}: not a checkpoint of mocap_ray (found {keys}).")
    _check_format(found["format"], where)
    return found


def _check_format(found: Any, where: str) -> None:
    if not isinstance(found, int) or found > FORMAT:
        raise CheckpointError(
            f"{where}: written in format {found}; this is mocap_ray {__version__}, which reads up to format "
            f"{FORMAT}. Upgrade mocap_ray to read it."
        )


def weights(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights that were judged: the averaged ones where there are any, with the model's own buffers."""
    return {**state["model"], **(state.get("ema") or {})}


def export(
    folder: Place, *, tensors: Mapping[str, Tensor], about: Mapping[str, Any], description: str
) -> None:
    """Write `model.safetensors`, then its description with its sha256: the plain form of a finished model.

    Args:
        folder: to write to.
        tensors: the weights.
        about: plain JSON values.
        description: name of the JSON file.

    Raises:
        OSError: disk full, no permission.
    """
    from safetensors.torch import save

    # Cloned: safetensors refuses tensors that share memory, such as tied weights.
    data = save({name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()})
    described = {
        "format": FORMAT,
        "package_version": __version__,
        "sha256": hashlib.sha256(data).hexdigest(),
        **about,
    }
    folder.write_atomic(data, WEIGHTS)
    folder.write_atomic((json.dumps(described, indent=1) + "\n").encode(), description)


def read_export(folder: Place, *, description: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and `about` of an export whose JSON file is called `description`.

    Raises:
        FileNotFoundError: no such JSON file, or no model.safetensors.
        CheckpointError: damaged, or the two do not belong together.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    where = f"{folder.uri}/{description}"
    try:
        about = json.loads(folder.read(description))
        _check_format(about["format"], where)
        expected = str(about["sha256"])
    except CheckpointError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{where}: not the description of an export ({type(error).__name__}: {error}). Copy the folder "
            "again, or load the checkpoint that it was made from."
        ) from error
    data = folder.read(WEIGHTS)
    if hashlib.sha256(data).hexdigest() != expected:
        raise CheckpointError(
            f"{folder.uri}/{WEIGHTS}: not the file that {description} describes ({len(data):,} bytes, another sha256). "
            "Copy both again, or load the checkpoint that they were made from."
        )
    try:
        return load(data), about
    except SafetensorError as error:
        raise CheckpointError(f"{folder.uri}/{WEIGHTS}: not a safetensors file ({error}).") from error
