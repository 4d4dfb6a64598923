"""Read one array out of each of many pickles that differ in nothing but numbers, such as the frames of a take.

The first file is read by the machine, which notes where the numbers of its arrays are. A file that equals it in every
other byte means the same, so its array is read from the same place, without interpreting it again, and large arrays
that nobody asked for are not read at all. Any other file goes through the machine. Keys of torch's storages, which are
addresses of memory, may differ too, as long as they have as many digits and the two places of each key agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from mocap_ray.errors import UserError
from mocap_ray.pickles.reading import load_from
from mocap_ray.pickles.values import Global, shown_keys

ReadAt = Callable[[int, int], bytes]
"""Number of bytes, position -> these bytes of the file, as `os.pread` gives them."""

_GAP = 8192  # a gap in what is needed that is read along, because a call to read costs as much
_MOST = 8  # layouts to remember: keys of torch's storages differ in their number of digits

_Array = np.ndarray[Any, np.dtype[Any]]

_BY_SIZE = frozenset(
    {
        ("collections", "OrderedDict"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy.core.numeric", "_frombuffer"),
        ("numpy._core.numeric", "_frombuffer"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("torch.storage", "_load_from_bytes"),
    }
)
"""Globals that check the size of their numbers and nothing about their values."""


class NoSuchKey(UserError):
    """The pickle is no dictionary, or lacks the key."""


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Where in a file the numbers of an array are.

    Attributes:
        start: position of its first number.
        dtype, shape, strides: as in numpy; no stride is negative.
    """

    start: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def stop(self) -> int:
        """Position after its last number."""
        last = sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        return self.start + last + self.dtype.itemsize


@dataclass(slots=True)
class _Notes:
    """What the machine noted while it read a file (`values.Trace`).

    Attributes:
        chunks: id -> bytes of the file, and their position; kept, so that no id is used twice.
        numbers: id -> an array, and where its numbers are.
        free: (start, stop) of numbers, which may differ between files.
        digits: (first place, second place, count) of the keys of storages.
        known: whether nothing in the file depends on numbers.
    """

    chunks: dict[int, tuple[bytes, int]] = field(default_factory=dict)
    numbers: dict[int, tuple[_Array, _Numbers]] = field(default_factory=dict)
    free: list[tuple[int, int]] = field(default_factory=list)
    digits: list[tuple[int, int, int]] = field(default_factory=list)
    known: bool = True

    def chunk(self, chunk: bytes, at: int) -> None:
        if len(chunk) > 1:  # Python has only one object for each shorter one
            self.chunks[id(chunk)] = (chunk, at)

    def called(self, callee: Global) -> None:
        self.known &= (callee.module, callee.name) in _BY_SIZE

    def again(self, value: object) -> None:
        # A chunk that is used twice may be numbers in one place, and interpreted in the other.
        self.known &= id(value) not in self.chunks

    def array(self, array: _Array, chunk: bytes, *, keys: tuple[int, ...] = (), key: int = 0) -> None:
        if id(chunk) not in self.chunks or array.dtype.kind not in "biufc":
            return
        _, at = self.chunks[id(chunk)]
        stop = at + len(chunk)
        start = stop - array.nbytes
        self.free.append((start, stop))
        self.numbers[id(array)] = (array, _Numbers(start, array.dtype, array.shape, array.strides))
        if keys:
            self.digits.append((at + keys[0], at + keys[1], key))

    def strided(self, tensor: _Array, storage: _Array, offset: int, strides: tuple[int, ...]) -> None:
        if id(storage) in self.numbers:
            _, whole = self.numbers[id(storage)]
            size = storage.itemsize
            steps = tuple(step * size for step in strides)
            found = _Numbers(whole.start + offset * size, storage.dtype, tensor.shape, steps)
            self.numbers[id(tensor)] = (tensor, found)


