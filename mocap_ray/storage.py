"""Files on a disk or in a bucket, through `pyarrow.fs`: resolve, list, read, write atomically."""

from __future__ import annotations

import ctypes
import os
import re
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import fs as pafs

from mocap_ray.errors import UserError

ATTEMPTS = 10
"""Of a request to S3. After a lost connection or an answer such as SlowDown it is sent again: at once, then
after 50 ms, then after twice as long each time, 13 s in all. Arrow alone waits 200 ms each time, for 6 s."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder on a local disk, S3, GCS or any other file system that `pyarrow.fs` supports.

    Attributes:
        fs: the file system; picklable, so a `Place` travels to workers.
        path: absolute path inside it, without a trailing slash.
        uri: the address as typed, for messages; without credentials.
    """

    fs: pafs.FileSystem
    path: str
    uri: str

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        """Pickled with how requests are repeated, which Arrow leaves out."""
        return _remade, (self.fs, self.path, self.uri)

    @property
    def local(self) -> Path | None:
        """The folder as a local path, or None on an object store."""
        return Path(self.path) if isinstance(self.fs, pafs.LocalFileSystem) else None

    def folder(self, *parts: str) -> Place:
        """A subfolder."""
        return Place(self.fs, self.join(*parts), "/".join((self.uri, *parts)))

    def join(self, *parts: str) -> str:
        """Path inside the file system of something below this place."""
        return "/".join((self.path, *parts))

    def exists(self, *parts: str) -> bool:
        """Whether a file or folder of this path exists."""
        with self._valid_path():
            return bool(self.fs.get_file_info(self.join(*parts)).type != pafs.FileType.NotFound)

    def files(self, *parts: str) -> list[pafs.FileInfo]:
        """All files below, sorted by path; empty if the folder does not exist.

        Raises:
            UserError: a name is not UTF-8, which Arrow cannot represent, or Python cannot represent it here.
        """
        selector = pafs.FileSelector(self.join(*parts), recursive=True, allow_not_found=True)
        try:
            with self._valid_path():
                infos = [i for i in self.fs.get_file_info(selector) if i.type == pafs.FileType.File]
        except UnicodeDecodeError as error:
            raise UserError(
                f"{self.uri}: the name of a file or folder in it is not UTF-8 ({error.object!r}). Rename it."
            ) from error
        if self.local is not None and not _reads_utf8():
            for info in infos:
                require_readable_name(info.path)
        return sorted(infos, key=lambda i: i.path)

    def names(self) -> list[str]:
        """Names of the files and folders directly below, sorted; empty if the folder does not exist."""
        selector = pafs.FileSelector(self.path or "/", recursive=False, allow_not_found=True)
        with self._valid_path():
            return sorted(info.base_name for info in self.fs.get_file_info(selector))

    def relative(self, path: str) -> str:
        """`path`, as listed by the file system, relative to this place."""
        return path[len(self.path.rstrip("/")) + 1 :]

    def read(self, *parts: str) -> bytes:
        """The whole file. Raises FileNotFoundError or another OSError."""
        with self._valid_path(), self.fs.open_input_file(self.join(*parts)) as f:
            return bytes(f.read())

    def write_atomic(self, data: bytes | pa.Buffer, *parts: str, flush: bool = True) -> None:
        """Write a file atomically: a reader sees the whole file or none, also after a crash.

        Local disks: write to a temporary name that no reader's glob matches, fsync, rename. Object stores: one
        write to the final name, which they publish on close.

        Args:
            data: the content.
            parts: the path below this place.
            flush: whether to wait until a local disk has it. Without, this holds after a crash of the program, but
                not of the machine: for many small files, which the caller flushes together (`flush`), and whose sizes
                it checks before it trusts those of an earlier run.

        Raises:
            OSError: disk full, no permission. There is no file of the final name then.
        """
        path = self.join(*parts)
        if self.local is None:
            with self._valid_path(), self.fs.open_output_stream(path) as out:
                # One call: an exception between two would publish half a file when the stream closes.
                out.write(data)
            return
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.parent / f".tmp-{uuid.uuid4().hex}"
        try:
            with temporary.open("wb") as f:
                f.write(data)
                if flush:
                    f.flush()
                    os.fsync(f.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if not flush:
            return
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def flush(self) -> None:
        """Wait until a local disk has all that was written to its file system; nothing to wait for in object stores."""
        if self.local is None:
            return
        syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)  # Linux
        if syncfs is None:
            os.sync()
            return
        folder = os.open(self.path, os.O_RDONLY)
        try:
            if syncfs(folder) != 0:
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code), self.path)
        finally:
            os.close(folder)

    def remove(self, *parts: str) -> None:
        """Delete a file if it exists."""
        if self.exists(*parts):
            self.fs.delete_file(self.join(*parts))

    @contextmanager
    def _valid_path(self) -> Iterator[None]:
        """Raise UserError where Arrow finds that a path cannot be one, such as `bucket//folder`."""
        try:
            yield
        except pa.ArrowInvalid as error:
            first = str(error).splitlines()[0]
            raise UserError(
                f"{self.uri}: {without_secrets(first).rstrip('.')}. Expected an address such as s3://bucket/folder."
            ) from error


