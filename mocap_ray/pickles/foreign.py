"""scipy's sparse matrices, chumpy's objects and torch's tensors, as arrays.

Layouts: scipy's `__dict__` of a sparse matrix; chumpy's `Ch` (its `__dict__` with the values under `x`) and
`reordering.Select`; torch's `_rebuild_tensor_v2`.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from mocap_ray.pickles.arrays import array_shape
from mocap_ray.pickles.torch_legacy import read_storage
from mocap_ray.pickles.torch_stored import FileStorage
from mocap_ray.pickles.values import Budget, Builder, Pending, expect


def sparse_matrix(kind: str) -> Builder:
    """The builder of csc, csr or coo: an instance that waits for its `__dict__`."""

    def begin(arguments: tuple[object, ...], budget: Budget) -> object:
        expect(not arguments, "a sparse matrix with arguments")
        return Pending(f"{kind} matrix", lambda state: _finish_sparse(kind, state))

    return begin


def _vector(state: dict[str, object], key: str, kinds: str) -> np.ndarray[Any, np.dtype[Any]]:
    value = state.get(key)
    good = isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in kinds
    expect(good, f"a sparse matrix without a plain vector {key!r}")
    assert isinstance(value, np.ndarray)
    return value


def _finish_sparse(kind: str, state: object) -> object:
    from scipy import sparse

    expect(isinstance(state, dict), "a sparse matrix whose state is no dictionary")
    assert isinstance(state, dict)
    shape = array_shape(state.get("_shape", state.get("shape")))
    expect(len(shape) == 2, f"a sparse matrix of shape {shape}")
    data = _vector(state, "data", "biufc")
    if kind == "coo":
        row, column = state.get("coords", (None, None))
        indices = {"row": row, "col": column} if row is not None else state
        parts: tuple[object, ...] = (data, (_vector(indices, "row", "iu"), _vector(indices, "col", "iu")))
    else:
        indptr = _vector(state, "indptr", "iu")
        expect(
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
    expect(good, f"a chumpy object around a {type(thing).__name__}, not a plain array")
    assert isinstance(thing, np.ndarray)
    return thing


def chumpy_ch(arguments: tuple[object, ...], budget: Budget) -> object:
    """`Ch`: its value is the array under `x`."""
    expect(not arguments, "a chumpy object with arguments")

    def finish(state: object) -> object:
        expect(isinstance(state, dict) and "x" in state, "a chumpy object without its values 'x'")
        assert isinstance(state, dict)
        return _values(state["x"])

    return Pending("chumpy object", finish)


def chumpy_select(arguments: tuple[object, ...], budget: Budget) -> object:
    """`Select`: entries `idxs` of the flattened `a`, in the shape `preferred_shape` if it has one."""
    expect(not arguments, "a chumpy selection with arguments")

    def finish(state: object) -> object:
        expect(
            isinstance(state, dict) and "a" in state and "idxs" in state,
            "a chumpy selection without 'a' and 'idxs'",
        )
        assert isinstance(state, dict)
        flat, chosen = _values(state["a"]).ravel(), _values(state["idxs"]).ravel()
        expect(chosen.dtype.kind in "iu", "a chumpy selection by other than whole numbers")
        budget.spend(chosen.size * flat.itemsize)
        values = flat[chosen]
        shape = state.get("preferred_shape")
        if isinstance(shape, np.ndarray):
            shape = tuple(int(n) for n in shape.ravel()[:32])
        elif isinstance(shape, list):
            shape = tuple(shape)
        return values if shape is None else values.reshape(array_shape(shape))

    return Pending("chumpy selection", finish)


# torch.


def torch_storage(arguments: tuple[object, ...], budget: Budget) -> object:
    """`_load_from_bytes(bytes)`, parsed here instead of by torch's unrestricted load."""
    expect(len(arguments) == 1 and isinstance(arguments[0], bytes), "a torch storage without its bytes")
    data = arguments[0]
    assert isinstance(data, bytes)
    if budget.nested is None:  # torch writes none; a file of them would take memory for each level
        raise ValueError("a torch storage in a pickle inside of a torch storage")
    budget.spend(len(data))
    storage, key = read_storage(data, budget.nested)
    if budget.trace is not None:
        head = data[: len(data) - storage.nbytes]
        places = tuple(m.start() for m in re.finditer(re.escape(key), head)) if key.isdigit() else ()
        budget.trace.array(storage, data, keys=places if len(places) == 2 else (), key=len(key))
    return storage


def torch_tensor(arguments: tuple[object, ...], budget: Budget) -> object:
    """`_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)` as a numpy array.

    A tensor whose numbers are elsewhere in the file (`torch_zip.py`) becomes a `StoredTensor`; they are not read.
    """
    expect(len(arguments) >= 4, "a torch tensor with too few arguments")
    storage, offset, size, stride = arguments[:4]
    vector = isinstance(storage, np.ndarray) and storage.ndim == 1
    expect(vector or isinstance(storage, FileStorage), "a torch tensor without a storage")
    assert isinstance(storage, np.ndarray | FileStorage)
    sizes, strides = array_shape(size), array_shape(stride)
    expect(
        type(offset) is int and offset >= 0 and len(sizes) == len(strides),
        "a torch tensor with an invalid layout",
    )
    assert isinstance(offset, int)
    count = math.prod(sizes)
    last = offset + sum((n - 1) * step for n, step in zip(sizes, strides, strict=True))
    expect(
        count == 0 or last < storage.size,
        f"a torch tensor of size {sizes} beyond its storage of {storage.size}",
    )
    if isinstance(storage, FileStorage):
        return storage.tensor(offset, sizes, strides)
    budget.spend(count * storage.itemsize)
    if count == 0:
        return np.empty(sizes, dtype=storage.dtype)
    steps = tuple(step * storage.itemsize for step in strides)
    tensor = np.lib.stride_tricks.as_strided(storage[offset:], sizes, steps).copy()
    if budget.trace is not None:
        budget.trace.strided(tensor, storage, offset, strides)
    return tensor
