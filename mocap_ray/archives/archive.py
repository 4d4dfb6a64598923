"""The interface of an archive of motion: how to list it, how to read a recording, its licence and citation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, cast

from mocap_ray.errors import UserError
from mocap_ray.motion.clip import JointMotion, Motion
from mocap_ray.records import Recording, Rejection
from mocap_ray.storage import Place

Published = Callable[[Recording], str]
"""Recording -> the split that the archive's authors recommend: `train`, `val` or `test`."""

Doubt = Callable[[Place, Sequence[Recording]], str | None]
"""Place and what is listed below it -> a question if it is probably not the root of the archive, or None."""


Ignored = Callable[[Place], frozenset[str] | None]
"""Place -> the recordings that the archive's authors advise to leave out; None if their list is not there."""


@dataclass(frozen=True, slots=True)
class PublishedLists:
    """Splits that the archive's authors publish as lists of names, in files beside the recordings.

    Attributes:
        names: of the splits, for `source.split`; `published` means the first one.
        read: place and name -> split -> recordings. Raises UserError if the files are not there.
    """

    names: tuple[str, ...]
    read: Callable[[Place, str], Mapping[str, list[str]]]


def last_part(name: str) -> str:
    """The default short title of a recording: the last part of its name.

    >>> last_part("CMU/01/01_01")
    '01_01'
    """
    return name.rpartition("/")[2]


class Discover(Protocol):
    """List all recordings below a place, sorted by name, without opening them; `selection.select` chooses."""

    def __call__(self, place: Place, *, dataset: str | None = None) -> list[Recording]:
        """Raise UserError if there is nothing to list; the message says what was found instead."""
        ...


class Read(Protocol):
    """Read one recording."""

    def __call__(
        self, place: Place, recording: Recording, *, fps: float | None = None
    ) -> Motion | JointMotion | Rejection[Recording]:
        """Return a Rejection if the file's content is invalid; raise OSError for any other failure."""
        ...


@dataclass(frozen=True, slots=True)
class Archive:
    """One archive; its functions belong to an installed module, so that it can be pickled and sent to workers.

    Attributes:
        name: the name in configs (`source.archive`).
        title: the name for readers.
        discover: lists the recordings.
        read: reads one recording.
        url: home page.
        licence: the terms, in one or two sentences.
        citation: the work that its authors ask to cite.
        register: how to get the files; printed if none are found, and in the data card.
        published: the split that its authors recommend, for `source.split: published`; None if there is none.
        lists: the same as lists in files; None if there are none.
        ignored: the authors' list of recordings to leave out, for `source.ignore: published`; None if there is none.
        options: keys of the section `source` that `read` takes as further keyword arguments, such as `scaling`.
        joints_alone: whether `read` gives joints only, so that no body models are needed; not with `read_as: poses`.
        of_folders: whether a recording is a folder of files, and not one file.
        short_title: recording name -> a short title for captions of pictures.
        doubt: asks whether `source.root` is the right folder; None if every folder is as likely.
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
    lists: PublishedLists | None = None
    ignored: Ignored | None = None
    options: tuple[str, ...] = ()
    joints_alone: bool = False
    of_folders: bool = False
    short_title: Callable[[str], str] = last_part
    doubt: Doubt | None = None

    def configured(self, **options: Any) -> Archive:
        """The archive with the options of a config, those that are not None, bound to `read`.

        Raises:
            UserError: an option that this archive does not have.
        """
        given = {name: value for name, value in options.items() if value is not None}
        for name in given:
            if name not in self.options:
                raise UserError(f"source.{name}: the archive {self.name} has no such option. Leave it out.")
        alone = self.joints_alone and given.get("read_as") != "poses"
        return (
            replace(self, read=cast(Read, partial(self.read, **given)), joints_alone=alone) if given else self
        )
