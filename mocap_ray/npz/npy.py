"""The .npy member: header and numbers. Source: the description of the format in `numpy.lib.format`."""

from __future__ import annotations

import ast
import math
import re
from typing import Any, NamedTuple

import numpy as np

from mocap_ray.npz.errors import NpzError
from mocap_ray.wording import counted

HEADER_LIMIT = 10_000
"""Maximum bytes of a header."""

_USUAL = re.compile(
    r"\{'descr': '([^'\\]{1,20})', 'fortran_order': (True|False), 'shape': \(([0-9L, ]{0,200})\),? ?\}\s*"
)


class Header(NamedTuple):
    """The header of a .npy member."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    start: int  # byte of the member at which the numbers begin


def header(name: str, content: memoryview, size: int) -> Header:
    """Parse the header of a member of `size` bytes, of which `content` holds at least the header.

    Raises:
        NpzError: the header is unreadable, or its shape contradicts the size. Nothing was allocated.
    """
    if len(content) < 12 or content[:6].tobytes() != b"\x93NUMPY" or content[6] not in (1, 2, 3):
        raise NpzError("unreadable", f"'{name}' is not a .npy array")
    start = 10 if content[6] == 1 else 12
    length = int.from_bytes(content[8:start], "little")
    if length > HEADER_LIMIT or start + length > len(content):
        raise NpzError("unreadable", f"the .npy header of '{name}' is damaged or too long")
    text = content[start : start + length].tobytes().decode("latin-1")
    dtype, fortran, shape = _fields(name, text)
    found = size - start - length
    if not dtype.hasobject and (dtype.itemsize == 0 or math.prod(shape) * dtype.itemsize != found):
        raise NpzError(
            "bad_shape", f"'{name}' declares {shape} of {dtype} but holds {counted(found, 'byte')}"
        )
    return Header(dtype, shape, fortran, start + length)


def array(name: str, content: memoryview, head: Header) -> np.ndarray:
    """A read-only view of a member's numbers.

    Raises:
        NpzError: the numbers are pickled objects (unsafe), or have too many axes (bad_shape).
    """
    if head.dtype.hasobject:
        raise NpzError("unsafe", f"'{name}' holds pickled objects, which are not loaded")
    try:
        if 0 in head.shape:
            result = np.zeros(head.shape, head.dtype)
        else:
            result = np.frombuffer(content, head.dtype, math.prod(head.shape), head.start)
            result = result.reshape(head.shape, order="F" if head.fortran else "C")
    except ValueError as error:  # more axes than numpy has
        raise NpzError("bad_shape", f"'{name}' declares the shape {head.shape}: {error}") from error
    result.flags.writeable = False
    return result


def _fields(name: str, text: str) -> tuple[np.dtype[Any], bool, tuple[int, ...]]:
    """Dtype, order and shape: a regex for the usual spelling (2 us), `literal_eval` for any other (20 us)."""
    usual = _USUAL.fullmatch(text)
    try:
        if usual:
            # Python 2 may write 3L.
            sides = [int(side.strip(" L")) for side in usual[3].split(",") if side.strip()]
            return np.dtype(usual[1]), usual[2] == "True", tuple(sides)
        fields = ast.literal_eval(text.strip())
        descr, fortran, shape = fields["descr"], fields["fortran_order"], fields["shape"]
        if isinstance(descr, list):
            raise NpzError("bad_shape", f"'{name}' is a table of named columns. Expected numbers or text")
        valid = isinstance(descr, str) and isinstance(fortran, bool) and isinstance(shape, tuple)
        if valid and all(type(side) is int and side >= 0 for side in shape):
            return np.dtype(descr), fortran, shape
    except NpzError:
        raise
    except (ValueError, TypeError, KeyError, SyntaxError, MemoryError, RecursionError):
        pass  # not a literal, not a dictionary, or an unknown dtype
    raise NpzError("unreadable", f"the .npy header of '{name}' is damaged")
