"""Damage to files, drawn from a random generator: of their bytes, and of the values that they hold."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np

Rng = np.random.Generator


def bytes_damaged(data: bytes, rng: Rng) -> bytes:
    """One kind of damage to the bytes of a file, which may be empty."""
    if not data:
        return rng.bytes(int(rng.integers(0, 50)))
    kinds: list[Callable[[bytes, Rng], bytes]] = [
        _flip,
        _flip,
        _flip,
        _cut,
        _hole,
        _number,
        _repeat,
        _splice,
        _insert,
    ]
    return kinds[int(rng.integers(len(kinds)))](data, rng)


def _at(data: bytes, rng: Rng) -> int:
    """A position: anywhere, or near one of the ends, where containers keep their directories."""
    size, near = len(data), min(len(data), 600)
    return int([rng.integers(size), rng.integers(near), size - 1 - rng.integers(near)][int(rng.integers(3))])


def _flip(data: bytes, rng: Rng) -> bytes:
    changed = bytearray(data)
    for _ in range(int(rng.choice([1, 1, 2, 8, 64]))):
        changed[_at(data, rng)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _cut(data: bytes, rng: Rng) -> bytes:
    return data[: _at(data, rng)]


def _hole(data: bytes, rng: Rng) -> bytes:
    at, size = _at(data, rng), int(rng.choice([1, 16, 256, 4096]))
    return data[:at] + bytes(min(size, len(data) - at)) + data[at + size :]


def _number(data: bytes, rng: Rng) -> bytes:
    """An integer of 1 to 8 bytes at its limits: what makes a reader ask for memory."""
    at, width = _at(data, rng), int(rng.choice([1, 2, 4, 8]))
    value = [b"\xff", b"\x7f", b"\x00", b"\x80"][int(rng.integers(4))] * width
    return data[:at] + value + data[at + width :]


def _repeat(data: bytes, rng: Rng) -> bytes:
    at, size = _at(data, rng), int(rng.choice([4, 64, 1024]))
    return data[: at + size] + data[at:]


def _splice(data: bytes, rng: Rng) -> bytes:
    return data[: _at(data, rng)] + data[_at(data, rng) :]


def _insert(data: bytes, rng: Rng) -> bytes:
    at = _at(data, rng)
    return data[:at] + rng.bytes(int(rng.integers(1, 40))) + data[at:]


def _deep(levels: int) -> Any:
    tree: Any = []
    for _ in range(levels):
        tree = [tree]
    return tree


STRANGE: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 3, 10**9, 2**53, 10**18, 10**40, -0.5, 0.5, 1e308, float("nan"), float("inf"),
    "", "x", "two\nlines", "/etc/passwd", "../..", "\0", "0" * 5000, [], {}, [[]], [0], {"": 0}, ["x"] * 500,
    _deep(150),
)  # fmt: skip


def values_damaged(tree: Any, rng: Rng, *, strange: tuple[Any, ...] = STRANGE) -> Any:
    """A copy of nested dictionaries and lists with one to three of its values replaced, removed, doubled or moved."""
    tree = copy.deepcopy(tree)
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        holder, key = _place(tree, rng)
        if holder is None:
            return strange[int(rng.integers(len(strange)))]
        kind = rng.random()
        if kind < 0.65:
            holder[key] = copy.deepcopy(strange[int(rng.integers(len(strange)))])
        elif kind < 0.8:
            del holder[key]
        elif isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        else:
            holder["another key"] = holder.pop(key)
    return tree


def _place(tree: Any, rng: Rng) -> tuple[Any, Any]:
    """A random container in the tree and one of its keys; (None, None) for the tree itself."""
    holder, key, node = None, None, tree
    while isinstance(node, dict | list) and len(node) and (holder is None or rng.random() < 0.7):
        holder = node
        key = (
            list(node)[int(rng.integers(len(node)))]
            if isinstance(node, dict)
            else int(rng.integers(len(node)))
        )
        node = node[key]
    return (None, None) if rng.random() < 0.03 else (holder, key)


def json_damaged(data: bytes, rng: Rng) -> bytes:
    """A JSON file after damage to its values, its nesting or its bytes."""
    kind = rng.random()
    if kind < 0.15:
        return bytes_damaged(data, rng)
    if kind < 0.2:
        return [b"[" * 100_000, b'{"a":' * 50_000 + b"1", b"", b"null", b"[]", b"\xff\xfe"][
            int(rng.integers(6))
        ]
    return json.dumps(values_damaged(json.loads(data), rng)).encode()
