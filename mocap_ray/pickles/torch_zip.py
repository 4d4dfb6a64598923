"""Files of `torch.save` (since torch 1.6) without torch: the values, with every tensor left in its file.

Such a file is a zip archive without compression: one folder with `data.pkl`, a pickle with a persistent id in place of
each storage, and `data/KEY` with the bytes of each storage. Opening one of 8 GB reads its directory and `data.pkl`.
"""

from __future__ import annotations

import zipfile
from typing import BinaryIO

from mocap_ray.errors import UserError
from mocap_ray.pickles.reading import load_from
from mocap_ray.pickles.torch_stored import DTYPES, FileStorage
from mocap_ray.pickles.values import Global

_LOCAL_HEADER = 30  # bytes before the name and the extra field
_PICKLE_LIMIT = 2**27  # a state dict needs about 200 bytes per tensor


def load_torch_zip(file: BinaryIO, *, where: str) -> object:
    """The values of a file; a `StoredTensor` in place of each tensor.

    Args:
        file: the file, open in binary mode.
        where: its name in messages.

    Raises:
        UnsafePickle: the pickle names something outside the closed list. Nothing was run.
        UserError: not a file of `torch.save`, truncated, or inconsistent.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = {info.filename: info for info in archive.infolist()}
            pickles = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
            if len(pickles) != 1 or members[pickles[0]].file_size > _PICKLE_LIMIT:
                raise UserError(f"{where}: a zip archive without data.pkl. Expected a file of torch.save.")
            folder = pickles[0].removesuffix("data.pkl")
            order = archive.read(f"{folder}byteorder") if f"{folder}byteorder" in members else b"little"
            data = archive.read(pickles[0])
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise UserError(
            f"{where}: not a zip archive, or only a part of one ({error}). Expected a file that torch.save wrote with "
            "torch 1.6 or later; download it again if it may be truncated."
        ) from error
    if order != b"little":
        raise UserError(
            f"{where}: its numbers are {order[:10].decode('latin1')}-endian. Expected little-endian."
        )
    storages: dict[str, FileStorage] = {}

    def storage(identifier: object) -> object:
        kind, key, count = _parts(identifier)
        if key not in storages:
            member = members.get(f"{folder}data/{key}")
            if member is None:
                raise ValueError(f"storage {key[:20]!r} is missing in the archive")
            storages[key] = _storage(file, member, kind, count)
        found = storages[key]
        if (found.dtype, found.size) != (DTYPES[kind][0], count):
            raise ValueError(f"storage {key[:20]!r} is mentioned with two sizes or types")
        return found

    return load_from(data, 0, where=f"{where} ({pickles[0]})", persistent=storage)[0]


def _parts(identifier: object) -> tuple[str, str, int]:
    """Type, key and number of elements of a persistent id. Raises ValueError for any other layout."""
    if not isinstance(identifier, tuple) or len(identifier) != 5 or identifier[0] != "storage":
        raise ValueError("a torch storage with an unknown persistent id")
    kind, key, _, count = identifier[1:]
    if not isinstance(kind, Global) or kind.module != "torch" or kind.name not in DTYPES:
        raise ValueError("a torch storage of an unknown type")
    if not isinstance(key, str) or type(count) is not int:
        raise ValueError("a torch storage without key and size")
    return kind.name, key, count


def _storage(file: BinaryIO, member: zipfile.ZipInfo, kind: str, count: int) -> FileStorage:
    """The storage of a member. Raises ValueError if its bytes are compressed, too few or too many."""
    dtype, itemsize = DTYPES[kind]
    if member.compress_type != zipfile.ZIP_STORED or member.file_size != count * itemsize:
        raise ValueError(f"a torch storage of {count} numbers with {member.file_size} bytes, or compressed")
    file.seek(member.header_offset)
    head = file.read(_LOCAL_HEADER)
    if len(head) != _LOCAL_HEADER or head[:4] != b"PK\3\4":
        raise ValueError(f"a torch storage that is not at byte {member.header_offset}")
    named, extra = (int.from_bytes(head[at : at + 2], "little") for at in (26, 28))
    start = member.header_offset + _LOCAL_HEADER + named + extra
    if start + member.file_size > file.seek(0, 2):
        raise ValueError("a torch storage beyond the end of the file")
    return FileStorage(dtype, itemsize, count, start, member.CRC)
