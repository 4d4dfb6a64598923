"""One file per archive, and the one table that names them."""

from __future__ import annotations

from importlib import import_module

from mocap_ray.archives import amass
from mocap_ray.archives.archive import Archive

__all__ = ["ARCHIVES", "Archive", "find_archive"]

ARCHIVES: dict[str, Archive] = {archive.name: archive for archive in (amass.ARCHIVE,)}
"""All archives by the name that configs use; a new one is a file and a word here."""


def find_archive(name: str) -> Archive:
    """The archive called `name` in the table, or `package.module:NAME` of one's own.

    Raises:
        ValueError: there is none.
    """
    if name in ARCHIVES:
        return ARCHIVES[name]
    module, _, attribute = name.partition(":")
    if not attribute:
        raise ValueError(
            f"No archive {name!r}. Expected one of {', '.join(sorted(ARCHIVES))}, or package.module:NAME of an "
            "Archive of your own."
        )
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"No archive {name!r}: {error}. Expected package.module:NAME, importable here."
        ) from error
    if not isinstance(found, Archive):
        raise ValueError(f"{name} is a {type(found).__name__}. Expected a mocap_ray.archives.Archive.")
    return found
