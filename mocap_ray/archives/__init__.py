"""One file per archive, and the one table that names them."""

from __future__ import annotations

from importlib import import_module

from mocap_ray.archives import amass
from mocap_ray.archives.archive import Archive, Published, last_part
from mocap_ray.archives.splits import RULES
from mocap_ray.errors import UserError

__all__ = ["ARCHIVES", "Archive", "find_archive", "named_split", "published_split", "short_title"]

ARCHIVES: dict[str, Archive] = {archive.name: archive for archive in (amass.ARCHIVE,)}
"""All archives by the name that configs use; a new one is a file and a word here."""


def find_archive(name: str) -> Archive:
    """The archive called `name` in the table, or `package.module:NAME` of one's own.

    Raises:
        UserError: there is none.
    """
    if name in ARCHIVES:
        return ARCHIVES[name]
    module, _, attribute = name.partition(":")
    if not attribute:
        raise UserError(
            f"No archive {name!r}. Expected one of {', '.join(sorted(ARCHIVES))}, or package.module:NAME of an "
            "Archive of your own."
        )
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"No archive {name!r}: {error}. Expected package.module:NAME, importable here."
        ) from error
    if not isinstance(found, Archive):
        raise UserError(f"{name} is a {type(found).__name__}. Expected a mocap_ray.archives.Archive.")
    return found


def named_split(archive: Archive, split: str) -> bool:
    """Whether `source.split` is a word of ours, not the address of lists."""
    return split in RULES or split in (archive.name, *ARCHIVES)


def published_split(archive: Archive, split: str) -> tuple[str, Published] | None:
    """Whose published split `source.split` asks for, and that split; None where it asks for another kind.

    `published` is that of the archive itself; the name of an archive (`amass`) is that one's.

    Raises:
        UserError: the archive has none.
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
    """A few words for a recording, by the name of its archive; nothing is imported for one that is not ours."""
    known = ARCHIVES.get(archive)
    return (known.short_title if known else last_part)(recording)
