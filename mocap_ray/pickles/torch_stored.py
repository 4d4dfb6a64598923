"""Where the numbers of a tensor are in a file of `torch.save`: they are read one tensor at a time, or never."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mocap_ray.errors import UserError

DTYPES: Mapping[str, tuple[str, int]] = {
    "DoubleStorage": ("float64", 8),
    "FloatStorage": ("float32", 4),
    "HalfStorage": ("float16", 2),
    "BFloat16Storage": ("bfloat16", 2),
    "LongStorage": ("int64", 8),
    "IntStorage": ("int32", 4),
    "ShortStorage": ("int16", 2),
    "CharStorage": ("int8", 1),
    "ByteStorage": ("uint8", 1),
    "BoolStorage": ("bool", 1),
}
"""torch's storage types: the name of the dtype, and the bytes of one number."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor that is still in its file.

    Attributes:
        dtype: torch's name of it, such as float32.
        itemsize: bytes of one number.
        shape, strides: as in torch; strides count numbers.
        start: byte of the file with its first number.
        crc: checksum of these bytes, if the tensor is all that its part of the file holds.
    """

    dtype: str
    itemsize: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    start: int
    crc: int | None

    @property
    def nbytes(self) -> int:
        """Bytes of its numbers."""
        return math.prod(self.shape) * self.itemsize

    def read(self, file: int, *, where: str) -> bytes:
        """Its numbers, row by row.

        Args:
            file: descriptor of the file that it was found in.
            where: name of the file in messages.

        Raises:
            UserError: the file is shorter than when it was opened, or these bytes do not have their checksum.
            OSError: the file cannot be read.
        """
        if not self.nbytes:
            return b""
        last = sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        data = _read_at(file, (last + 1) * self.itemsize, self.start, where)
        if self.crc is not None and zlib.crc32(data) != self.crc:
            raise UserError(
                f"{where}: the checksum of the bytes from {self.start:,} on is wrong: the file is damaged. "
                "Download or copy it again."
            )
        # Only the place of each number matters here, so numbers of any kind are moved as unsigned integers.
        numbers = np.frombuffer(data, np.dtype(f"u{self.itemsize}"))
        steps = tuple(step * self.itemsize for step in self.strides)
        view = np.lib.stride_tricks.as_strided(numbers, self.shape, steps)
        return data if view.flags.c_contiguous and len(data) == self.nbytes else view.tobytes()


@dataclass(frozen=True, slots=True)
class FileStorage:
    """The numbers that one or more tensors of a file of `torch.save` show.

    Attributes:
        dtype, itemsize: as in `StoredTensor`.
        size: how many numbers.
        start: byte of the file with the first one.
        crc: checksum of their bytes.
    """

    dtype: str
    itemsize: int
    size: int
    start: int
    crc: int

    def tensor(self, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> StoredTensor:
        """A tensor that begins at number `offset`; its layout lies within the storage."""
        whole = offset == 0 and math.prod(shape) == self.size
        start = self.start + offset * self.itemsize
        return StoredTensor(self.dtype, self.itemsize, shape, strides, start, self.crc if whole else None)


def _read_at(file: int, count: int, start: int, where: str) -> bytes:
    """Bytes of a file; one call reads at most 2 GB."""
    parts, at = [], start
    while at < start + count:
        part = os.pread(file, start + count - at, at)
        if not part:
            raise UserError(f"{where}: it has become shorter while it was read. Copy it again.")
        parts.append(part)
        at += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