@dataclass(frozen=True, slots=True)
class _Layout:
    """A file's bytes without its numbers, and where in what is read of such a file they are.

    Attributes:
        size: bytes of the file.
        reads: (count, position) of the parts to read, in order; together they are the text below.
        length: bytes of the text.
        fixed: (start, stop, bytes) in the text.
        digits: (first place, second place, count) in the text.
        wanted: where the wanted array is in the text.
    """

    size: int
    reads: tuple[tuple[int, int], ...]
    length: int
    fixed: tuple[tuple[int, int, bytes], ...]
    digits: tuple[tuple[int, int, int], ...]
    wanted: _Numbers

    def read(self, read_at: ReadAt) -> _Array | None:
        """The array, if the file has this layout."""
        text = b"".join([read_at(count, at) for count, at in self.reads])
        for start, stop, expected in self.fixed:
            if text[start:stop] != expected:
                return None
        for first, second, count in self.digits:
            key = text[first : first + count]
            if key != text[second : second + count] or not (key.isdigit() and key.isascii()):
                return None
        wanted = self.wanted
        if len(text) != self.length:
            return None
        view = np.ndarray(wanted.shape, wanted.dtype, text, wanted.start, wanted.strides)
        return view.copy()


def _layout(data: bytes, notes: _Notes, array: _Array) -> _Layout | None:
    """The layout of a file that was read, or None if other files cannot be compared with it."""
    if not notes.known or id(array) not in notes.numbers or array.size == 0:
        return None
    _, wanted = notes.numbers[id(array)]
    free = sorted([*notes.free, *_places(notes.digits)])
    if any(a[1] > b[0] for a, b in pairwise(free)):
        return None
    fixed, at = [], 0
    for start, stop in [*free, (len(data), len(data))]:
        if start > at:
            fixed.append((at, start))
        at = stop
    needed = sorted([*fixed, *_places(notes.digits), (wanted.start, wanted.stop)])
    reads = [list(needed[0])]
    for start, stop in needed[1:]:
        if start - reads[-1][1] <= _GAP:
            reads[-1][1] = max(reads[-1][1], stop)
        else:
            reads.append([start, stop])
    starts = [sum(b - a for a, b in reads[:k]) for k in range(len(reads))]

    def moved(position: int) -> int:
        """A position of the file in the text."""
        return next(s + position - a for s, (a, b) in zip(starts, reads, strict=True) if a <= position < b)

    return _Layout(
        size=len(data),
        reads=tuple((b - a, a) for a, b in reads),
        length=sum(b - a for a, b in reads),
        fixed=tuple((moved(a), moved(a) + b - a, data[a:b]) for a, b in fixed),
        digits=tuple((moved(a), moved(b), count) for a, b, count in notes.digits),
        wanted=_Numbers(moved(wanted.start), wanted.dtype, wanted.shape, wanted.strides),
    )


def _places(digits: list[tuple[int, int, int]]) -> list[tuple[int, int]]:
    return [(at, at + count) for first, second, count in digits for at in (first, second)]


@dataclass(slots=True)
class AlikePickles:
    """Reads the value under one key of pickled dictionaries that are mostly alike.

    Attributes:
        key: the key.
        interpreted: how many files the machine has read.
    """

    key: str
    interpreted: int = 0
    _layouts: list[_Layout] = field(default_factory=list)

    def read(self, read_at: ReadAt, size: int, *, where: str) -> object:
        """The value under the key of one file; an array is a new one.

        Args:
            read_at: reads a part of the file.
            size: its number of bytes.
            where: name of the file in messages.

        Raises:
            NoSuchKey: the file is no dictionary, or lacks the key.
            UnsafePickle, UserError: as `load` does.
            OSError: the file is shorter than `size`.
        """
        for layout in self._layouts:
            if layout.size == size and (array := layout.read(read_at)) is not None:
                return array
        return self._interpreted(read_at, size, where)

    def _interpreted(self, read_at: ReadAt, size: int, where: str) -> object:
        self.interpreted += 1
        data, notes = read_at(size, 0), _Notes()
        if len(data) != size:
            raise OSError(f"{where}: {len(data)} bytes, but {size} were listed. The file is being changed.")
        values, _ = load_from(data, 0, where=where, trace=notes)
        if not isinstance(values, dict):
            raise NoSuchKey(f"{where}: a pickle of a {type(values).__name__}. Expected a dictionary.")
        if self.key not in values:
            raise NoSuchKey(f"{where}: no {self.key!r} (keys: {shown_keys(values)}).")
        value: object = values[self.key]
        if isinstance(value, np.ndarray) and (layout := _layout(data, notes, value)) is not None:
            self._layouts = [layout, *self._layouts][:_MOST]
        return value
