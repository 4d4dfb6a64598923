"""A pass over the shards of a data set: a function for each shard, in this process or on an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Pass(Protocol):
    """Applies a function to items; `distributed.passes` has one that works on Ray."""

    def __call__(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Yield the result of each item as it is ready, in any order. The function and the items are picklable."""
        ...


def in_process(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
    """One item after the other, in this process."""
    for item in items:
        yield function(item)
