"""Files on a disk or in a bucket, through `pyarrow.fs`: resolve, list, read, publish whole."""

from __future__ import annotations

import os
import re
import uuid
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import fs as pafs


@dataclass(frozen=True, slots=True)
class Place:
    """A folder on a local disk, S3, GCS or whatever else `pyarrow.fs` reaches.

    Attributes:
        fs: the file system; picklable, so a `Place` travels to workers.
        path: absolute path inside it, without a trailing slash.
        uri: what a person typed, for messages; without the credentials that it may hold.
    """

    fs: pafs.FileSystem
    path: str
    uri: str

    @property
    def local(self) -> Path | None:
        """The folder as a local path, or None on an object store."""
        return Path(self.path) if isinstance(self.fs, pafs.LocalFileSystem) else None

    def folder(self, *parts: str) -> Place:
        """A folder below."""
        return Place(self.fs, self.join(*parts), "/".join((self.uri, *parts)))

    def join(self, *parts: str) -> str:
        """Path inside the file system of something below this place."""
        return "/".join((self.path, *parts))

    def exists(self, *parts: str) -> bool:
        """Whether a file or folder stands there."""
        return bool(self.fs.get_file_info(self.join(*parts)).type != pafs.FileType.NotFound)

    def files(self, *parts: str) -> list[pafs.FileInfo]:
        """All files below, sorted by path; empty where the folder does not exist.

        Raises:
            ValueError: a name that is not UTF-8, which Arrow cannot hold.
        """
        selector = pafs.FileSelector(self.join(*parts), recursive=True, allow_not_found=True)
        try:
            infos = [i for i in self.fs.get_file_info(selector) if i.type == pafs.FileType.File]
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{self.uri}: the name of a file or folder in it is not UTF-8 ({error.object!r}). Rename it."
            ) from error
        return sorted(infos, key=lambda i: i.path)

    def relative(self, path: str) -> str:
        """`path`, as listed by the file system, relative to this place."""
        return path[len(self.path) + 1 :]

    def read(self, *parts: str) -> bytes:
        """The whole file. Raises FileNotFoundError or another OSError."""
        with self.fs.open_input_file(self.join(*parts)) as f:
            return bytes(f.read())

    def write_atomic(self, data: bytes | pa.Buffer, *parts: str) -> None:
        """Write a file so that a reader sees it whole or not at all, surviving a crash.

        Local disks: a temporary name that no reader's glob matches, fsync, rename. Object stores: one
        write to the final name, which they publish on close.

        Raises:
            OSError: disk full, no permission. Nothing stands under the final name then.
        """
        path = self.join(*parts)
        if self.local is None:
            with self.fs.open_output_stream(path) as out:
                # One call: an exception between two would publish half a file when the stream closes.
                out.write(data)
            return
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.parent / f".tmp-{uuid.uuid4().hex}"
        try:
            with temporary.open("wb") as f:
                f.write(data)
                f.flush()
                os.fsync(f.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def remove(self, *parts: str) -> None:
        """Delete a file if it is there."""
        if self.exists(*parts):
            self.fs.delete_file(self.join(*parts))


def place(address: str | os.PathLike[str]) -> Place:
    """Resolve a local path or a URI (`s3://bucket/key`, `gs://...`) to a `Place`.

    S3 takes its settings from the query (`?endpoint_override=localhost:9000&scheme=http`) and the usual
    environment. Raises ValueError for an address that `pyarrow.fs` does not know.
    """
    text = str(address)
    if "://" not in text:
        return Place(pafs.LocalFileSystem(), str(Path(text).expanduser().absolute()), text)
    try:
        filesystem, path = pafs.FileSystem.from_uri(text)
    except Exception as error:
        raise ValueError(
            f"{without_secrets(text)}: {without_secrets(str(error))}. "
            "Expected a local path or an address such as s3://bucket/folder or gs://bucket/folder."
        ) from error
    return Place(filesystem, path.rstrip("/"), without_secrets(text))


def without_secrets(text: str) -> str:
    """`s3://key:secret@bucket` and `https://token@host` without them, anywhere in a text; a secret may hold slashes.

    Secrets are never printed or written down.

    >>> without_secrets("cannot read 's3://key:a/b+c@bucket/x'")
    "cannot read 's3://bucket/x'"
    """
    paired = re.sub(r"(?i)\b([a-z][a-z0-9+.-]*:/{1,2})[^\s@'\"/:]+:[^\s@'\"]*@", r"\1", text)
    return re.sub(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s@'\"/]+@", r"\1", paired)
