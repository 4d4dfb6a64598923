"""What each global on the closed list stands for, built from checked plain values (floor 0).

Layouts: `numpy.ndarray.__reduce__` and `__setstate__`, scipy's sparse matrices (their `__dict__`), chumpy's
`Ch` (its `__dict__` with the values under `x`) and `reordering.Select`, torch's `_rebuild_tensor_v2`.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np


class UnsafePickle(ValueError):
    """The pickle names something outside the closed list; nothing of it was imported or run."""


class Budget(Protocol):
    """Who builds: it counts the bytes that objects take beyond those of the input."""

    where: str

    def spend(self, count: int) -> None:
        """Raise ValueError when more would be made than an honest file of this size holds."""


@dataclass(frozen=True, slots=True)
class Global:
    """A name on the list: two strings, never the thing itself."""

    module: str
    name: str


@dataclass(slots=True, eq=False)
class Pending:
    """An object whose state (opcode BUILD) is still to come.

    Attributes:
        what: for messages.
        finish: makes the value of the state.
        memo: memo entries that hold this object, to be replaced by the value.
    """

    what: str
    finish: Callable[[object], object]
    memo: list[int] = field(default_factory=list)


def _expect(holds: bool, sentence: str) -> None:
    if not holds:
        raise ValueError(sentence)


def rebuild(callee: Global, arguments: tuple[object, ...], budget: Budget) -> object:
    """The value, or the `Pending` object, that calling this global would give."""
    return _BUILDERS[callee.module, callee.name](arguments, budget)


# Plain Python.


def _codecs_encode(arguments: tuple[object, ...], budget: Budget) -> object:
    text, encoding = arguments
    _expect(
        isinstance(text, str) and encoding in ("latin1", "latin-1"), "bytes in another encoding than latin1"
    )
    assert isinstance(text, str)
    budget.spend(len(text))
    return text.encode("latin1")


def _plain_bytes(arguments: tuple[object, ...], budget: Budget) -> object:
    if not arguments:
        return b""
    if len(arguments) == 2:
        return _codecs_encode(arguments, budget)
    _expect(len(arguments) == 1 and isinstance(arguments[0], bytes), "bytes of something that is not bytes")
    return arguments[0]


def _plain_set(arguments: tuple[object, ...], budget: Budget) -> object:
    _expect(len(arguments) == 1 and isinstance(arguments[0], list), "a set of something that is no list")
    members = arguments[0]
    assert isinstance(members, list)
    _expect(all(isinstance(m, str | int) for m in members), "a set of other things than strings and numbers")
    budget.spend(64 * len(members))
    return set(members)


def _ordered_dict(arguments: tuple[object, ...], budget: Budget) -> object:
    if not arguments:
        return OrderedDict()
    _expect(len(arguments) == 1 and isinstance(arguments[0], list), "an OrderedDict of no list of pairs")
    pairs = arguments[0]
    assert isinstance(pairs, list)
    budget.spend(128 * len(pairs))
    for pair in pairs:
        _expect(
            isinstance(pair, list | tuple) and len(pair) == 2, "an item of an OrderedDict that is no pair"
        )
        _expect(isinstance(pair[0], str | int), "a key of an OrderedDict that is neither text nor number")
    return OrderedDict((key, value) for key, value in pairs)


def _reconstructor(arguments: tuple[object, ...], budget: Budget) -> object:
    """`copyreg._reconstructor(cls, object, None)`: how protocols 0 and 1 write an instance."""
    _expect(len(arguments) == 3, "an instance with other arguments than class, base and state")
    kind, base, state = arguments
    plain = isinstance(base, Global) and base.name == "object" and state is None
    _expect(plain and isinstance(kind, Global), "an instance that is built on more than object")
    assert isinstance(kind, Global)
    _expect((kind.module, kind.name) in _INSTANCES, f"an instance of {kind.module}.{kind.name}")
    return rebuild(kind, (), budget)


def _not_callable(arguments: tuple[object, ...], budget: Budget) -> object:
    raise ValueError("a call of a type that only ever stands as an argument")


# numpy.

_PLAIN_DTYPE = re.compile(
    r"[<>=|]?(?:b1|[iu][1248]|f(?:2|4|8|16)|c(?:8|16|32)|[SUa]\d{1,9}|[?bBhHiIlLqQefdgFD])"
)


def _dtype(arguments: tuple[object, ...], budget: Budget) -> object:
    """`numpy.dtype('f8', 0, 1)`; its state, which follows, brings the byte order."""
    _expect(bool(arguments) and isinstance(arguments[0], str), "a dtype that is not named by a string")
    name = arguments[0]
    assert isinstance(name, str)
    if name in ("O", "O4", "O8", "|O"):
        kind = np.dtype(object)
    else:
        _expect(_PLAIN_DTYPE.fullmatch(name) is not None, f"a dtype {name[:40]!r}, neither number nor string")
        kind = np.dtype(name)

    def finish(state: object) -> object:
        _expect(isinstance(state, tuple) and len(state) >= 5, "a dtype with a state of no known layout")
        assert isinstance(state, tuple)
        _expect(state[1] in ("<", ">", "=", "|"), "a dtype with an unknown byte order")
        _expect(
            all(part is None for part in state[2:5]), "a dtype with fields; only plain ones are supported"
        )
        return kind if state[1] in ("|", "=") or kind.hasobject else kind.newbyteorder(state[1])

    return Pending("dtype", finish)


def _raw(data: object, budget: Budget) -> bytes:
    """Bytes, of Python 3 or as the latin1 text that a Python 2 string became."""
    if isinstance(data, str):
        budget.spend(len(data))
        return data.encode("latin1")
    _expect(isinstance(data, bytes), f"array data in a {type(data).__name__}")
    assert isinstance(data, bytes)
    return data


def _shape(shape: object) -> tuple[int, ...]:
    shape = (shape,) if isinstance(shape, int) else shape
    good = isinstance(shape, tuple) and len(shape) <= 32 and all(type(n) is int and n >= 0 for n in shape)
    _expect(good, f"an array of shape {str(shape)[:60]}")
    assert isinstance(shape, tuple)
    return shape


def _array(
    shape: object, dtype: object, fortran: object, data: object, budget: Budget
) -> np.ndarray[Any, np.dtype[Any]]:
    """An array whose data really hold as much as its shape says: nothing is allocated on a promise."""
    sizes = _shape(shape)
    _expect(isinstance(dtype, np.dtype), "an array whose dtype is none")
    assert isinstance(dtype, np.dtype)
    count = math.prod(sizes)
    if dtype.hasobject:
        _expect(
            isinstance(data, list) and len(data) == count,
            f"objects for an array of shape {sizes} are missing",
        )
        assert isinstance(data, list)
        budget.spend(8 * count)
        flat = np.empty(count, dtype=object)
        for k, value in enumerate(data):
            flat[k] = value
    else:
        raw = _raw(data, budget)
        expected = count * dtype.itemsize
        _expect(
            len(raw) == expected,
            f"an array of shape {sizes} and {dtype} with {len(raw)} bytes, not {expected}",
        )
        budget.spend(len(raw))
        # A copy, so that arrays are writable and aligned, as numpy's own reader leaves them.
        flat = np.frombuffer(raw, dtype=dtype).copy() if raw else np.empty(count, dtype=dtype)
    return flat.reshape(sizes, order="F" if fortran else "C")


def _reconstruct(arguments: tuple[object, ...], budget: Budget) -> object:
    """`_reconstruct(ndarray, (0,), b'b')`, an empty array that waits for its state."""
    kind = arguments[0] if arguments else None
    _expect(
        isinstance(kind, Global) and kind.name == "ndarray", "an array of a class other than numpy.ndarray"
    )

    def finish(state: object) -> object:
        _expect(isinstance(state, tuple) and len(state) in (4, 5), "an array with a state of no known layout")
        assert isinstance(state, tuple)
        shape, dtype, fortran, data = state[-4:]
        return _array(shape, dtype, fortran, data, budget)

    return Pending("array", finish)


def _from_buffer(arguments: tuple[object, ...], budget: Budget) -> object:
    """`_frombuffer(buffer, dtype, shape, order)` of protocol 5."""
    _expect(len(arguments) == 4, "an array buffer with other than four arguments")
    data, dtype, shape, order = arguments
    return _array(shape, dtype, order == "F", data, budget)


def _scalar(arguments: tuple[object, ...], budget: Budget) -> object:
    _expect(len(arguments) == 2, "a numpy scalar with other than two arguments")
    dtype, data = arguments
    _expect(isinstance(dtype, np.dtype) and not dtype.hasobject, "a numpy scalar of objects")
    return _array((), dtype, False, data, budget)[()]


# scipy.sparse and chumpy.


def _sparse(kind: str) -> Callable[[tuple[object, ...], Budget], object]:
    def begin(arguments: tuple[object, ...], budget: Budget) -> object:
        _expect(not arguments, "a sparse matrix with arguments")
        return Pending(f"{kind} matrix", lambda state: _finish_sparse(kind, state))

    return begin


def _vector(state: dict[str, object], key: str, kinds: str) -> np.ndarray[Any, np.dtype[Any]]:
    value = state.get(key)
    good = isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in kinds
    _expect(good, f"a sparse matrix without a plain vector {key!r}")
    assert isinstance(value, np.ndarray)
    return value


def _finish_sparse(kind: str, state: object) -> object:
    from scipy import sparse

    _expect(isinstance(state, dict), "a sparse matrix whose state is no dictionary")
    assert isinstance(state, dict)
    shape = _shape(state.get("_shape", state.get("shape")))
    _expect(len(shape) == 2, f"a sparse matrix of shape {shape}")
    data = _vector(state, "data", "biufc")
    if kind == "coo":
        row, column = state.get("coords", (None, None))
        indices = {"row": row, "col": column} if row is not None else state
        parts: tuple[object, ...] = (data, (_vector(indices, "row", "iu"), _vector(indices, "col", "iu")))
    else:
        indptr = _vector(state, "indptr", "iu")
        _expect(
            len(indptr) == shape[kind == "csc"] + 1,
            f"a sparse matrix of shape {shape} with {len(indptr)} pointers",
        )
        parts = (data, _vector(state, "indices", "iu"), indptr)
    matrix = getattr(sparse, f"{kind}_matrix")(parts, shape=shape)
    if kind != "coo":
        matrix.check_format(full_check=True)
    return matrix


def _values(thing: object) -> np.ndarray[Any, np.dtype[Any]]:
    good = isinstance(thing, np.ndarray) and thing.dtype.kind in "biuf"
    _expect(good, f"a chumpy object around a {type(thing).__name__}, not a plain array")
    assert isinstance(thing, np.ndarray)
    return thing


def _chumpy_ch(arguments: tuple[object, ...], budget: Budget) -> object:
    """`Ch`: its value is the array under `x`."""
    _expect(not arguments, "a chumpy object with arguments")

    def finish(state: object) -> object:
        _expect(isinstance(state, dict) and "x" in state, "a chumpy object without its values 'x'")
        assert isinstance(state, dict)
        return _values(state["x"])

    return Pending("chumpy object", finish)


def _chumpy_select(arguments: tuple[object, ...], budget: Budget) -> object:
    """`Select`: entries `idxs` of the flattened `a`, in the shape `preferred_shape` if it has one."""
    _expect(not arguments, "a chumpy selection with arguments")

    def finish(state: object) -> object:
        _expect(
            isinstance(state, dict) and "a" in state and "idxs" in state,
            "a chumpy selection without 'a' and 'idxs'",
        )
        assert isinstance(state, dict)
        flat, chosen = _values(state["a"]).ravel(), _values(state["idxs"]).ravel()
        _expect(chosen.dtype.kind in "iu", "a chumpy selection by other than whole numbers")
        budget.spend(chosen.size * flat.itemsize)
        values = flat[chosen]
        shape = state.get("preferred_shape")
        if isinstance(shape, np.ndarray):
            shape = tuple(int(n) for n in shape.ravel()[:32])
        elif isinstance(shape, list):
            shape = tuple(shape)
        return values if shape is None else values.reshape(_shape(shape))

    return Pending("chumpy selection", finish)


# torch.


def _torch_storage(arguments: tuple[object, ...], budget: Budget) -> object:
    from mocap_ray.pickles.torch_legacy import read_storage

    _expect(len(arguments) == 1 and isinstance(arguments[0], bytes), "a torch storage without its bytes")
    assert isinstance(arguments[0], bytes)
    budget.spend(len(arguments[0]))
    return read_storage(arguments[0], where=budget.where)


def _torch_tensor(arguments: tuple[object, ...], budget: Budget) -> object:
    """`_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)` as a numpy array."""
    _expect(len(arguments) >= 4, "a torch tensor with too few arguments")
    storage, offset, size, stride = arguments[:4]
    _expect(isinstance(storage, np.ndarray) and storage.ndim == 1, "a torch tensor without a storage")
    assert isinstance(storage, np.ndarray)
    sizes, strides = _shape(size), _shape(stride)
    _expect(
        type(offset) is int and offset >= 0 and len(sizes) == len(strides),
        "a torch tensor with a crooked layout",
    )
    assert isinstance(offset, int)
    count = math.prod(sizes)
    last = offset + sum((n - 1) * step for n, step in zip(sizes, strides, strict=True))
    _expect(
        count == 0 or last < storage.size,
        f"a torch tensor of size {sizes} beyond its storage of {storage.size}",
    )
    budget.spend(count * storage.itemsize)
    if count == 0:
        return np.empty(sizes, dtype=storage.dtype)
    steps = tuple(step * storage.itemsize for step in strides)
    return np.lib.stride_tricks.as_strided(storage[offset:], sizes, steps).copy()


TORCH_STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "|b1",
}
"""torch's storage types by name, as numpy dtypes."""

