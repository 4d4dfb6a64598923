"""A file as ranges of bytes: memory-mapped from a local disk, or fetched from a bucket."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol, runtime_checkable

import pyarrow as pa

from mocap_ray.storage import Place, require_readable_name
from mocap_ray.wording import counted

WHOLE_FILE = 256 << 10
"""A remote file of at most this many bytes is fetched in one request."""
TAIL = 64 << 10
"""Bytes at the end of a larger remote file that are fetched first; enough for a directory of about 1,000 members."""


@runtime_checkable
class ByteSource(Protocol):
    """A file as ranges of bytes."""

    size: int

    def block(self, start: int, stop: int) -> memoryview:
        """Bytes start..stop, which must be inside the file; still valid after `close`. Raises OSError."""
        ...

    def fetch(self, spans: Iterable[tuple[int, int]]) -> None:
        """Fetch ranges in one request. Raises OSError."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class Mapped:
    """A local file: its blocks are views of the page cache."""

    def __init__(self, path: str, name: str, size: int | None) -> None:
        self.name = name
        require_readable_name(path)  # a worker's locale may differ from the driver's
        self._fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            self.size = os.fstat(self._fd).st_size
            same_size(name, self.size, size)
            # An empty file cannot be mapped. The map has its own file handle until its last view is deleted.
            mapped = mmap.mmap(self._fd, 0, access=mmap.ACCESS_READ) if self.size else b""
            self._view = memoryview(mapped)
        except BaseException:
            os.close(self._fd)
            raise

    def block(self, start: int, stop: int) -> memoryview:
        """A view of the file."""
        # Reading a page beyond the end of a file that has shrunk kills the process (SIGBUS): check first.
        same_size(self.name, os.fstat(self._fd).st_size, self.size)
        return self._view[start:stop]

    def fetch(self, spans: Iterable[tuple[int, int]]) -> None:
        """Do nothing: pages are loaded when they are read."""

    def close(self) -> None:
        """Close the file; the map stays open as long as there are views of it."""
        os.close(self._fd)


class Remote:
    """An object in a bucket: one request to open it, then one for each range that has not been fetched."""

    def __init__(self, place: Place, name: str, size: int | None) -> None:
        self.name = name
        self._windows: list[tuple[int, memoryview]] = []
        try:
            self._file = place.fs.open_input_file(place.join(name))
            self.size: int = self._file.size()
        except pa.ArrowException as error:
            raise _as_oserror(name, error) from error
        same_size(name, self.size, size)
        self.fetch([(0 if self.size <= WHOLE_FILE else self.size - TAIL, self.size)])

    def block(self, start: int, stop: int) -> memoryview:
        """A view of the fetched bytes; fetches them first if needed."""
        found = self._find(start, stop)
        if found is None:
            self.fetch([(start, stop)])
            found = self._find(start, stop)
        assert found is not None
        return found

    def fetch(self, spans: Iterable[tuple[int, int]]) -> None:
        """Fetch from the first missing byte to the last in one request: gaps cost less than another round trip."""
        missing = [span for span in spans if self._find(*span) is None]
        if not missing:
            return
        start, stop = min(s for s, _ in missing), max(e for _, e in missing)
        try:
            data = self._file.read_at(stop - start, start)
        except pa.ArrowException as error:
            raise _as_oserror(self.name, error) from error
        if len(data) != stop - start:
            raise OSError(f"{self.name}: received {len(data)} of {counted(stop - start, 'byte')}")
        self._windows.append((start, memoryview(data)))

    def close(self) -> None:
        """Close the object."""
        with suppress(OSError, pa.ArrowException):  # nothing was written, so a failed close loses nothing
            self._file.close()

    def _find(self, start: int, stop: int) -> memoryview | None:
        if start == stop:
            return memoryview(b"")
        for first, window in self._windows:
            if first <= start and stop <= first + len(window):
                return window[start - first : stop - first]
        return None


def same_size(name: str, found: int, expected: int | None) -> None:
    """Raise OSError unless the size is the expected one (None accepts any size)."""
    if expected is not None and found != expected:
        raise OSError(
            f"{name}: {counted(found, 'byte')} where {expected:,} were listed: it changed since. Run again."
        )


def _as_oserror(name: str, error: Exception) -> OSError:
    """A pyarrow error while reading as OSError: it is the store's failure (ArrowInvalid would be a ValueError)."""
    return error if isinstance(error, OSError) else OSError(f"{name}: {error}")
