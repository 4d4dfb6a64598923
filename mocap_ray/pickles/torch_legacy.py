"""Storages in plain pickles of torch tensors, read without torch.

`pickle.dump(tensor)` stores a call of `torch.storage._load_from_bytes`, which is an unrestricted
`torch.load`. The bytes are in torch's format from before 1.6: four pickles (magic number, version, system,
the object with a persistent id for each storage), the list of storage keys, then per key the number of
elements as int64 and the raw values.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mocap_ray.pickles.values import Global, Nested

_MAGIC = 0x1950A86A20F9469CFC6C

TORCH_STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "|b1",
}
"""torch's storage types by name, as numpy dtypes."""


def read_storage(data: bytes, nested: Nested) -> tuple[np.ndarray[Any, np.dtype[Any]], bytes]:
    """The only storage in `data`, as a vector, and its key. Raises ValueError if the layout differs.

    Args:
        data: bytes in the legacy format, a sequence of pickles.
        nested: reads one of the pickles.
    """
    found: list[tuple[str, str, int]] = []

    def note(identifier: object) -> object:
        if not isinstance(identifier, tuple) or len(identifier) < 5 or identifier[0] != "storage":
            raise ValueError("a torch storage with an unknown persistent id")
        kind, key, _, count = identifier[1:5]
        if not isinstance(kind, Global) or kind.module != "torch" or kind.name not in TORCH_STORAGES:
            raise ValueError("a torch storage of an unknown type")
        if not isinstance(key, str) or type(count) is not int:
            raise ValueError("a torch storage without key and size")
        found.append((TORCH_STORAGES[kind.name], key, count))
        return None

    at, heads = 0, []
    for _ in range(5):
        head, at = nested(data, at, note)
        heads.append(head)
    if heads[0] != _MAGIC or len(found) != 1 or heads[4] != [found[0][1]]:
        raise ValueError("a torch storage in another layout than torch's own from before 1.6")
    dtype, key, count = found[0]
    raw, stored = data[at + 8 :], int.from_bytes(data[at : at + 8], "little")
    if stored != count or len(raw) != count * np.dtype(dtype).itemsize:
        raise ValueError(f"a torch storage of {count} elements with {len(raw)} bytes")
    return np.frombuffer(raw, dtype=dtype), key.encode("utf-8", "surrogatepass")