_Builder = Callable[[tuple[object, ...], Budget], object]

_INSTANCES: dict[tuple[str, str], _Builder] = {
    **{
        (module, f"{kind}_{ending}"): _sparse(kind)
        for kind in ("csc", "csr", "coo")
        for module in (f"scipy.sparse.{kind}", f"scipy.sparse._{kind}")
        for ending in ("matrix", "array")
    },
    ("chumpy.ch", "Ch"): _chumpy_ch,
    ("chumpy.reordering", "Select"): _chumpy_select,
}

_BUILDERS: dict[tuple[str, str], _Builder] = {
    **_INSTANCES,
    ("_codecs", "encode"): _codecs_encode,
    ("builtins", "bytes"): _plain_bytes,
    ("__builtin__", "bytes"): _plain_bytes,
    ("builtins", "bytearray"): _plain_bytes,
    ("__builtin__", "bytearray"): _plain_bytes,
    ("builtins", "set"): _plain_set,
    ("__builtin__", "set"): _plain_set,
    ("builtins", "object"): _not_callable,
    ("__builtin__", "object"): _not_callable,
    ("copyreg", "_reconstructor"): _reconstructor,
    ("copy_reg", "_reconstructor"): _reconstructor,
    ("collections", "OrderedDict"): _ordered_dict,
    ("numpy", "ndarray"): _not_callable,
    ("numpy", "dtype"): _dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("torch._utils", "_rebuild_tensor_v2"): _torch_tensor,
    ("torch.storage", "_load_from_bytes"): _torch_storage,
    **{("torch", name): _not_callable for name in TORCH_STORAGES},
}

LISTED = frozenset(_BUILDERS)
"""Every (module, name) that a pickle may mention; exact pairs, never prefixes."""
