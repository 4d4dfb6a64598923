"""The error for invalid .npz files."""

from __future__ import annotations

from typing import Literal

Kind = Literal["unreadable", "unsafe", "missing_keys", "bad_shape"]


class NpzError(ValueError):
    """The content of the file, or of the requested member, is invalid.

    Attributes:
        kind: one of the values of `motion.clip.Reason`.
        message: a sentence without the name of the file.
    """

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(kind, message)  # both arguments, so that it can be pickled
        self.kind = kind
        self.message = message

    def __str__(self) -> str:
        """The message."""
        return self.message


class NotZipError(NpzError):
    """The file is another container, or none; it does not even begin like a zip archive."""
