"""Plain Python values and numpy arrays, built from checked parts.

Layouts: `numpy.ndarray.__reduce__` and `__setstate__`, `numpy.dtype.__setstate__`.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from typing import Any

import numpy as np

from mocap_ray.pickles.values import Budget, Global, Pending, expect, shown


def codecs_encode(arguments: tuple[object, ...], budget: Budget) -> object:
    """`_codecs.encode(text, 'latin1')`: how protocols 0 to 2 of Python 3 write bytes."""
    text, encoding = arguments
    expect(
        isinstance(text, str) and encoding in ("latin1", "latin-1"), "bytes in another encoding than latin1"
    )
    assert isinstance(text, str)
    budget.spend(len(text))
    return text.encode("latin1")


def plain_bytes(arguments: tuple[object, ...], budget: Budget) -> object:
    """`bytes()`, `bytearray(b'...')` and `bytearray(text, 'latin1')`."""
    if not arguments:
        return b""
    if len(arguments) == 2:
        return codecs_encode(arguments, budget)
    expect(len(arguments) == 1 and isinstance(arguments[0], bytes), "bytes of something that is not bytes")
    return arguments[0]


def _plain_key(key: object) -> bool:
    """Whether a key is text, or a number too small for deliberate hash collisions."""
    return isinstance(key, str) or (isinstance(key, int) and abs(key) < 2**60)


def plain_set(arguments: tuple[object, ...], budget: Budget) -> object:
    """`set([...])` of text and numbers."""
    expect(len(arguments) == 1 and isinstance(arguments[0], list), "a set of something that is no list")
    members = arguments[0]
    assert isinstance(members, list)
    expect(all(map(_plain_key, members)), "a set of other things than strings and numbers")
    budget.spend(64 * len(members))
    return set(members)


def ordered_dict(arguments: tuple[object, ...], budget: Budget) -> object:
    """`OrderedDict()`, whose items follow, or Python 2's `OrderedDict([[key, value], ...])`."""
    if not arguments:
        return OrderedDict()
    expect(len(arguments) == 1 and isinstance(arguments[0], list), "an OrderedDict of no list of pairs")
    pairs = arguments[0]
    assert isinstance(pairs, list)
    budget.spend(128 * len(pairs))
    for pair in pairs:
        expect(isinstance(pair, list | tuple) and len(pair) == 2, "an item of an OrderedDict that is no pair")
        expect(_plain_key(pair[0]), "a key of an OrderedDict that is neither text nor number")
    return OrderedDict((key, value) for key, value in pairs)


_PLAIN_DTYPE = re.compile(
    r"[<>=|]?(?:b1|[iu][1248]|f(?:2|4|8|16)|c(?:8|16|32)|[SUa]\d{1,9}|[?bBhHiIlLqQefdgFD])"
)


def numpy_dtype(arguments: tuple[object, ...], budget: Budget) -> object:
    """`numpy.dtype('f8', 0, 1)`; the state that follows sets the byte order."""
    expect(bool(arguments) and isinstance(arguments[0], str), "a dtype that is not named by a string")
    name = arguments[0]
    assert isinstance(name, str)
    if name in ("O", "O4", "O8", "|O"):
        kind = np.dtype(object)
    else:
        expect(_PLAIN_DTYPE.fullmatch(name) is not None, f"a dtype {name[:40]!r}, neither number nor string")
        kind = np.dtype(name)

    def finish(state: object) -> object:
        expect(isinstance(state, tuple) and len(state) >= 5, "a dtype with a state of no known layout")
        assert isinstance(state, tuple)
        expect(state[1] in ("<", ">", "=", "|"), "a dtype with an unknown byte order")
        expect(all(part is None for part in state[2:5]), "a dtype with fields; only plain ones are supported")
        return kind if state[1] in ("|", "=") or kind.hasobject else kind.newbyteorder(state[1])

    return Pending("dtype", finish)


