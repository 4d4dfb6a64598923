"""Open an .npz file and read chosen members."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from types import TracebackType

import numpy as np

from mocap_ray.npz import npy
from mocap_ray.npz.directory import DEFLATED, INFLATED_LIMIT, Member, directory, packed_bytes
from mocap_ray.npz.errors import NpzError
from mocap_ray.npz.sources import ByteSource, Mapped, Remote
from mocap_ray.storage import Place
from mocap_ray.wording import byte_size

_PEEK = npy.HEADER_LIMIT + 12


class NpzFile:
    """The members of an open .npz file; a context manager.

    Attributes:
        name: path of the file below its place.
        size: size of the file in bytes.
        members: the .npy members by name, in the order of their position in the file.
    """

    def __init__(self, name: str, source: ByteSource) -> None:
        self.name = name
        self.size = source.size
        self._source = source
        self.members: dict[str, Member] = directory(source)

    def __enter__(self) -> NpzFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._source.close()

    def __contains__(self, name: object) -> bool:
        return name in self.members

    @property
    def keys(self) -> str:
        """The names of the members in alphabetical order, for messages; at most 40 of them."""
        names = sorted(self.members)
        return ", ".join(names[:40]) + (f" and {len(names) - 40} more" if len(names) > 40 else "")

    def prefetch(self, names: Iterable[str]) -> None:
        """Fetch members of a remote file in one request; unknown names are ignored, local files need no request.

        Raises:
            OSError: the request failed.
        """
        members = [self.members[name] for name in names if name in self.members]
        self._source.fetch([(member.offset, member.end) for member in members])

    def describe(self, name: str) -> npy.Header:
        """Dtype and shape of a member from its header; the numbers are neither read nor checked.

        Raises:
            NpzError: no such member, or its header is damaged or contradicts its size.
            OSError: the disk or the network failed.
        """
        member = self._member(name)
        packed = packed_bytes(self._source, member)
        start = packed[:_PEEK] if member.method != DEFLATED else _inflate(member, packed, _PEEK)
        return npy.header(name, start, member.size)

    def read(self, name: str) -> np.ndarray:
        """One member as a read-only array; its checksum is verified.

        A stored (uncompressed) member is an unaligned view of the file, in the file's byte order. It stays valid
        after the file is closed.

        Raises:
            NpzError: missing_keys (no such member), unreadable (checksum, deflate stream, not .npy), unsafe
                (object array), bad_shape (the declared shape contradicts the number of bytes).
            OSError: the disk or the network failed; a retry may help.
        """
        member, content = self._content(name)
        return npy.array(name, content, npy.header(name, content, member.size))

    def pickled(self, name: str, *, most: int = INFLATED_LIMIT) -> bytes | None:
        """The pickle in a member that holds an object array, unread; None if the member holds numbers or text.

        `pickles.load` reads it without running its code. The checksum is verified.

        Args:
            name: of the member.
            most: bytes that it may have; a larger one is refused before it is read.

        Raises:
            NpzError: as `read` does, or the member is too large.
            OSError: the disk or the network failed; a retry may help.
        """
        if not self.describe(name).dtype.hasobject:
            return None
        member = self._member(name)
        if member.size > most:
            raise NpzError(
                "unreadable",
                f"'{name}' is a pickle of {byte_size(member.size)}. Expected at most {byte_size(most)}; split the file",
            )
        member, content = self._content(name)
        return bytes(content[npy.header(name, content, member.size).start :])

    def _content(self, name: str) -> tuple[Member, memoryview]:
        """A member and its bytes, inflated and checked."""
        member = self._member(name)
        content = packed_bytes(self._source, member)
        if member.method == DEFLATED:
            self.describe(name)  # checks the sizes before memory is allocated for the whole member
            content = _inflate(member, content, member.size + 1)
            if len(content) != member.size:
                raise NpzError("unreadable", f"'{name}' does not inflate to its declared {member.size} bytes")
        if zlib.crc32(content) != member.crc:
            raise NpzError("unreadable", f"the checksum of '{name}' does not fit its bytes: it is damaged")
        return member, content

    def _member(self, name: str) -> Member:
        member = self.members.get(name)
        if member is None:
            raise NpzError("missing_keys", f"no '{name}' (keys: {self.keys})")
        return member


def open_npz(place: Place, source: str, *, size: int | None = None) -> NpzFile:
    """Open an .npz file below `place` and read its directory.

    Local files are memory-mapped. A remote file costs one request to open it and one to fetch it if it has at most
    256 KiB; a larger one costs a request for its tail and, after `prefetch`, one for the members: three in all.

    Args:
        place: the folder.
        source: path of the file below it.
        size: listed size in bytes; raises OSError if the file has another size now.

    Raises:
        NpzError: the file is not a valid zip archive.
        OSError: the file cannot be opened or read, or has changed since it was listed.
    """
    local = place.local
    opened: ByteSource = (
        Mapped(f"{local}/{source}", source, size) if local is not None else Remote(place, source, size)
    )
    try:
        return NpzFile(source, opened)
    except BaseException:
        opened.close()
        raise


def _inflate(member: Member, packed: memoryview, most: int) -> memoryview:
    """Inflate at most `most` bytes of a member's raw deflate stream."""
    try:
        return memoryview(zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, most))
    except zlib.error as error:
        raise NpzError("unreadable", f"the deflate stream of '{member.name}' is damaged: {error}") from error
