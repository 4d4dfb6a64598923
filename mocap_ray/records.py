"""What a run lists and what it leaves out: a recording is one source file, a rejection is why it gave nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Recording:
    """One source file of an archive, known by its listing only.

    Attributes:
        dataset: name of the sub-dataset (`CMU`).
        name: path below the archive root without its ending (`CMU/01/01_01_poses`); unique in an archive.
        subject: who moves, unique in an archive (`CMU/01`).
        source: path below the archive root with its ending, `/` between parts.
        size: bytes.
        fingerprint: changes when the file changes (modification time in ns as listed).
    """

    dataset: str
    name: str
    subject: str
    source: str
    size: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Rejection:
    """A recording, or the piece of it that starts at `first_frame`, left out with its reason."""

    recording: Recording
    reason: StrEnum
    detail: str
    first_frame: int = 0