def _raw(data: object, budget: Budget) -> bytes:
    """Array data as bytes, from bytes of Python 3 or from a Python 2 string that was decoded as latin1."""
    if isinstance(data, str):
        budget.spend(len(data))
        return data.encode("latin1")
    expect(isinstance(data, bytes), f"array data in a {type(data).__name__}")
    assert isinstance(data, bytes)
    return data


def array_shape(shape: object) -> tuple[int, ...]:
    """A shape as a tuple of sizes. Raises ValueError if numpy would not allow it."""
    shape = (shape,) if isinstance(shape, int) else shape
    good = isinstance(shape, tuple) and len(shape) <= 32 and all(type(n) is int and n >= 0 for n in shape)
    if not good:
        raise ValueError(f"an array of shape {shown(shape)}")
    assert isinstance(shape, tuple)
    return shape


def _array(
    shape: object, dtype: object, fortran: object, data: object, budget: Budget
) -> np.ndarray[Any, np.dtype[Any]]:
    """An array whose data has the size that its shape declares: nothing is allocated before the check."""
    sizes = array_shape(shape)
    expect(isinstance(dtype, np.dtype), "an array whose dtype is none")
    assert isinstance(dtype, np.dtype)
    count = math.prod(sizes)
    if dtype.hasobject:
        expect(
            isinstance(data, list) and len(data) == count,
            f"objects for an array of shape {sizes} are missing",
        )
        assert isinstance(data, list)
        # numpy frees them by recursion without a limit: 20,000 levels would end the process.
        nested = any(isinstance(value, np.ndarray) and value.dtype.hasobject for value in data)
        expect(not nested, "an array of objects inside an array of objects")
        budget.spend(8 * count)
        flat = np.empty(count, dtype=object)
        for k, value in enumerate(data):
            flat[k] = value
    else:
        raw = _raw(data, budget)
        expected = count * dtype.itemsize
        expect(
            len(raw) == expected,
            f"an array of shape {sizes} and {dtype} with {len(raw)} bytes, not {expected}",
        )
        budget.spend(len(raw))
        # A copy, so that arrays are writable and aligned, like those of numpy's own reader.
        flat = np.frombuffer(raw, dtype=dtype).copy() if raw else np.empty(count, dtype=dtype)
    array = flat.reshape(sizes, order="F" if fortran else "C")
    if budget.trace is not None and isinstance(data, bytes):
        budget.trace.array(array, data)
    return array


def numpy_reconstruct(arguments: tuple[object, ...], budget: Budget) -> object:
    """`_reconstruct(ndarray, (0,), b'b')`, an empty array that waits for its state."""
    kind = arguments[0] if arguments else None
    expect(
        isinstance(kind, Global) and kind.name == "ndarray", "an array of a class other than numpy.ndarray"
    )

    def finish(state: object) -> object:
        expect(isinstance(state, tuple) and len(state) in (4, 5), "an array with a state of no known layout")
        assert isinstance(state, tuple)
        shape, dtype, fortran, data = state[-4:]
        return _array(shape, dtype, fortran, data, budget)

    return Pending("array", finish)


def numpy_from_buffer(arguments: tuple[object, ...], budget: Budget) -> object:
    """`_frombuffer(buffer, dtype, shape, order)` of protocol 5."""
    expect(len(arguments) == 4, "an array buffer with other than four arguments")
    data, dtype, shape, order = arguments
    return _array(shape, dtype, order == "F", data, budget)


def numpy_scalar(arguments: tuple[object, ...], budget: Budget) -> object:
    """`numpy.core.multiarray.scalar(dtype, bytes)`."""
    expect(len(arguments) == 2, "a numpy scalar with other than two arguments")
    dtype, data = arguments
    expect(isinstance(dtype, np.dtype) and not dtype.hasobject, "a numpy scalar of objects")
    return _array((), dtype, False, data, budget)[()]
