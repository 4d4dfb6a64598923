"""The weights of an estimator in one safetensors file: written tensor by tensor, read by mapping the file.

The names of the tensors are those of the published checkpoint. The metadata holds, under `mocap_ray`, the geometry of
the network, where the weights come from, and their licence.
"""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mocap_ray.documents import Document, parse
from mocap_ray.errors import UserError
from mocap_ray.estimation.geometry import Geometry
from mocap_ray.estimation.network import Network
from mocap_ray.storage import expand
from mocap_ray.wording import counted, listed

_KEY = "mocap_ray"
_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16"}


class About(Document):
    """What the metadata of a file say."""

    geometry: Geometry
    origin: str
    """Where the weights come from, for messages and data cards."""
    licence: str
    """What they may be used for; empty if they are the user's own."""


@dataclass(frozen=True, slots=True)
class Part:
    """A tensor to write.

    Attributes:
        name, shape: of the tensor.
        numbers: gives its little-endian bytes, row by row; called when it is written.
    """

    name: str
    shape: tuple[int, ...]
    numbers: Callable[[], bytes]


def write_weights(out: Path, parts: Sequence[Part], *, dtype: torch.dtype, about: About) -> int:
    """Write a file atomically, with one tensor in memory at a time; returns its bytes.

    Layout (huggingface.co/docs/safetensors): the length of the header in 8 bytes, the header as JSON, the numbers.

    Raises:
        OSError: disk full, no permission. There is no new file then.
    """
    size = torch.finfo(dtype).bits // 8
    header: dict[str, object] = {
        "__metadata__": {
            "format": "pt",
            _KEY: json.dumps({**about.model_dump(), "geometry": asdict(about.geometry)}),
        }
    }
    end = 0
    for part in parts:
        start, end = end, end + size * math.prod(part.shape)
        header[part.name] = {"dtype": _NAMES[dtype], "shape": list(part.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".tmp-{uuid.uuid4().hex}")
    try:
        with temporary.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for part in parts:
                _write_part(file, part, size)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(out)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return 8 + len(text) + end


def _write_part(file: BinaryIO, part: Part, size: int) -> None:
    data = part.numbers()
    if len(data) != size * math.prod(part.shape):
        raise ValueError(f"{part.name}: {len(data)} bytes for shape {part.shape}")
    file.write(data)


def save_network(network: Network, out: Path, *, origin: str, licence: str = "") -> None:
    """Write the weights of a network in their own dtype, fp32 or bf16, for `load_network`."""
    state = network.state_dict()
    dtype = next(iter(state.values())).dtype
    about = About(geometry=network.geometry, origin=origin, licence=licence)
    parts = [Part(name, tuple(t.shape), lambda t=t: _bytes(t)) for name, t in state.items()]  # type: ignore[misc]
    write_weights(out, parts, dtype=dtype, about=about)


def _bytes(tensor: Tensor) -> bytes:
    whole = tensor.detach().cpu().contiguous()
    return whole.view(-1).view(torch.uint8).numpy().tobytes()


def load_network(
    path: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[Network, About]:
    """The network of a file, ready to estimate, and what the file says about it.

    The file is mapped: on a CPU weights of the requested dtype take no memory of their own.

    Args:
        path: a file of `mocap-ray estimator import` or `save_network`.
        device: where the network will run.
        dtype: torch.float32, or torch.bfloat16, which takes half of the memory.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: not such a file, or its tensors do not fit its geometry.
    """
    path = expand(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file. `mocap-ray estimator import` writes one.")
    remedy = "Expected a file that `mocap-ray estimator import` wrote; run it again."
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name).to(dtype) for name in file.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise UserError(f"{path}: not a safetensors file ({error}). {remedy}") from error
    if _KEY not in metadata:
        raise UserError(f"{path}: its metadata do not name the size of the network. {remedy}")
    about = parse(
        metadata[_KEY].encode(), About, where=str(path), what="the weights of an estimator", remedy=remedy
    )
    with torch.device("meta"):  # no memory: the weights of the file take these places
        network = Network(about.geometry)
    expected = {name: tuple(t.shape) for name, t in network.state_dict().items()}
    found = {name: tuple(t.shape) for name, t in state.items()}
    if differs := differences(found, expected):
        raise UserError(f"{path}: {differs}. {remedy}")
    network.load_state_dict(state, assign=True)
    return network.requires_grad_(False).eval(), about


def differences(found: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]]) -> str:
    """What differs between names and shapes of tensors, without a final stop; empty if nothing does."""
    missing = [name for name in expected if name not in found]
    more = [name for name in found if name not in expected]
    other = [
        f"{name} {list(found[name])} instead of {list(expected[name])}"
        for name in expected
        if name in found and found[name] != expected[name]
    ]
    sentences = (
        (missing, "missing"),
        (more, "unknown"),
        (other, "of another shape"),
    )
    return "; ".join(
        f"{counted(len(names), 'tensor')} {'is' if len(names) == 1 else 'are'} {what} ({listed(names, most=3)})"
        for names, what in sentences
        if names
    )
