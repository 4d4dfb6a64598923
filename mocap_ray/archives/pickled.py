"""Archives of pickles: one file as plain values, or why it cannot be used."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from mocap_ray.archives import files
from mocap_ray.archives.layouts import Unusable
from mocap_ray.errors import UserError
from mocap_ray.motion.clip import Reason
from mocap_ray.pickles import UnsafePickle, load, shown_keys
from mocap_ray.records import Recording
from mocap_ray.storage import Place
from mocap_ray.wording import byte_size

Values = Mapping[object, object]
"""The content of a pickle that is a dictionary."""


def read_values(place: Place, recording: Recording, *, most: int) -> Values:
    """The dictionary in a pickled recording; no code of the file is run.

    Args:
        place: root of the archive.
        recording: as listed.
        most: bytes that a file of this archive has at most; larger ones are not read.

    Raises:
        Unusable: the file is larger, unsafe, not a pickle, or not a dictionary.
        OSError: the file cannot be read, or its size has changed since it was listed.
    """
    require_size(recording.size, most)
    try:
        values = load(files.whole(place, recording), where=recording.source)
    except UserError as error:
        raise unusable_pickle(error, recording.source) from error
    if not isinstance(values, dict):
        raise Unusable(Reason.MISSING_KEYS, f"a pickle of a {type(values).__name__}. Expected a dictionary")
    return values


def require_size(size: int, most: int) -> None:
    """Raise Unusable for a file of more bytes than `most`, before it is read into memory."""
    if size > most:
        raise Unusable(Reason.UNREADABLE, f"it has {byte_size(size)}. Expected at most {byte_size(most)}")


def unusable_pickle(error: UserError, where: str) -> Unusable:
    """Why a pickle is refused, as a reason and a sentence.

    Args:
        error: of `pickles.load`.
        where: the name of the pickle in its message.
    """
    reason = Reason.UNSAFE if isinstance(error, UnsafePickle) else Reason.UNREADABLE
    return Unusable(reason, str(error).removeprefix(f"{where}: "))


def numbers(values: Values, key: str) -> np.ndarray:
    """The array under a key as native float32 or float64.

    Raises:
        Unusable: there is no such key, or it does not hold real numbers.
    """
    value = values.get(key)
    if value is None:
        raise Unusable(Reason.MISSING_KEYS, f"no {key!r} (keys: {shown_keys(values)})")
    if isinstance(value, float) or (type(value) is int and abs(value) < 2**63):
        value = np.array(value, np.float64)
    if not isinstance(value, np.ndarray | np.generic):
        raise Unusable(Reason.BAD_SHAPE, f"{key!r} is a {type(value).__name__}. Expected an array of numbers")
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise Unusable(Reason.BAD_SHAPE, f"{key!r} is of type {array.dtype}. Expected float32 or float64")
    small = array.dtype.kind == "f" and array.dtype.itemsize <= 4
    return array.astype(np.float32 if small else np.float64, copy=False)


def number(values: Values, key: str) -> float:
    """The only number under a key; NaN if there are several. Raises Unusable as `numbers` does."""
    array = numbers(values, key)
    return float(array.reshape(-1)[0]) if array.size == 1 else math.nan
