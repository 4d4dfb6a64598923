"""Checkpoints of a training (best and last), and the export of a finished one.

A checkpoint is a dict of tensors and plain values, so `torch.load(weights_only=True)` reads it:

    {"format": 1, "about": {...}, "state": {"model": {name: tensor}, "ema": ..., "optimiser": ..., ...}}

`about` is plain JSON: the section `model` of the config, the task's description of the model, the hash of the data. An
export has the best weights as safetensors and `about` as JSON in a second file, which the task names.
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
"""Folders within the output of a training."""


class CheckpointError(UserError):
    """A file that is not a checkpoint or export, is damaged, or does not fit the model or training it is used for."""


class Checkpoints:
    """Writes `best.pt` and `last.pt` into a folder atomically; keeps no other checkpoints."""

    def __init__(self, folder: Place, *, about: Mapping[str, Any]) -> None:
        self.folder, self.about = folder, dict(about)

    def save(self, state: Mapping[str, Any], *, best: bool) -> None:
        """Write the last checkpoint, and with `best` also the best one.

        Raises:
            OSError: disk full, no permission; the previous files are not changed.
        """
        sink = io.BytesIO()
        torch.save({"format": FORMAT, "about": self.about, "state": dict(state)}, sink)
        # Best first: after a kill between the two, a resumed run finds the older `last`, trains that epoch again with
        # the same result, and writes the same best.
        for name in (BEST, LAST) if best else (LAST,):
            self.folder.write_atomic(sink.getvalue(), name)


def read(folder: Place, name: str) -> dict[str, Any]:
    """Read a checkpoint as `{"format", "about", "state"}`, with its tensors on the CPU.

    No code in the file is run: `torch.load(weights_only=True)`.

    Raises:
        FileNotFoundError: the file does not exist.
        CheckpointError: the file is damaged, not a checkpoint, of a newer format, or needs to run code.
    """
    data, where = folder.read(name), f"{folder.uri}/{name}"
    remedy = "Copy it again, or use the other one of best.pt and last.pt."
    try:
        # torch does not check the checksums in its zip files; a flipped bit would become a wrong weight.
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError, OSError) as error:
        raise CheckpointError(
            f"{where}: not a checkpoint, or truncated ({len(data):,} bytes: {error}). {remedy}"
        ) from error
    if damaged is not None:
        raise CheckpointError(f"{where}: damaged (the checksum of {damaged} is wrong). {remedy}")
    try:
        loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types: UnpicklingError, RuntimeError, KeyError
        first = str(error).split("\n")[0]
        raise CheckpointError(
            f"{where}: cannot be loaded without running code from it ({first[:200]}). Expected a checkpoint "
            "that mocap_ray wrote; train again if this one comes from elsewhere."
        ) from error
    if not isinstance(loaded, dict) or not {"format", "about", "state"} <= set(loaded):
        keys = ", ".join(map(str, list(loaded)[:5])) if isinstance(loaded, dict) else type(loaded).__name__
        raise CheckpointError(
            f"{where}: not a checkpoint of mocap_ray (found {keys}). Expected a file that `mocap-ray train` wrote."
        )
    _check_format(loaded["format"], where)
    return loaded


def _check_format(found: Any, where: str) -> None:
    if not isinstance(found, int) or found > FORMAT:
        raise CheckpointError(
            f"{where}: written in format {found}; this is mocap_ray {__version__}, which reads up to format "
            f"{FORMAT}. Upgrade mocap_ray to read it."
        )


def weights(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights that were validated: the averaged ones if there are any, with the buffers of the model."""
    return {**state["model"], **(state.get("ema") or {})}


def export(
    folder: Place, *, tensors: Mapping[str, Tensor], about: Mapping[str, Any], description: str
) -> None:
    """Write a finished model as `model.safetensors` and a JSON description with its sha256.

    Args:
        folder: folder to write to.
        tensors: the weights.
        about: the description, plain JSON values.
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
    """Read the tensors and the description of an export; `description` is the name of its JSON file.

    Raises:
        FileNotFoundError: the JSON file or model.safetensors does not exist.
        CheckpointError: a file is damaged, or the two do not belong together.
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
            "again, or load the checkpoint that it was exported from."
        ) from error
    data = folder.read(WEIGHTS)
    if hashlib.sha256(data).hexdigest() != expected:
        raise CheckpointError(
            f"{folder.uri}/{WEIGHTS}: not the file that {description} describes ({len(data):,} bytes, wrong sha256). "
            "Copy both again, or load the checkpoint that they were exported from."
        )
    try:
        return load(data), about
    except SafetensorError as error:
        raise CheckpointError(f"{folder.uri}/{WEIGHTS}: not a safetensors file ({error}).") from error
