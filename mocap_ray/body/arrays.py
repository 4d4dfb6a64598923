"""Read the plain arrays of a model file, NPZ or PKL, without running any code in it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mocap_ray import pickles
from mocap_ray.errors import UserError
from mocap_ray.npz import NpzError, NpzFile, open_npz
from mocap_ray.storage import place

STANDIN_KEY = "mocap_ray_standin"
"""Member that marks a model as one of this project's stand-ins."""


def read_arrays(
    path: Path, *, names: Sequence[str] | None = None
) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """Members of a model file that are plain arrays of numbers or text; other members are left out.

    Sparse matrices are returned dense. Only the requested members of an NPZ are read, so that objects beside them
    (SMPL-X has some) are never touched; a PKL is read as a whole by the restricted unpickler.

    Args:
        path: a local file.
        names: requested members, all by default; missing ones are left out.

    Raises:
        UnsafePickle: a PKL names something outside the closed list.
        ValueError: a damaged PKL.
        UserError: neither format, truncated, or damaged.
        OSError: the file does not exist or is not readable.
    """
    if path.suffix.lower() == ".pkl":
        with path.open("rb") as file:
            loaded = pickles.load(file, where=str(path))
        if not isinstance(loaded, dict):
            raise UserError(
                f"{path}: holds a {type(loaded).__name__}. Expected the dictionary of a body model."
            )
        wanted = {
            key: loaded[key] for key in loaded if isinstance(key, str) and (names is None or key in names)
        }
        return {key: array for key, value in wanted.items() if (array := _plain(value)) is not None}
    try:
        # Not np.load: what zipfile and numpy raise on damaged files is many things, with advice to load unsafely.
        with open_npz(place(path.parent), path.name) as archive:
            return _members(archive, names)
    except NpzError as error:
        raise UserError(
            f"{path}: cannot be read as a body model ({error}). Expected a complete NPZ or PKL file of the SMPL "
            "family; download it again if it may be truncated."
        ) from error


def _members(archive: NpzFile, names: Sequence[str] | None) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """Copies of the members: a view would keep the file open, and is aligned to nothing."""
    found: dict[str, np.ndarray[Any, np.dtype[Any]]] = {}
    for key in archive.members:
        if names is not None and key not in names:
            continue
        # A wanted member must be a plain array; of all of them, objects are left out.
        if names is not None or not archive.describe(key).dtype.hasobject:
            found[key] = _sound_text(key, np.array(archive.read(key)))
    return found


def _sound_text(key: str, array: np.ndarray[Any, np.dtype[Any]]) -> np.ndarray[Any, np.dtype[Any]]:
    """The array; text must be text, or numpy fails with a SystemError where it is used."""
    if array.dtype.kind == "U":
        points = np.ascontiguousarray(array).reshape(-1).view(array.dtype.byteorder.replace("|", "=") + "u4")
        if points.size and int(points.max()) > 0x10FFFF:
            raise NpzError("unreadable", f"'{key}' holds text that is no Unicode")
    return array


def _plain(value: object) -> np.ndarray[Any, np.dtype[Any]] | None:
    """A value as an array of numbers or text, or None if it is neither."""
    from scipy import sparse

    if sparse.issparse(value):
        rows, columns = value.shape  # type: ignore[attr-defined]
        # A regressor has one row per joint and one column per vertex; a larger matrix is not of a body.
        return np.asarray(value.toarray()) if rows * columns < 10**7 else None  # type: ignore[attr-defined]
    if isinstance(value, np.ndarray):
        return None if value.dtype.hasobject else value
    if isinstance(value, str | bool | int | float | np.generic):
        return np.asarray(value)
    if isinstance(value, list | tuple) and all(isinstance(v, bool | int | float) for v in value):
        return np.asarray(value)
    return None


def npz_bytes(arrays: dict[str, np.ndarray[Any, np.dtype[Any]]]) -> bytes:
    """A compressed NPZ whose bytes depend on the arrays alone (numpy dates all members 1980)."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
