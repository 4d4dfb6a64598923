"""The settings of a search that its page shows, independent of its config class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mocap_ray.searching.space import Range


@dataclass(frozen=True, slots=True)
class SearchSetup:
    """Base, space and metric of a search.

    Attributes:
        base: path or name of a train config.
        space: key of the base -> its range.
        metric: a column of metrics.csv.
        mode: `min` or `max`.
        scheduler, searcher: their names.
        unit: unit of the metric, or empty.
    """

    base: str
    space: Mapping[str, Range]
    metric: str
    mode: str
    scheduler: str
    searcher: str
    unit: str = ""
