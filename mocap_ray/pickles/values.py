"""Types that the parts of the unpickler share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from mocap_ray.errors import UserError


class UnsafePickle(UserError):
    """The pickle names something outside the closed list; nothing was imported or run."""


class Nested(Protocol):
    """Reads a pickle that is embedded in the bytes of another one."""

    def __call__(self, data: bytes, start: int, persistent: Callable[[object], object]) -> tuple[object, int]:
        """Read one pickle from `start`; returns its value and its end. `persistent` resolves persistent ids."""
        ...


class Budget(Protocol):
    """The part of the machine that builders use: it counts bytes and reads nested pickles."""

    nested: Nested | None
    trace: Trace | None

    def spend(self, count: int) -> None:
        """Count bytes of a value. Raises ValueError above what a normal file of this size can hold."""


class Trace(Protocol):
    """Notes where in the file the numbers of arrays are, for `alike.py`; reading is the same without it."""

    def chunk(self, chunk: bytes, at: int) -> None:
        """A chunk of bytes was read at this position of the file."""

    def called(self, callee: Global) -> None:
        """A global is called."""

    def again(self, value: object) -> None:
        """A value is used once more."""

    def array(
        self, array: np.ndarray[Any, np.dtype[Any]], chunk: bytes, *, keys: tuple[int, ...] = (), key: int = 0
    ) -> None:
        """An array holds the last bytes of this chunk as its numbers.

        Args:
            array: the array.
            chunk: the chunk of the file.
            keys: where in the chunk the key of a storage is, as decimal digits; the same digits in each place.
            key: the number of these digits.
        """

    def strided(
        self,
        tensor: np.ndarray[Any, np.dtype[Any]],
        storage: np.ndarray[Any, np.dtype[Any]],
        offset: int,
        strides: tuple[int, ...],
    ) -> None:
        """A tensor holds the numbers of a storage from `offset` on, with these strides; both count numbers."""


@dataclass(frozen=True, slots=True)
class Global:
    """A name on the list: two strings, never the object itself."""

    module: str
    name: str


@dataclass(slots=True, eq=False)
class Pending:
    """An object that waits for its state (opcode BUILD).

    Attributes:
        what: what it is, for messages.
        finish: makes the value from the state.
        memo: indices of memo entries that hold this object, to be replaced by the value.
    """

    what: str
    finish: Callable[[object], object]
    memo: list[int] = field(default_factory=list)


def shown(value: object) -> str:
    """A value of a file in a few characters; a list may hold itself or others often, so of most only the type."""
    if isinstance(value, str):
        return repr(value[:80])
    if isinstance(value, tuple) and len(value) <= 8 and all(type(part) is int for part in value):
        return f"({', '.join(map(shown, value))})"
    if type(value) is int and abs(value) < 2**64:
        return str(value)
    return f"a {type(value).__name__}"


def shown_keys(values: Mapping[object, object]) -> str:
    """The first keys of a dictionary, for messages."""
    first = [key[:40] if isinstance(key, str) else shown(key) for key in list(values)[:8]]
    return ", ".join(first) + (", ..." if len(values) > 8 else "") or "none"


def expect(holds: bool, sentence: str) -> None:
    """Raise ValueError with the sentence unless the condition holds."""
    if not holds:
        raise ValueError(sentence)


Builder = Callable[[tuple[object, ...], Budget], object]
"""Makes a value, or a `Pending` object, from the arguments of a global."""
