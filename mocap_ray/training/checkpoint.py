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
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, ConfigDict, Field, JsonValue, ValidationError
from torch import Tensor

from mocap_ray.documents import Amount, Count, Document, Sha256, first_problem, parse
from mocap_ray.errors import UserError
from mocap_ray.storage import Place
from mocap_ray.version import __version__

FORMAT = 1
BEST, LAST = "best.pt", "last.pt"
WEIGHTS = "model.safetensors"
CHECKPOINTS, EXPORT = "checkpoints", "export"
"""Folders within the output of a training."""


REMEDY = "Copy it again, or use the other one of best.pt and last.pt."


class CheckpointError(UserError):
    """A file that is not a checkpoint or export, is damaged, or does not fit the model or training it is used for."""


def _dense(tensor: Tensor) -> Tensor:
    """The tensor. Raises ValueError unless each of its numbers is in the file."""
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
        raise ValueError("expected a dense tensor")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ValueError(f"expected a number for each element of {tuple(tensor.shape)}")
    return tensor


Weights = dict[str, Annotated[Tensor, AfterValidator(_dense)]]


class _InMemory(Document):
    model_config = ConfigDict(extra="allow", frozen=True, arbitrary_types_allowed=True)


class Counters(_InMemory):
    """How far a training is."""

    epoch: Count
    step: Count
    seconds: Amount
    best_loss: float
    best_epoch: Count
    waited: Count


class ScheduleState(_InMemory):
    """The state of the learning rate."""

    decay: Annotated[float, Field(gt=0, le=1)]
    best: float
    waited: Count


class OptimiserState(_InMemory):
    """The state of AdamW: moments of each parameter by its number."""

    state: dict[Count, Weights]
    param_groups: list[dict[str, Any]]


class State(_InMemory):
    """The weights of a checkpoint."""

    model: Weights
    ema: Weights | None = None


class ResumableState(State):
    """Everything that a training needs to resume."""

    ema: Weights | None  # None says that there is no average; a key that is missing says nothing
    optimiser: OptimiserState
    schedule: ScheduleState
    ema_updates: Count
    counters: Counters
    history: Annotated[list[tuple[Count, float, float]], Field(default_factory=list)]


class _Saved(_InMemory):
    """The content of a checkpoint."""

    about: dict[str, JsonValue]
    state: State


class _Resumable(_Saved):
    state: ResumableState


class _Description(Document):
    """The JSON file of an export."""

    format: int
    sha256: Sha256


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


def read(folder: Place, name: str, *, resumable: bool = False) -> dict[str, Any]:
    """Read a checkpoint as `{"format", "about", "state"}`, with its tensors on the CPU.

    No code in the file is run: `torch.load(weights_only=True)`.

    Args:
        folder: the folder of the checkpoint.
        name: name of the file.
        resumable: whether it must have everything that a training needs to resume.

    Raises:
        FileNotFoundError: the file does not exist.
        CheckpointError: the file is damaged, not a checkpoint, of a newer format, or needs to run code.
    """
    data, where = folder.read(name), f"{folder.uri}/{name}"
    _check_zip(data, where)
    try:
        loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types: UnpicklingError, RuntimeError, KeyError
        first = str(error).split("\n")[0]
        raise CheckpointError(
            f"{where}: cannot be loaded without running code from it ({first[:200]}). Expected a checkpoint "
            "that mocap_ray wrote; train again if this one comes from elsewhere."
        ) from error
    if not isinstance(loaded, dict) or not {"format", "about", "state"} <= set(loaded):
        keys = ", ".join(map(_short, list(loaded)[:5])) if isinstance(loaded, dict) else type(loaded).__name__
        raise CheckpointError(
            f"{where}: not a checkpoint of mocap_ray (found {keys}). Expected a file that `mocap-ray train` wrote."
        )
    _check_format(loaded["format"], where)
    try:
        (_Resumable if resumable else _Saved).model_validate(loaded, strict=True)
    except ValidationError as error:
        what = "a checkpoint that a training can resume from" if resumable else "a checkpoint of mocap_ray"
        raise CheckpointError(f"{where}: not {what} ({first_problem(error)}). {REMEDY}") from error
    return loaded


def _check_zip(data: bytes, where: str) -> None:
    """Check the container of a checkpoint, which torch reads without its checksums and with any claimed size.

    Raises:
        CheckpointError: a member is damaged, compressed, or longer than the file.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            # torch stores its members, so each is as long as it claims. A compressed one could fill the memory.
            packed = next(
                (i.filename for i in archive.infolist() if i.compress_type != zipfile.ZIP_STORED), None
            )
            long = sum(info.file_size for info in archive.infolist()) > len(data)
            # A flipped bit would become a wrong weight.
            damaged = None if packed is not None or long else archive.testzip()
    except Exception as error:  # zipfile raises many types on damaged directories, all of bytes in memory
        first = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise CheckpointError(
            f"{where}: not a checkpoint, or truncated ({len(data):,} bytes: {first}). {REMEDY}"
        ) from error
    if packed is not None or long:
        raise CheckpointError(f"{where}: damaged (its members are not stored as torch does). {REMEDY}")
    if damaged is not None:
        raise CheckpointError(f"{where}: damaged (the checksum of {damaged!r:.80} is wrong). {REMEDY}")


def _short(value: object) -> str:
    """A key or a version of a foreign file, on one line."""
    return (
        str(value if isinstance(value, str | int | float) else type(value).__name__)[:40]
        .encode("unicode_escape")
        .decode()
    )


def _check_format(found: Any, where: str) -> None:
    if not isinstance(found, int) or found > FORMAT:
        raise CheckpointError(
            f"{where}: written in format {_short(found)}; this is mocap_ray {__version__}, which reads up to format "
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
    found = parse(
        folder.read(description),
        _Description,
        where=where,
        what="the description of an export",
        remedy="Copy the folder again, or load the checkpoint that it was exported from.",
        error=CheckpointError,
    )
    _check_format(found.format, where)
    data = folder.read(WEIGHTS)
    if hashlib.sha256(data).hexdigest() != found.sha256:
        raise CheckpointError(
            f"{folder.uri}/{WEIGHTS}: not the file that {description} describes ({len(data):,} bytes, wrong sha256). "
            "Copy both again, or load the checkpoint that they were exported from."
        )
    try:
        return load(data), found.model_dump()
    except SafetensorError as error:
        raise CheckpointError(f"{folder.uri}/{WEIGHTS}: not a safetensors file ({error}).") from error
