"""What the parts of the unpickler hand to each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol


class UnsafePickle(ValueError):
    """The pickle names something outside the closed list; nothing of it was imported or run."""


class Nested(Protocol):
    """Reads a pickle that lies inside the bytes of another one."""

    def __call__(self, data: bytes, start: int, persistent: Callable[[object], object]) -> tuple[object, int]:
        """One pickle from `start`, and where it ends; `persistent` resolves persistent ids."""
        ...


class Budget(Protocol):
    """The machine as a builder sees it: it counts bytes and reads nested pickles."""

    nested: Nested

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


def expect(holds: bool, sentence: str) -> None:
    """Raise ValueError with the sentence unless the condition holds."""
    if not holds:
        raise ValueError(sentence)


Builder = Callable[[tuple[object, ...], Budget], object]
"""Makes a value, or a `Pending` object, of the arguments of a global."""
