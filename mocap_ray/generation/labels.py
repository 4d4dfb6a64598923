"""The tables of domains and styles that a motion model is conditioned on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from mocap_ray.dataset.reader import DataSet

UNKNOWN = 0
"""The number of an unknown style, which a condition can also be set to on purpose."""


@dataclass(frozen=True, slots=True)
class Labels:
    """The names that numbers of conditions stand for.

    Attributes:
        domains: names of the domains; number k is domain k.
        styles: names of the styles; number k + 1 is style k, and 0 (`UNKNOWN`) is no style.
    """

    domains: tuple[str, ...]
    styles: tuple[str, ...]

    @classmethod
    def of(cls, source: DataSet, *, split: str) -> Labels:
        """All domains of a data set, from its manifest, and the styles of the clips of a split; both sorted."""
        index = source.index
        pairs = zip(index["style"].to_pylist(), index["split"].to_pylist(), strict=True)
        return cls(source.domains, tuple(sorted({style for style, of in pairs if style and of == split})))

    @property
    def style_count(self) -> int:
        """Number of styles, the unknown one included."""
        return len(self.styles) + 1

    def style_numbers(self, names: Iterable[str | None]) -> Int[np.ndarray, "N"]:
        """The number of each style; names that are not in the table are unknown.

        >>> Labels(("a",), ("calm", "old")).style_numbers(["old", None, "new"]).tolist()
        [2, 0, 0]
        """
        table = {name: k for k, name in enumerate(self.styles, start=1)}
        return np.array([table.get(name or "", UNKNOWN) for name in names], np.int64)

    def domain_numbers(self, names: Iterable[str]) -> Int[np.ndarray, "N"]:
        """The number of each domain; -1 for names that are not in the table."""
        table = {name: k for k, name in enumerate(self.domains)}
        return np.array([table.get(name, -1) for name in names], np.int64)
