"""How a message counts: `1 file`, `2 files`."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun in the singular or the plural.

    Args:
        count: is written with commas between thousands.
        noun: for one; its other words come along, as in `packed archive`.
        plural: for any other number, where it is not the noun with an s.

    >>> counted(1, "file"), counted(0, "file"), counted(12_345, "recording")
    ('1 file', '0 files', '12,345 recordings')
    >>> counted(2, "entry", "entries")
    '2 entries'
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"
