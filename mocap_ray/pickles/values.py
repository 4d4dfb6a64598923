"""Types that the parts of the unpickler share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

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

    nested: Nested

    def spend(self, count: int) -> None:
        """Count bytes of a value. Raises ValueError above what a normal file of this size can hold."""


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


def expect(holds: bool, sentence: str) -> None:
    """Raise ValueError with the sentence unless the condition holds."""
    if not holds:
        raise ValueError(sentence)


Builder = Callable[[tuple[object, ...], Budget], object]
"""Makes a value, or a `Pending` object, from the arguments of a global."""
