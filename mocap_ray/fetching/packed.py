"""Read packed archives (.tar.bz2, .tar.xz, .tar.gz, .tar, .zip) of strangers, member by member.

Nothing is written here. A member that would leave the folder, a link, a device, an archive that expands without bounds
and a damaged one are refused.
"""

from __future__ import annotations

import bz2
import calendar
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from mocap_ray.errors import UserError
from mocap_ray.wording import byte_size, counted

ENDINGS = (".tar.bz2", ".tar.xz", ".tar.gz", ".tgz", ".tar", ".zip")
MOST_MEMBERS = 500_000
MOST_TIMES, MOST_PLUS = 200, 256 << 20
"""An archive may unpack to this many times its own size plus this many bytes. Motion packs to about a half."""
LARGEST = 8 << 30
"""Maximum bytes of a member."""
CHUNK = 1 << 20


@runtime_checkable
class Content(Protocol):
    """Something to read bytes from."""

    def read(self, size: int = -1, /) -> bytes:
        """At most so many bytes; none at its end."""
        ...


Progress = Callable[[int, int], None]
"""Takes how many bytes of the packed file were read, and how many it has."""

_ONCE = 16 << 20
"""Maximum bytes of one read: extended headers of tar are read at once."""
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    NotImplementedError,
    UnicodeDecodeError,
)


class DamagedArchive(UserError):
    """A packed archive is cut short, or its bytes are damaged."""


class RefusedArchive(UserError):
    """A packed archive is not one of motion or body models: unpacking it could do harm."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive.

    Attributes:
        name: its path, relative, with `/` between parts.
        size: bytes.
        mtime: when it was modified, s since 1970; 0 if the archive does not say.
    """

    name: str
    size: int
    mtime: float


@dataclass(frozen=True, slots=True)
class Contents:
    """What an archive unpacks to: the number of its files, and their bytes."""

    members: int
    size: int


def is_packed(path: Path) -> bool:
    """Whether the name is that of a packed archive."""
    return path.name.lower().endswith(ENDINGS) and not path.name.startswith(".")


def stem(path: Path) -> str:
    """The name without the ending.

    >>> stem(Path("a/CMU.tar.bz2")), stem(Path("models_v1.1.zip"))
    ('CMU', 'models_v1.1')
    """
    ending = next((e for e in ENDINGS if path.name.lower().endswith(e)), "")
    return path.name[: len(path.name) - len(ending)]


def survey(path: Path, *, name: str | None = None, progress: Progress | None = None) -> Contents:
    """Read a whole archive, with all its checksums, and write nothing.

    Args:
        path: the file.
        name: the file's name when it is complete, if that is another one.
        progress: called from time to time.

    Raises:
        DamagedArchive: it is cut short or damaged.
        RefusedArchive: see `members`.
        OSError: it cannot be read.
    """
    count = size = 0
    for member, content in members(path, name=name, progress=progress):
        while content.read(CHUNK):
            pass
        count, size = count + 1, size + member.size
    if not count:
        raise DamagedArchive(f"{path}: an archive without any file. Download it again.")
    return Contents(count, size)


def members(
    path: Path, *, name: str | None = None, progress: Progress | None = None
) -> Iterator[tuple[Member, Content]]:
    """The files of an archive in their order, each with its content, which is read before the next one.

    Raises:
        DamagedArchive: the archive is cut short or damaged, or is of another kind than its name says.
        RefusedArchive: a member has a name that leaves the folder, occurs twice, or is a link or a device; or there is
            more than an archive of this size can hold.
        OSError: the file cannot be read.
    """
    named = (name or path.name).lower()
    packed = path.stat().st_size
    budget = _Budget(path, packed)
    with path.open("rb") as raw:
        counted_raw = _Counting(raw, packed, progress or _silent)
        try:
            opened = _zip(counted_raw, budget) if named.endswith(".zip") else _tar(counted_raw, named, budget)
            yield from opened
        except _DAMAGE as error:
            raise DamagedArchive(_damaged(path, packed, error)) from error
        except OSError as error:
            if error.errno is not None:
                raise
            raise DamagedArchive(_damaged(path, packed, error)) from error  # bz2: invalid data stream
        except RuntimeError as error:  # zipfile: encrypted
            raise RefusedArchive(
                f"{path}: it is encrypted or of an unknown kind ({error}). Expected a plain archive."
            ) from error


def relative_name(raw: str, *, where: Path) -> str:
    """The name of a member as a path below a folder.

    Raises:
        RefusedArchive: it leads out of the folder, or is no name of a file.
    """
    parts = [part for part in raw.split("/") if part not in ("", ".")]
    shown = "".join(letter if letter.isprintable() else "?" for letter in raw[:120])
    if raw.startswith("/") or ".." in parts or "\\" in raw or (parts and parts[0][1:2] == ":"):
        raise RefusedArchive(
            f"{where}: the member {shown!r} would leave the folder. This is not an archive of its publisher: delete "
            "it and download it again."
        )
    long = any(len(part.encode("utf-8", "surrogateescape")) > 255 for part in parts)
    if not parts or long or not raw.isprintable():
        raise RefusedArchive(
            f"{where}: the member {shown!r} is no name of a file. Download the archive again."
        )
    return "/".join(parts)


