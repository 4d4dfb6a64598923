"""HumanML3D's captions: a folder of text files, or the published texts.zip.

A file `<name>.txt` describes the clip of that name, `M<name>.txt` its mirrored twin, in lines
`caption#tokens#start#end`.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from mocap_ray.errors import UserError
from mocap_ray.motion.clip import Caption
from mocap_ray.motion.mirror import mirror_text
from mocap_ray.storage import place
from mocap_ray.wording import byte_size, counted

LONGEST = 1 << 20
"""Bytes of the longest text file that is read; those of HumanML3D have less than 2,000."""

Read = Callable[[str], bytes]


def read_captions(
    address: str, names: Iterable[str]
) -> tuple[dict[str, tuple[Caption, ...]], dict[str, tuple[Caption, ...]]]:
    """The captions of clips and of their mirrored twins, each by the name of the clip, for those that have a file.

    Of a twin only captions that differ from those of its clip with left and right swapped are returned.

    Args:
        address: a folder, or a .zip file, with `<name>.txt`.
        names: of the clips.

    Raises:
        UserError: no such folder or file, no file for any of the names, or an invalid line; the message names it.
        OSError: a file cannot be read.
    """
    where, files, read = _zipped(address) if address.lower().endswith(".zip") else _folder(address)
    wanted = [name for name in sorted(names) if f"{name}.txt" in files]
    if not wanted:
        raise UserError(
            f"{where}: {counted(len(files), 'file')}, but none for a clip of the index. Expected HumanML3D's "
            "texts.zip, or the folder of its texts, such as 000021.txt (source.texts)."
        )
    twins = [name for name in wanted if f"M{name}.txt" in files]
    with ThreadPoolExecutor(16) as pool:
        paths = [f"{name}.txt" for name in wanted] + [f"M{name}.txt" for name in twins]
        found = list(pool.map(lambda path: parse_captions(read(files[path]), f"{where}/{path}"), paths))
    own = dict(zip(wanted, found[: len(wanted)], strict=True))
    mirrored = dict(zip(twins, found[len(wanted) :], strict=True))
    return own, {name: texts for name, texts in mirrored.items() if texts != mirrored_captions(own[name])}


def mirrored_captions(captions: Iterable[Caption]) -> tuple[Caption, ...]:
    """Captions of the mirrored motion: left and right are swapped in texts and tokens."""
    return tuple(replace(c, text=mirror_text(c.text), tokens=mirror_text(c.tokens)) for c in captions)


def parse_captions(data: bytes, where: str) -> tuple[Caption, ...]:
    """The captions of a text file, in its order.

    Args:
        data: its content.
        where: its address, for messages.

    Raises:
        UserError: it is not UTF-8, or a line is not `caption#tokens#start#end`.
    """
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: {error}. Expected captions in UTF-8.") from error
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            text, tokens, start, end = line.split("#")
            caption = Caption(text.strip(), tokens.strip(), float(start), float(end))
        except ValueError:
            raise UserError(
                f"{where}, line {number}: {line[:80]!r}. Expected caption#tokens#start#end."
            ) from None
        if caption.text:
            found.append(caption)
    return tuple(found)


def _folder(address: str) -> tuple[str, dict[str, str], Read]:
    """Its address, its files by their names, and how to read one."""
    folder = place(address)
    files = {path: path for path in (folder.relative(info.path) for info in folder.files())}
    return folder.uri, files, folder.read


def _zipped(address: str) -> tuple[str, dict[str, str], Read]:
    """The same of a .zip file, whatever folder in it the texts are in."""
    file = place(address)
    try:
        archive = zipfile.ZipFile(io.BytesIO(file.read()))
    except (FileNotFoundError, zipfile.BadZipFile) as error:
        what = "no such file" if isinstance(error, FileNotFoundError) else f"not a zip file ({error})"
        raise UserError(
            f"{file.uri}: {what}. Expected HumanML3D's texts.zip, or the folder of its texts (source.texts)."
        ) from error
    members = [m for m in archive.infolist() if m.filename.endswith(".txt") and "__MACOSX" not in m.filename]
    sizes = {m.filename: m.file_size for m in members}

    def read(name: str) -> bytes:
        if sizes[name] > LONGEST:
            raise UserError(
                f"{file.uri}: {name} has {byte_size(sizes[name])}. Expected a text file of captions."
            )
        try:
            with archive.open(name) as member:
                return member.read(LONGEST)
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
            raise UserError(
                f"{file.uri}: {name} cannot be read ({error}). Download texts.zip again."
            ) from error

    return file.uri, {m.filename.rpartition("/")[2]: m.filename for m in members}, read
