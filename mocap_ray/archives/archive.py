"""What an archive of motion has to offer: how to list it, how to read one recording, and whose it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mocap_ray.motion.clip import JointMotion, Motion
from mocap_ray.records import Recording, Rejection
from mocap_ray.storage import Place

Published = Callable[[Recording], str]
"""The split of a recording as the authors of its archive recommend it: `train`, `val` or `test`."""


def last_part(name: str) -> str:
    """The short title of a recording where its archive gives none: the last part of its name.

    >>> last_part("CMU/01/01_01")
    '01_01'
    """
    return name.rpartition("/")[2]


class Discover(Protocol):
    """List the recordings below a place, sorted by name, without opening them."""

    def __call__(
        self,
        place: Place,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        dataset: str | None = None,
    ) -> list[Recording]:
        """Raise UserError where there is nothing to list, saying what was found instead."""
        ...


class Read(Protocol):
    """Read one recording."""

    def __call__(
        self, place: Place, recording: Recording, *, fps: float | None = None
    ) -> Motion | JointMotion | Rejection[Recording]:
        """Return a Rejection for what the file's own bytes prove; raise OSError for anything else."""
        ...


@dataclass(frozen=True, slots=True)
class Archive:
    """One archive; its functions are those of an installed module, so that it can be sent to workers.

    Attributes:
        name: in configs (`source.archive`).
        title: for people.
        discover: lists the recordings.
        read: reads one.
        url: home page.
        licence: the terms, in one or two sentences.
        citation: what its authors ask to be cited.
        register: how to get the files; printed where none are found, and in the data card.
        published: the split that its authors recommend, for `source.split: published`; None where there is none.
        short_title: a recording's name -> a few words for captions of pictures.
    """

    name: str
    title: str
    discover: Discover
    read: Read
    url: str
    licence: str
    citation: str
    register: str
    published: Published | None = None
    short_title: Callable[[str], str] = last_part
