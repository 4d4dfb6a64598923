"""What a search is about, without the config that it was started from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mocap_ray.searching.space import Range


@dataclass(frozen=True, slots=True)
class SearchSetup:
    """Base, space and goal of a search, as its page shows them.

    Attributes:
        base: a train config: a path, or the name of one.
        space: key of the base to its range.
        metric: a column of a training's metrics.csv.
        mode: `min` or `max`.
        scheduler, searcher: their names.
    """

    base: str
    space: Mapping[str, Range]
    metric: str
    mode: str
    scheduler: str
    searcher: str
