"""How numbers and names read in messages, tables and pages: counts with their noun, durations, sizes, lists."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence


def number(value: int | float) -> str:
    """A number with commas between thousands.

    >>> number(1234567)
    '1,234,567'
    """
    return f"{value:,}"


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A count with its noun in the singular or the plural.

    Args:
        count: written with commas between thousands.
        noun: the singular, with its adjectives, as in `packed archive`.
        plural: the plural, where it is not the noun with an s.

    >>> counted(1, "file"), counted(0, "file"), counted(12_345, "recording")
    ('1 file', '0 files', '12,345 recordings')
    >>> counted(2, "entry", "entries")
    '2 entries'
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def duration(seconds: int | float) -> str:
    """A duration in the unit that reads best.

    >>> duration(0.4), duration(72), duration(600), duration(3e4)
    ('0.4 s', '72 s', '10.0 min', '8.3 h')
    """
    if 0 < seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def percent(share: float) -> str:
    """A share of a whole as a percentage; one decimal where it matters.

    >>> percent(0.0153623), percent(0.5), percent(1.0), percent(0.0)
    ('1.5 %', '50 %', '100 %', '0 %')
    """
    shown = f"{100 * share:.1f}"
    return f"{shown.removesuffix('.0') if abs(share) < 0.0995 else f'{100 * share:.0f}'} %"


def short_count(count: int | float) -> str:
    """A large number in a few characters.

    >>> short_count(950), short_count(12_345), short_count(4_460_000)
    ('950', '12.3 k', '4.5 M')
    """
    if count >= 1e6:
        return f"{count / 1e6:,.1f} M"
    return f"{count / 1e3:.1f} k" if count >= 1e4 else f"{count:,.0f}"


def byte_size(size: int | float) -> str:
    """A number of bytes in the unit that reads best.

    >>> byte_size(0), byte_size(23_044_085), byte_size(3.2e9)
    ('0 kB', '23 MB', '3.2 GB')
    """
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}" if size < 9.95 * scale else f"{size / scale:,.0f} {unit}"
    return f"{size / 1e3:.0f} kB"


def listed(names: Sequence[str], *, most: int | None = None) -> str:
    """Names joined by commas and a final `and`; from `most` + 1 names on, the rest is counted.

    >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    >>> listed(["a", "b", "c"], most=3), listed(["a", "b", "c", "d", "e"], most=3)
    ('a, b and c', 'a, b, c and 2 more')
    """
    if most is not None and len(names) > most:
        names = [*names[:most], f"{len(names) - most:,} more"]
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def override(*assignments: str) -> str:
    """The option that sets keys of a config, as it can be pasted into a shell.

    >>> override("source.split=none"), override("source.fractions={train: 1}")
    ('--override source.split=none', "--override 'source.fractions={train: 1}'")
    """
    return f"--override {shlex.join(assignments)}"


def choices(options: Mapping[str, str]) -> str:
    """Lines to paste into a shell, each with its meaning as a comment.

    Args:
        options: text to add to a command -> what it means.

    >>> print(choices({"--prune": "drop them", "--override a=1": "keep them"}))
      --prune  # drop them
      --override a=1  # keep them
    """
    return "\n".join(f"  {text}  # {meaning}" for text, meaning in options.items())
