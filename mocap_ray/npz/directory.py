"""Parse the central directory of an untrusted zip archive.

Source: PKWARE's APPNOTE 6.3.10, sections 4.3.7 (local header), 4.3.12 (directory), 4.3.14-16 (end records)
and 4.5.3 (zip64). Stricter than `zipfile`: offsets count from the first byte of the file, members may not
overlap and names may not repeat; every writer of .npz files follows this.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from mocap_ray.npz.errors import NotZipError, NpzError
from mocap_ray.npz.sources import TAIL, ByteSource
from mocap_ray.wording import counted

INFLATED_LIMIT = 1 << 30
"""Maximum bytes of one inflated member; an hour of SMPL-X at 120 fps in float64 has 0.57e9."""
DIRECTORY_LIMIT = 4 << 20
"""Maximum bytes of the directory: about 60,000 members."""
WHOLE_LIMIT = 64 << 20
"""A remote file of at most this many bytes is fetched whole if its tail does not hold the directory."""

_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_ENCRYPTED, _UTF8 = 0x1, 0x800
_FULL = 0xFFFFFFFF
STORED, DEFLATED = 0, 8


class Member(NamedTuple):
    """One .npy member, as listed in the central directory."""

    name: str  # without .npy
    raw_name: bytes
    offset: int  # of the local header
    end: int  # the member ends before this byte
    packed: int  # bytes in the file
    size: int  # bytes of the .npy
    crc: int
    method: int
    flags: int


def directory(source: ByteSource) -> dict[str, Member]:
    """All .npy members by name, in the order of their position in the file.

    Raises:
        NpzError: the archive is inconsistent.
        OSError: the file cannot be read.
    """
    count, first, stop = _end_records(source)
    if stop - first > DIRECTORY_LIMIT:
        raise NpzError("unreadable", f"its directory has {stop - first} bytes: no motion file needs as much")
    if first + TAIL < source.size <= WHOLE_LIMIT:
        # Thousands of members: the tail does not hold the directory. One request for the file instead of several.
        source.fetch([(0, source.size)])
    members = sorted(_entries(source.block(first, stop), count), key=lambda m: m.offset)
    found: dict[str, Member] = {}
    for k, member in enumerate(members):
        limit = members[k + 1].offset if k + 1 < len(members) else first
        least = member.offset + _LOCAL.size + len(member.raw_name) + member.packed
        if least > limit:
            raise NpzError("unreadable", f"'{member.name}' reaches into what follows it: overlapping members")
        if member.name in found:
            raise NpzError("unreadable", f"it has two members '{member.name}'")
        if member.raw_name.endswith(b".npy"):
            # The local header ends in an extra field of at most 65,535 bytes, whose length is not known yet.
            found[member.name] = member._replace(end=min(limit, least + 0xFFFF))
    return found


def packed_bytes(source: ByteSource, member: Member) -> memoryview:
    """The bytes of a member as stored in the file, compressed or not.

    Raises:
        NpzError: its local header contradicts the directory, or its compression method is not one that numpy uses.
    """
    window = source.block(member.offset, member.end)
    if len(window) < _LOCAL.size or window[:4].tobytes() != b"PK\x03\x04":
        raise NpzError("unreadable", f"'{member.name}' has no local header where the directory says")
    *_, named, extra = _LOCAL.unpack_from(window)
    start = _LOCAL.size + named + extra
    if window[_LOCAL.size : _LOCAL.size + named].tobytes() != member.raw_name:
        raise NpzError("unreadable", f"the local header of '{member.name}' has another name")
    if start + member.packed > len(window):
        raise NpzError("unreadable", f"'{member.name}' reaches into what follows it: overlapping members")
    if member.flags & _ENCRYPTED:
        raise NpzError("unreadable", f"'{member.name}' is encrypted")
    if member.method not in (STORED, DEFLATED):
        raise NpzError(
            "unreadable", f"'{member.name}' is packed by method {member.method}. Expected stored or deflate"
        )
    if member.method == STORED and member.packed != member.size:
        raise NpzError("unreadable", f"'{member.name}' is stored, yet its two sizes differ")
    # Deflate cannot do better than 1032 : 1.
    if member.method == DEFLATED and member.size > min(INFLATED_LIMIT, 1032 * member.packed + 64):
        raise NpzError(
            "unreadable", f"'{member.name}' claims to inflate from {member.packed} to {member.size} bytes"
        )
    return window[start : start + member.packed]


def _end_records(source: ByteSource) -> tuple[int, int, int]:
    """The number of members, the first byte of the directory, and the first byte after it."""
    size = source.size
    start = max(0, size - TAIL)
    tail = source.block(start, size)
    at = len(tail) - _END.size
    if at < 0 or tail[at : at + 4].tobytes() != b"PK\x05\x06" or tail[-2:].tobytes() != b"\0\0":
        at = _commented_end(tail.tobytes())
    if at < 0:
        is_zip = source.block(0, min(4, size)).tobytes() == b"PK\x03\x04"
        what = "a zip archive without its end, cut short" if is_zip else "not a zip archive"
        raise (NpzError if is_zip else NotZipError)(
            "unreadable", f"{counted(size, 'byte')}, {what}. Expected an .npz file; copy or download it again"
        )
    _, _, _, _, count, length, first, _ = _END.unpack_from(tail, at)
    stop = start + at
    if count == 0xFFFF or _FULL in (length, first):
        count, length, first, stop = _end64(tail, at, start)
    if first + length != stop or count * _ENTRY.size > length:
        raise NpzError("unreadable", "its end record contradicts its size: bytes are missing or too many")
    return count, first, stop


def _end64(tail: memoryview, at: int, start: int) -> tuple[int, int, int, int]:
    """Count, length, first byte and end of the directory, from the zip64 record before `at`."""
    locator = at - _END64_LOCATOR.size
    if locator >= 0:
        sign, _, stop, _ = _END64_LOCATOR.unpack_from(tail, locator)
        if sign == b"PK\x06\x07" and start <= stop <= start + locator - _END64.size:
            sign, *_, count, length, first = _END64.unpack_from(tail, stop - start)
            if sign == b"PK\x06\x06":
                return count, length, first, stop
    raise NpzError("unreadable", "its zip64 end record is missing")


def _commented_end(tail: bytes) -> int:
    """The position of the end record if a comment follows it, or -1."""
    at = tail.rfind(b"PK\x05\x06")
    while at >= 0:
        if at + _END.size + int.from_bytes(tail[at + 20 : at + 22], "little") == len(tail):
            return at
        at = tail.rfind(b"PK\x05\x06", 0, at)
    return -1


def _entries(block: memoryview, count: int) -> list[Member]:
    members: list[Member] = []
    at = 0
    for _ in range(count):
        if at + _ENTRY.size > len(block) or block[at : at + 4].tobytes() != b"PK\x01\x02":
            raise NpzError("unreadable", "its directory is damaged")
        (_, _, _, flags, method, _, _, crc, packed, size, named, extra, comment, _, _, _, offset) = (
            _ENTRY.unpack_from(block, at)
        )
        at += _ENTRY.size
        raw = block[at : at + named].tobytes()
        if _FULL in (size, packed, offset):
            size, packed, offset = _wide(
                block[at + named : at + named + extra].tobytes(), size, packed, offset
            )
        at += named + extra + comment
        text = raw.decode("utf-8" if flags & _UTF8 else "cp437", errors="replace")
        members.append(Member(text.removesuffix(".npy"), raw, offset, 0, packed, size, crc, method, flags))
    if at != len(block):
        raise NpzError("unreadable", "its directory is damaged")
    return members


def _wide(extra: bytes, *fields: int) -> list[int]:
    """The fields; those that are 0xFFFFFFFF are replaced, in order, by the 64-bit ones of extra block 1."""
    while len(extra) >= 4:
        tag, length = struct.unpack_from("<2H", extra)
        wide = extra[4 : 4 + length]
        if tag == 1 and len(wide) >= 8 * fields.count(_FULL):
            numbers = iter(struct.unpack_from(f"<{len(wide) // 8}Q", wide))
            return [next(numbers) if field == _FULL else field for field in fields]
        extra = extra[4 + length :]
    raise NpzError("unreadable", "its directory lacks the 64-bit sizes of a member")
