"""One file per archive, and the table that lists them."""

from __future__ import annotations

from collections.abc import Mapping

from mocap_ray.archives import aist, amass, bvh, joints, mvhumannet
from mocap_ray.archives.archive import Archive, Published, last_part
from mocap_ray.archives.splits import RULES
from mocap_ray.custom import find_named
from mocap_ray.errors import UserError
from mocap_ray.storage import Place

__all__ = [
    "ARCHIVES",
    "Archive",
    "find_archive",
    "named_split",
    "published_lists",
    "published_split",
    "short_title",
]

ARCHIVES: dict[str, Archive] = {
    archive.name: archive
    for archive in (amass.ARCHIVE, aist.ARCHIVE, bvh.ARCHIVE, joints.ARCHIVE, mvhumannet.ARCHIVE)
}
"""All archives by their name in configs. To add one, write a file and list it here."""


def find_archive(name: str) -> Archive:
    """The archive called `name` in the table, or `package.module:NAME` of your own.

    Raises:
        UserError: there is no such archive.
    """
    return find_named(name, ARCHIVES, Archive, what="archive")


def named_split(archive: Archive, split: str) -> bool:
    """Whether `source.split` is a rule or the name of an archive, not the address of lists."""
    lists = () if archive.lists is None else archive.lists.names
    return split in RULES or split in (archive.name, *ARCHIVES, *lists)


def published_lists(archive: Archive, split: str, root: Place) -> Mapping[str, list[str]] | None:
    """The lists of the archive's authors that `source.split` names; None for other kinds of split.

    Raises:
        UserError: the files are not beside the archive's recordings.
    """
    if archive.lists is None or split not in ("published", archive.name, *archive.lists.names):
        return None
    return archive.lists.read(root, split if split in archive.lists.names else archive.lists.names[0])


def published_split(archive: Archive, split: str) -> tuple[str, Published] | None:
    """The published split that `source.split` names, with the name of its archive; None for other kinds of split.

    `published` means the split of `archive` itself; the name of an archive (`amass`) means the split of that archive.

    Raises:
        UserError: the archive has no published split.
    """
    if split != "published" and split not in (archive.name, *ARCHIVES):
        return None
    home = archive if split in ("published", archive.name) else ARCHIVES[split]
    if home.published is None:
        known = ", ".join(sorted(name for name, a in ARCHIVES.items() if a.published is not None))
        raise UserError(
            f"source.split {split!r}: the archive {home.name} has no published split. Expected subject, none, a path "
            f"to lists, or an archive that has one: {known}."
        )
    return home.name, home.published


def short_title(archive: str, recording: str) -> str:
    """A short title of a recording; archives outside the table are not imported and get the default."""
    known = ARCHIVES.get(archive)
    return (known.short_title if known else last_part)(recording)
