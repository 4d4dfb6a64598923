"""The entries of a playlist as columns, and the filters over them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from mocap_ray.errors import UserError
from mocap_ray.wording import listed

SECONDS = "length, s"
"""The number that every data set has."""


@dataclass
class Rows:
    """Columns with one value per entry; small, because they are held for all entries.

    Attributes:
        names: unique names.
        facets: things to choose from, such as dataset, split, style and action.
        texts: what else a search for words looks at: captions.
        numbers: figures to sort and to limit by; NaN where unknown.
    """

    names: list[str]
    facets: dict[str, list[str | None]] = field(default_factory=dict)
    texts: list[str] | None = None
    numbers: dict[str, Float[np.ndarray, "N"]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parts: list[Sequence[str | None]] = [self.names, *self.facets.values()]
        if self.texts is not None:
            parts.append(self.texts)
        lengths = {len(part) for part in parts} | {len(column) for column in self.numbers.values()}
        assert len(lengths) == 1, "one value per entry"
        self._searched = [" ".join(filter(None, row)).casefold() for row in zip(*parts, strict=True)]

    def __len__(self) -> int:
        return len(self.names)

    def values(self, facet: str) -> list[tuple[str, int]]:
        """The values of a facet and how many entries have each, in alphabetical order."""
        counts = Counter(value for value in self.facets[facet] if value is not None)
        return sorted(counts.items())

    def select(self, filters: Filters) -> Int[np.ndarray, "M"]:
        """The entries that pass all filters, in the order that the filters ask for.

        Raises:
            UserError: a facet has no such value; the message lists those it has.
        """
        keep = np.ones(len(self.names), bool)
        for facet, value in filters.facets.items():
            column = self.facets.get(facet, [None] * len(self))
            keep &= np.array([v == value for v in column], bool)
            if len(self) and value not in column:
                known = [name for name, _ in self.values(facet)] if facet in self.facets else []
                shown = listed(known[:12]) + (f" (and {len(known) - 12} more)" if len(known) > 12 else "")
                raise UserError(f"no {facet} {value!r} here. Expected one of: {shown or 'none'}.")
        words = filters.text.casefold().split()
        if words:
            keep &= np.array([all(word in text for word in words) for text in self._searched], bool)
        for name, (low, high) in filters.limits.items():
            figures = self.numbers[name]
            # What was not measured is not hidden by a limit that it may meet.
            outside = np.zeros(len(self), bool)
            if low is not None:
                outside |= figures < low
            if high is not None:
                outside |= figures > high
            keep &= ~outside
        chosen = np.flatnonzero(keep)
        if filters.sort is not None:
            # NaN last, whichever way; equal ones in their own order.
            order = np.argsort(
                self.numbers[filters.sort][chosen] * (-1 if filters.descending else 1), kind="stable"
            )
            chosen = chosen[order]
        return chosen


@dataclass(frozen=True, slots=True)
class Filters:
    """Which entries to show, and in which order.

    Attributes:
        facets: facet -> the value that entries must have.
        text: words that name, facets and captions together must contain, in any order; case does not matter.
        limits: number -> (least, most); None for no limit.
        sort: number to sort by; None keeps the order of the playlist.
        descending: largest first.
    """

    facets: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    limits: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    sort: str | None = None
    descending: bool = True


def step(chosen: Int[np.ndarray, "M"], current: int, by: int) -> int | None:
    """The entry `by` places after the current one among the chosen ones, around the ends; None if none is chosen.

    An entry that is not among them is followed by the first one.

    >>> import numpy as np
    >>> chosen = np.array([4, 7, 9])
    >>> step(chosen, 7, 1), step(chosen, 9, 1), step(chosen, 4, -1), step(chosen, 5, 1)
    (9, 4, 9, 4)
    """
    if not len(chosen):
        return None
    at = np.flatnonzero(chosen == current)
    return int(chosen[(int(at[0]) + by) % len(chosen)]) if len(at) else int(chosen[0])
