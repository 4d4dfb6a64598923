"""A pass over the shards of a data set: a function for each shard, in this process or on an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

Pass = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]
"""Applies a function to items and yields the results as they are ready, in any order; both must be picklable.
`distributed.passes` has one that works on Ray."""


def in_process(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
    """One item after the other, in this process."""
    for item in items:
        yield function(item)
