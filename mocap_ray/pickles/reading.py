"""Read a pickle as plain values."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

from mocap_ray.errors import UserError
from mocap_ray.pickles.machine import Machine
from mocap_ray.pickles.opcodes import OPERATIONS
from mocap_ray.pickles.values import Global, Pending, Trace, UnsafePickle


def load(source: bytes | BinaryIO, *, where: str) -> object:
    """Read one pickle as plain values: containers, numbers, strings, numpy arrays, scipy.sparse matrices.

    Strings of Python 2 are decoded as latin1, so raw bytes are kept as text with the same code points. chumpy
    objects and torch tensors become numpy arrays. Memory is limited to a small multiple of the input: lengths and
    shapes are checked against the bytes that follow. Trailing bytes are ignored.

    Args:
        source: the pickle, or a binary file that is read to its end.
        where: name of the pickle in messages, usually its path.

    Raises:
        UnsafePickle: the pickle names something outside the closed list; the message says what. Nothing was run.
        UserError: the pickle is truncated, inconsistent, or not a pickle.
    """
    data = source if isinstance(source, bytes) else source.read()
    value, _ = load_from(data, 0, where=where)
    return value


def load_from(
    data: bytes,
    start: int,
    *,
    where: str,
    persistent: Callable[[object], object] | None = None,
    trace: Trace | None = None,
) -> tuple[object, int]:
    """Read one pickle in `data` from `start`; returns its value and its end.

    Args:
        data, start, where: as in `load`.
        persistent: resolves persistent ids, in a pickle that is nested in another; such a one holds no further pickle.
        trace: notes where in `data` the numbers of arrays are.
    """

    def nested(data: bytes, start: int, persistent: Callable[[object], object]) -> tuple[object, int]:
        return load_from(data, start, where=where, persistent=persistent)

    if data.startswith(b"PK\3\4", start):
        raise UserError(
            f"{where}: a zip archive and no pickle, as torch.save writes it. It was not opened. Save it again with "
            "pickle.dump."
        )
    machine = Machine(
        data, start, where, persistent=persistent, nested=nested if persistent is None else None, trace=trace
    )
    try:
        value = _run(machine)
        _refuse_leftovers(value, machine)
    except UnsafePickle:
        raise
    except (
        ValueError,
        TypeError,
        IndexError,
        KeyError,
        OverflowError,
        MemoryError,
        RecursionError,
        struct.error,
    ) as error:
        found = str(error) or type(error).__name__
        raise UserError(
            f"{where}: not a readable pickle, stopped at byte {machine.at} of {len(data)}: {found}. "
            "Expected a complete pickle of numbers, strings, containers and arrays; "
            "download the file again if it may be truncated."
        ) from error
    return value, machine.at


def _run(machine: Machine) -> object:
    """Execute opcodes until STOP and return the value on top."""
    while True:
        code = machine.take(1)
        if code == b".":
            return machine.pop()
        operation = OPERATIONS.get(code)
        if operation is None:
            raise ValueError(f"0x{code.hex()} is no pickle opcode that is supported here")
        operation(machine)


def _refuse_leftovers(root: object, machine: Machine) -> None:
    """Raise if the result contains a bare global or an object without its state."""
    todo, seen = [root], set[int]()
    while todo:
        value = todo.pop()
        if isinstance(value, Global):
            raise machine.unsafe(f"{value.module}.{value.name}", "a class or function instead of data")
        if isinstance(value, Pending):
            raise ValueError(f"a {value.what} is left without its state")
        inside = isinstance(value, list | tuple | dict | set | frozenset) or (
            isinstance(value, np.ndarray) and value.dtype.hasobject
        )
        if not inside or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            todo.extend(value.values())
        elif isinstance(value, np.ndarray):
            todo.extend(value.ravel().tolist())
        else:
            assert isinstance(value, list | tuple | set | frozenset)
            todo.extend(value)
