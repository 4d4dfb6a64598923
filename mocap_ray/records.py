"""What a run lists and what it leaves out: a recording is one source, a rejection says why one is left out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

Input = TypeVar("Input")


@dataclass(frozen=True, slots=True)
class Recording:
    """One source file of an archive, as listed; the file itself has not been opened.

    In an archive of one file a frame, it is a folder of them.

    Attributes:
        dataset: name of the sub-dataset (`CMU`).
        name: path below the archive root without its ending (`CMU/01/01_01_poses`); unique in an archive.
        subject: who moves, unique in an archive (`CMU/01`).
        source: path below the archive root with its ending, `/` between parts.
        size: bytes; of a folder, about those that are read.
        fingerprint: changes when the file changes (modification time in ns as listed).
    """

    dataset: str
    name: str
    subject: str
    source: str
    size: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Rejection(Generic[Input]):
    """An input, or the piece of it that begins at `start`, that is left out, with the reason.

    Attributes:
        input: a recording, or another input of a product.
        reason: from the product's closed list.
        detail: a sentence: where, what was found, what was expected, what to do.
        start: where in the input the piece begins; the first frame in a recording.
    """

    input: Input
    reason: StrEnum
    detail: str
    start: int = 0
