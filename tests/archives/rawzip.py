"""Zip archives and .npy members written byte by byte with struct, from the published layouts alone.

Never by numpy's or zipfile's writers, and never by code that the package's reader uses.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


def npy(
    array: np.ndarray, *, version: int = 1, text: str | None = None, payload: bytes | None = None
) -> bytes:
    """A .npy file: magic, version, length, a Python dictionary padded to 64 bytes, the numbers."""
    array = np.asarray(array)
    if text is None:
        shape = "(" + "".join(f"{n}, " for n in array.shape).rstrip(" " if array.ndim == 1 else ", ") + ")"
        text = f"{{'descr': '{array.dtype.str}', 'fortran_order': False, 'shape': {shape}, }}"
    raw = text.encode("latin-1")
    prefix = 10 if version == 1 else 12
    raw += b" " * (-(prefix + len(raw) + 1) % 64) + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(raw))
    return (
        b"\x93NUMPY" + bytes((version, 0)) + length + raw + (array.tobytes() if payload is None else payload)
    )


@dataclass
class Part:
    """One member; any field may be set to a wrong value."""

    name: str
    data: bytes
    deflate: bool = False
    crc: int | None = None
    size: int | None = None
    method: int | None = None
    flags: int = 0
    local_name: str | None = None
    local_extra: bytes = b""
    zip64: bool = False
    offset: int | None = None


def archive(
    parts: Iterable[Part], *, comment: bytes = b"", zip64: bool = False, before: bytes = b"", gap: bytes = b""
) -> bytes:
    """A zip archive of these members; `zip64` writes the 64-bit end record."""
    out = bytearray(before)
    entries = bytearray()
    count = 0
    for part in parts:
        count += 1
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        packed = packer.compress(part.data) + packer.flush() if part.deflate else part.data
        method = part.method if part.method is not None else 8 * part.deflate
        crc = part.crc if part.crc is not None else zlib.crc32(part.data)
        size = part.size if part.size is not None else len(part.data)
        name = part.name.encode()
        local = (part.local_name or part.name).encode()
        offset = len(out) if part.offset is None else part.offset
        wide = b""
        sizes, place = (len(packed), size), offset
        extra = part.local_extra
        if part.zip64:  # as numpy writes: 64-bit sizes in the local header already
            extra += struct.pack("<2H2Q", 1, 16, size, len(packed))
            wide = struct.pack("<2H3Q", 1, 24, size, len(packed), offset)
            sizes, place = (0xFFFFFFFF, 0xFFFFFFFF), 0xFFFFFFFF
        out += struct.pack(
            "<4s5H3I2H", b"PK\3\4", 45, part.flags, method, 0, 33, crc, *sizes, len(local), len(extra)
        )
        out += local + extra + packed + gap
        entries += struct.pack(
            "<4s6H3I5H2I", b"PK\1\2", 45, 45, part.flags, method, 0, 33, crc, *sizes, len(name), len(wide), 0, 0, 0,
            0, place,
        )  # fmt: skip
        entries += name + wide
    first = len(out)
    out += entries
    if zip64:
        end = len(out)
        out += struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(entries), first)
        out += struct.pack("<4sIQI", b"PK\6\7", 0, end, 1)
        out += struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, len(comment))
    else:
        out += struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, len(entries), first, len(comment))
    return bytes(out + comment)


def npz(arrays: dict[str, np.ndarray], *, deflate: bool = False, **options: bool) -> bytes:
    """An .npz file of these arrays."""
    return archive(
        [Part(f"{name}.npy", npy(value), deflate=deflate) for name, value in arrays.items()], **options
    )
