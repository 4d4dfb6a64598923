"""What a file's own bytes can prove."""

from __future__ import annotations

from typing import Literal

Kind = Literal["unreadable", "unsafe", "missing_keys", "bad_shape"]


class BadNpz(ValueError):
    """The file's own bytes prove that it, or the member asked for, cannot be used.

    Attributes:
        kind: one of the values of `motion.clip.Reason`.
        message: a sentence without the file's name.
    """

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(kind, message)  # both, or it could not be pickled
        self.kind = kind
        self.message = message

    def __str__(self) -> str:
        """The sentence alone."""
        return self.message