class _Budget:
    """Counts what an archive unpacks to, and refuses too much of it."""

    def __init__(self, path: Path, packed: int) -> None:
        self.path, self.packed = path, packed
        self.most = MOST_TIMES * packed + MOST_PLUS
        self.size = 0
        self.names: set[str] = set()

    def member(self, raw: str, size: int, *, regular: bool, mtime: float) -> Member:
        """A member whose name and declared size are acceptable."""
        name = relative_name(raw, where=self.path)
        if not regular:
            raise RefusedArchive(
                f"{self.path}: the member {name!r} is a link or a device, not a file. This is not an archive of its "
                "publisher: delete it and download it again."
            )
        if name in self.names:
            raise RefusedArchive(f"{self.path}: it has two members {name!r}. Download it again.")
        self.names.add(name)
        self.size += size
        if size > LARGEST or size < 0 or self.size > self.most or len(self.names) > MOST_MEMBERS:
            raise RefusedArchive(self.too_much(self.size))
        return Member(name, size, mtime)

    def too_much(self, size: int) -> str:
        return (
            f"{self.path}: {byte_size(self.packed)} would unpack to {byte_size(size)} or more in "
            f"{counted(len(self.names), 'file')}. No archive of motion does: delete it and download it again."
        )


class _Counting(io.RawIOBase):
    """A packed file that reports how far it was read."""

    def __init__(self, raw: io.BufferedReader, size: int, progress: Progress) -> None:
        self.raw, self.size, self.progress = raw, size, progress
        self.reported = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self.raw.seek(offset, whence)

    def tell(self) -> int:
        return self.raw.tell()

    def readinto(self, buffer: Any, /) -> int:
        data = self.raw.read(len(buffer))
        buffer[: len(data)] = data
        if (at := self.raw.tell()) - self.reported >= CHUNK:
            self.reported = at
            self.progress(at, self.size)
        return len(data)


class _Forward:
    """A decompressed tar file for `tarfile`: read in its order, in bounded pieces, and not beyond the budget."""

    KEPT = 1024
    """The last bytes that stay available: tarfile goes one byte back after a member."""

    def __init__(self, stream: Content, budget: _Budget) -> None:
        self.stream, self.budget = stream, budget
        self.at = self.end = 0
        self.tail = b""

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int) -> int:
        """Go to a byte: forward by reading, backward within what is kept."""
        if offset < self.end - len(self.tail):
            raise tarfile.ReadError("its members overlap")
        self.at = min(offset, self.end)
        while self.at < offset and self.read(min(CHUNK, offset - self.at)):
            pass
        return self.at

    def read(self, count: int) -> bytes:
        if count > _ONCE:
            raise RefusedArchive(
                f"{self.budget.path}: one of its headers has {byte_size(count)}. No archive of motion has: delete it "
                "and download it again."
            )
        first = len(self.tail) - (self.end - self.at)
        known = self.tail[first : first + count] if self.at < self.end else b""
        more = self.stream.read(count - len(known)) if len(known) < count else b""
        while (
            more
            and len(known) + len(more) < count
            and (rest := self.stream.read(count - len(known) - len(more)))
        ):
            more += rest
        self.end += len(more)
        # Headers and padding of a kilobyte or two for each member.
        if self.end > self.budget.most + 2048 * MOST_MEMBERS:
            raise RefusedArchive(self.budget.too_much(self.end))
        self.tail = (self.tail + more)[-self.KEPT :]
        self.at += len(known) + len(more)
        return known + more


def _tar(raw: _Counting, named: str, budget: _Budget) -> Iterator[tuple[Member, Content]]:
    stream: Any = io.BufferedReader(raw, CHUNK)
    if named.endswith(".bz2"):
        stream = bz2.BZ2File(stream)
    elif named.endswith(".xz"):
        stream = lzma.LZMAFile(stream)  # noqa: SIM115 - closed below
    elif named.endswith((".gz", ".tgz")):
        stream = gzip.GzipFile(fileobj=stream)
    forward: Any = _Forward(stream, budget)
    with closing(stream), tarfile.open(fileobj=forward, mode="r:") as tar:
        for info in tar:
            tar.members = []  # type: ignore[attr-defined]  # tarfile keeps all of them otherwise
            if info.isdir():
                if info.name not in (".", "./"):
                    relative_name(info.name, where=budget.path)
                continue
            member = budget.member(
                info.name, info.size, regular=info.isreg() and not info.issparse(), mtime=float(info.mtime)
            )
            content = tar.extractfile(info)
            assert content is not None
            yield member, content
        # The checksum of the compressed stream comes after its end.
        while forward.read(CHUNK):
            pass


def _zip(raw: _Counting, budget: _Budget) -> Iterator[tuple[Member, Content]]:
    with zipfile.ZipFile(raw) as archive:
        for info in archive.infolist():
            if info.is_dir():
                relative_name(info.filename, where=budget.path)
                continue
            mode = stat.S_IFMT(info.external_attr >> 16)
            member = budget.member(
                info.filename, info.file_size, regular=mode in (0, stat.S_IFREG), mtime=_zip_time(info)
            )
            with archive.open(info) as content:
                yield member, content


def _zip_time(info: zipfile.ZipInfo) -> float:
    """Seconds since 1970, as if the time of the archive were UTC: the same on every machine."""
    try:
        return float(calendar.timegm((*info.date_time, 0, 0, 0)))
    except (ValueError, OverflowError):
        return 0.0


def _damaged(path: Path, packed: int, error: Exception) -> str:
    why = str(error) or type(error).__name__
    return f"{path}: {byte_size(packed)}, cut short or damaged ({why.rstrip('.')}). Delete it and download it again."


def _silent(done: int, total: int) -> None:
    pass