def place(address: str | os.PathLike[str]) -> Place:
    """Resolve a local path or a URI (`s3://bucket/key`, `gs://...`) to a `Place`.

    S3 takes its settings from the query (`?endpoint_override=localhost:9000&scheme=http`) and the usual
    environment variables.

    Raises:
        UserError: an address that `pyarrow.fs` does not support, or a path that cannot exist.
    """
    text = str(address)
    if "://" not in text:
        return Place(pafs.LocalFileSystem(), str(expand(text).absolute()), text)
    require_readable_name(text)
    try:
        filesystem, path = pafs.FileSystem.from_uri(text)
    except Exception as error:
        raise UserError(
            f"{without_secrets(text)}: {without_secrets(str(error))}. "
            "Expected a local path or an address such as s3://bucket/folder or gs://bucket/folder."
        ) from error
    return _remade(filesystem, path.rstrip("/"), without_secrets(text))


def _remade(filesystem: pafs.FileSystem, path: str, uri: str) -> Place:
    """A place whose requests to S3 are repeated as `ATTEMPTS` says."""
    if isinstance(filesystem, pafs.S3FileSystem):
        # What Arrow pickles are all settings of a file system, and it has no other way to change one of them.
        (settings,) = filesystem.__reduce__()[1]
        again = pafs.AwsDefaultS3RetryStrategy(max_attempts=ATTEMPTS - 1)  # without the first one
        filesystem = pafs.S3FileSystem(**{**settings, "retry_strategy": again})
    return Place(filesystem, path, uri)


def lasting(path: str) -> str:
    """The path as it is understood in any folder: absolute, or the address as it is."""
    return path if "://" in path else str(expand(path).absolute())


def expand(path: str | os.PathLike[str]) -> Path:
    """A local path as it was typed, with the home folder for `~`.

    Raises:
        UserError: a path that cannot exist: a home folder of nobody, a NUL byte, or a name that is not UTF-8.
    """
    text = os.fspath(path)
    require_readable_name(text)
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UserError(f"{text}: {str(error).rstrip('.')}. Write the path without ~.") from error


def require_readable_name(path: str) -> None:
    """Check that Python and Arrow, which takes UTF-8, can both open a path.

    Raises:
        UserError: it has a NUL byte or a name that is not UTF-8, or this process does not read names as UTF-8.
    """
    if "\0" in path:
        raise UserError(f"{path!r}: a path with a NUL byte. Remove it.")
    if path.isascii():
        return
    if not _reads_utf8():
        shown = os.fsencode(path).decode("utf-8", "backslashreplace") if _is_bytes(path) else path
        raise UserError(
            f"{shown}: this name has letters beyond ASCII, and Python reads file names as "
            f"{sys.getfilesystemencoding()} here. Set the environment variable PYTHONUTF8=1, or a locale such as "
            "LC_ALL=C.UTF-8, and run the command again."
        )
    try:
        path.encode()
    except UnicodeEncodeError:
        raise UserError(f"{path!a}: the name of a file or folder in it is not UTF-8. Rename it.") from None


def _reads_utf8() -> bool:
    """Whether Python reads file names as UTF-8; it does in every locale that is UTF-8, C or POSIX."""
    return sys.getfilesystemencoding().lower().replace("-", "") == "utf8"


def _is_bytes(path: str) -> bool:
    """Whether a path was read from the system: Python can encode it as it decoded it."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return True


def without_secrets(text: str) -> str:
    """A text without the secrets of addresses in it: `s3://key:secret@bucket`, `https://token@host`.

    Secrets are never printed or written to a file. A secret may contain slashes.

    >>> without_secrets("cannot read 's3://key:a/b+c@bucket/x'")
    "cannot read 's3://bucket/x'"
    """
    paired = re.sub(r"(?i)\b([a-z][a-z0-9+.-]*:/{1,2})[^\s@'\"/:]+:[^\s@'\"]*@", r"\1", text)
    return re.sub(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s@'\"/]+@", r"\1", paired)
