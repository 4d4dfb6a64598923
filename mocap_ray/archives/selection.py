"""Which recordings a pattern means: the one rule for `source.include`, `source.exclude` and `mocap-ray dataset`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import translate
from typing import Protocol, TypeVar, runtime_checkable

from mocap_ray.archives.files import ending
from mocap_ray.errors import UserError
from mocap_ray.wording import counted


@runtime_checkable
class Named(Protocol):
    """A recording, or its listing in a receipt."""

    @property
    def name(self) -> str:
        """Path below the archive root without its ending."""

    @property
    def source(self) -> str:
        """Path below the archive root with its ending."""


NamedT = TypeVar("NamedT", bound=Named)


def matched(recordings: Iterable[NamedT], patterns: Sequence[str]) -> list[NamedT]:
    """The recordings that at least one of the patterns means.

    A pattern is the name of a recording, with or without its ending, or of a folder above it; `*`, `?` and `[...]`
    match as in `fnmatch`, and `*` also matches slashes.

    >>> from mocap_ray.records import Recording
    >>> takes = [Recording("", f"CMU/{n}", "", f"CMU/{n}.npz", 1, "") for n in ("01/a", "01/b", "02/a")]
    >>> [r.name for r in matched(takes, ["CMU/01"])], [r.name for r in matched(takes, ["*/a.npz"])]
    (['CMU/01/a', 'CMU/01/b'], ['CMU/01/a', 'CMU/02/a'])
    >>> [r.name for r in matched(takes, ["CMU/0", "01", "cmu/01"])]
    []
    """
    if not patterns:
        return []
    texts = [_plain(pattern) for pattern in patterns]
    literals = frozenset(texts)
    globs = [re.compile(translate(glob)) for t in texts if _GLOB.search(t) for glob in (t, f"{t}/*")]
    return [r for r in recordings if _is_meant(r, literals, globs)]


def unmatched(recordings: Sequence[Named], patterns: Sequence[str]) -> list[str]:
    """The patterns that mean none of the recordings."""
    if not patterns:
        return []
    known = {name for r in recordings for name in _names(r)}
    return [
        p for p in patterns if _plain(p) not in known and not (_GLOB.search(p) and matched(recordings, [p]))
    ]


_GLOB = re.compile(r"[*?[]")


def _plain(pattern: str) -> str:
    return pattern.removeprefix("./").rstrip("/")


def _names(recording: Named) -> list[str]:
    """All that a pattern without wildcards can call it: its name, with its ending, and the folders above it."""
    parts = recording.name.split("/")
    folders = ["/".join(parts[:count]) for count in range(1, len(parts))]
    return [recording.name, recording.name + ending(recording.source), *folders]


def _is_meant(recording: Named, literals: frozenset[str], globs: Sequence[re.Pattern[str]]) -> bool:
    name, complete, *folders = _names(recording)
    # Names may contain brackets, so a pattern with wildcards is compared literally too.
    return not literals.isdisjoint((name, complete, *folders)) or any(
        glob.match(name) or glob.match(complete) for glob in globs
    )


def select(
    recordings: Sequence[NamedT], *, include: Sequence[str] = (), exclude: Sequence[str] = (), where: str
) -> list[NamedT]:
    """The recordings that `include` means (empty: all) and `exclude` does not.

    Args:
        recordings: at least one.
        include, exclude: patterns (`matched`).
        where: address of the archive, for the message.

    Raises:
        UserError: none is left.
    """
    wanted = matched(recordings, include) if include else list(recordings)
    left_out = {r.name for r in matched(wanted, exclude)}
    selected = [r for r in wanted if r.name not in left_out] if left_out else wanted
    if not selected:
        raise UserError(
            f"{where}: include {list(include)} and exclude {list(exclude)} select none of "
            f"{counted(len(recordings), 'recording')}. Patterns are names or folders such as "
            f"{recordings[0].name!r} and {recordings[0].name.rpartition('/')[0]!r}, and may contain *."
        )
    return selected
