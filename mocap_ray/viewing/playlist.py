"""A playlist: entries to go through, each of which becomes a scene when it is shown."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np

from mocap_ray.viewing.rows import Rows
from mocap_ray.viewing.scene import Scene

Progress = Callable[[int, int], None]
"""Called with (done, total)."""


class Playlist(ABC):
    """Entries with their columns; a scene is made when it is asked for, never before.

    Attributes:
        title: what is shown: a path, for the head of the panel.
        rows: one row per entry; at least one.
        measurable: whether `measure` can add quality figures.
    """

    title: str
    rows: Rows
    measurable: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    @abstractmethod
    def scene(self, index: int) -> Scene:
        """Read one entry.

        Raises:
            UserError: its content is not motion; the message says what it is.
            OSError: it cannot be read.
        """

    def measure(self, progress: Progress, *, stopped: Callable[[], bool]) -> dict[str, np.ndarray]:
        """Quality figures of all entries, name -> [N]; reads everything once, piece by piece.

        Args:
            progress: called after each piece.
            stopped: asked after each piece; the figures of what was not read are NaN.
        """
        return {}


class Joined(Playlist):
    """Several playlists, one after the other."""

    def __init__(self, parts: Sequence[Playlist]) -> None:
        self.parts = tuple(parts)
        self.title = ", ".join(part.title for part in parts)
        facets = dict.fromkeys(key for part in parts for key in part.rows.facets)
        numbers = dict.fromkeys(key for part in parts for key in part.rows.numbers)
        self.rows = Rows(
            unique([name for part in parts for name in part.rows.names]),
            {key: [v for p in parts for v in p.rows.facets.get(key, [None] * len(p))] for key in facets},
            [text for p in parts for text in (p.rows.texts or [""] * len(p))],
            {
                key: np.concatenate([p.rows.numbers.get(key, np.full(len(p), np.nan)) for p in parts])
                for key in numbers
            },
        )
        self._ends = np.cumsum([len(part) for part in parts])

    def scene(self, index: int) -> Scene:
        """The scene of the playlist that holds this entry."""
        part = int(np.searchsorted(self._ends, index, side="right"))
        return self.parts[part].scene(index - int(self._ends[part]) + len(self.parts[part]))


def unique(names: Sequence[str]) -> list[str]:
    """Names with a number behind those that were there before.

    >>> unique(["a", "b", "a", "a"])
    ['a', 'b', 'a (2)', 'a (3)']
    """
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found


class Paired(Playlist):
    """A playlist with the entry of the same name from another one beside each of its own.

    Names are equal with their folders, or else only one entry of the other has that file name.
    """

    def __init__(self, first: Playlist, second: Playlist) -> None:
        self.first, self.second = first, second
        self.title, self.rows, self.measurable = first.title, first.rows, first.measurable
        self._found = {name: k for k, name in enumerate(second.rows.names)}
        for k, name in enumerate(second.rows.names):
            last = PurePosixPath(name).name
            known = self._found.setdefault(last, k)
            if known != k and second.rows.names[known] != last:
                self._found[last] = -1  # ambiguous

    def scene(self, index: int) -> Scene:
        """The scene of an entry, with its partner's groups beside it."""
        scene, name = self.first.scene(index), self.rows.names[index]
        found = self._found.get(name, self._found.get(PurePosixPath(name).name, -1))
        if found < 0:
            note = ("beside", f"nothing of this name in {self.second.title}")
            return replace(scene, facts=(*scene.facts, note))
        other = self.second.scene(found)
        note = ("beside", f"{self.second.rows.names[found]} of {self.second.title}")
        return replace(scene.beside(other.groups), facts=(*scene.facts, note))

    def measure(self, progress: Progress, *, stopped: Callable[[], bool]) -> dict[str, np.ndarray]:
        """The figures of the first playlist."""
        return self.first.measure(progress, stopped=stopped)
