"""Checkpoints of SMPLest-X, as its training writes them and as they are published, to weights of an estimator.

A checkpoint is a file of `torch.save`: `{"epoch": int, "network": state dict, "optimizer": state of Adam}`. Names begin
with `module.` where the training was distributed; `smplx_layer.*` are buffers of the body model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from mocap_ray.errors import UserError
from mocap_ray.estimation.geometry import SIZES, Geometry
from mocap_ray.estimation.network import official_shapes, untrained_shapes
from mocap_ray.estimation.weights import About, Part, differences, write_weights
from mocap_ray.pickles import StoredTensor, load_torch_zip, shown_keys

LICENCE = (
    "S-Lab License 1.0: non-commercial use only; other use needs the consent of the authors of SMPLest-X "
    "(github.com/MotrixLab/SMPLest-X)."
)
_FLOATS = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float64": torch.float64,
}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint whose tensors are still in their file.

    Attributes:
        path: the file.
        epoch: that it was written after, or None.
        tensors: of the network, with bare names.
        optimiser: bytes of the optimiser's tensors.
    """

    path: Path
    epoch: int | None
    tensors: dict[str, StoredTensor]
    optimiser: int


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import wrote.

    Attributes:
        checkpoint: what it read.
        out: the file.
        size: bytes of the file.
        written: tensors in the file.
        untrained: names that were left out, because nothing ever trained them.
    """

    checkpoint: Checkpoint
    out: Path
    size: int
    written: int
    untrained: tuple[str, ...]


def read_checkpoint(path: Path) -> Checkpoint:
    """Names, shapes and places of a checkpoint's tensors, without running code of the file or reading numbers.

    Raises:
        UnsafePickle: the file names something outside the closed list of types.
        UserError: not a checkpoint of SMPLest-X.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        values = load_torch_zip(file, where=str(path))
    network = values.get("network") if isinstance(values, dict) else None
    if not isinstance(values, dict) or not isinstance(network, dict):
        found = (
            f"a dictionary with {shown_keys(values)}"
            if isinstance(values, dict)
            else f"a {type(values).__name__}"
        )
        raise UserError(
            f"{path}: {found}. Expected a checkpoint of SMPLest-X, with its weights under 'network'."
        )
    tensors: dict[str, StoredTensor] = {}
    for key, tensor in network.items():
        name = str(key).removeprefix("module.")
        if name.startswith("smplx_layer."):
            continue
        if not isinstance(tensor, StoredTensor) or tensor.dtype not in _FLOATS:
            kind = tensor.dtype if isinstance(tensor, StoredTensor) else type(tensor).__name__
            raise UserError(f"{path}: {name[:80]} is of type {kind}. Expected a tensor of floats.")
        if name in tensors:
            raise UserError(f"{path}: {name[:80]} is there twice, with and without `module.` before it.")
        tensors[name] = tensor
    epoch = values.get("epoch")
    return Checkpoint(
        path, epoch if type(epoch) is int else None, tensors, _optimiser_bytes(values.get("optimizer"))
    )


def _optimiser_bytes(optimiser: object) -> int:
    """Bytes of the moments of Adam: `{"state": {number: {"exp_avg": tensor, ...}}}`."""
    state = optimiser.get("state") if isinstance(optimiser, dict) else None
    moments = [m for m in state.values() if isinstance(m, dict)] if isinstance(state, dict) else []
    return sum(t.nbytes for m in moments for t in m.values() if isinstance(t, StoredTensor))


def import_checkpoint(
    path: Path, out: Path, *, geometry: Geometry = SIZES["h"], dtype: torch.dtype = torch.float32
) -> Imported:
    """Write the weights of a checkpoint as safetensors, if all its names and shapes are those of the geometry.

    Tensors are copied one by one: the memory needed is that of the largest, 26 MB at size H, twice that for another
    dtype. The optimiser, two thirds of the file, is never read.

    Args:
        path: the checkpoint.
        out: the file to write.
        geometry: what the network should be.
        dtype: of the file, torch.float32 or torch.bfloat16.

    Raises:
        UserError: as `read_checkpoint`, or names or shapes differ; the message says which.
        OSError: a file cannot be read or written.
    """
    checkpoint = read_checkpoint(path)
    found = {name: t.shape for name, t in checkpoint.tensors.items()}
    if differs := differences(found, official_shapes(geometry)):
        raise UserError(f"{path}: {differs}. {_hint(found, geometry)}Nothing was written.")
    untrained = tuple(untrained_shapes(geometry))
    chosen = {name: t for name, t in checkpoint.tensors.items() if name not in untrained}
    about = About(geometry=geometry, origin=f"SMPLest-X, {path.name}", licence=LICENCE)
    with path.open("rb") as file:

        def part(name: str, tensor: StoredTensor) -> Part:
            return Part(name, tensor.shape, lambda: _converted(tensor, file.fileno(), str(path), dtype))

        parts = [part(name, tensor) for name, tensor in chosen.items()]
        size = write_weights(out, parts, dtype=dtype, about=about)
    return Imported(checkpoint, out, size, len(parts), untrained)


def _converted(tensor: StoredTensor, file: int, where: str, dtype: torch.dtype) -> bytes:
    data = tensor.read(file, where=where)
    before = _FLOATS[tensor.dtype]
    if before == dtype:
        return data
    numbers = torch.frombuffer(bytearray(data), dtype=before).to(dtype)
    return numbers.view(torch.uint8).numpy().tobytes()


def _hint(found: dict[str, tuple[int, ...]], geometry: Geometry) -> str:
    """Which size the tensors have, if it is another one that has a name."""
    for name, other in SIZES.items():
        if other != geometry and not differences(found, official_shapes(other)):
            return f"They are those of size {name}: add --size {name}. "
    return ""
