"""Which inputs share a file: the inputs of a group, sorted by name and cut by content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mocap_ray.shards.layout import Input, Layout

InputT = TypeVar("InputT", bound=Input)

Group = tuple[str, ...]
"""The Hive partition of an input: a value for each of the product's keys."""


@dataclass(frozen=True, slots=True)
class Shard(Generic[InputT]):
    """The inputs of one file: consecutive in the sorted list of one group.

    Attributes:
        folder: the folder of the product's files.
        keys: names of the group's values.
        group: the group of the inputs.
        inputs: the inputs, sorted by name.
    """

    folder: str
    keys: tuple[str, ...]
    group: Group
    inputs: tuple[InputT, ...]

    @property
    def name(self) -> str:
        """A name derived from the content: the same inputs give the same name on any machine."""
        text = "\n".join((*self.group, *(i.name for i in self.inputs)))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def path(self) -> str:
        """Path of the Parquet file below the root of the data set."""
        parts = (f"{key}={value}" for key, value in zip(self.keys, self.group, strict=True))
        return "/".join((self.folder, *parts, f"{self.name}.parquet"))

    @property
    def size(self) -> int:
        """Source bytes."""
        return sum(i.size for i in self.inputs)


def cut(
    inputs: Iterable[InputT],
    groups: Mapping[str, Group],
    *,
    layout: Layout[Any],
    target: int,
) -> list[Shard[InputT]]:
    """Cut the sorted inputs of each group into shards, by content.

    A hash of an input's name decides whether a shard begins with it, so a new input only moves the cuts next to it.
    A shard holds between target / 2 and 2 x target source bytes; it is smaller only at the end of a group, and larger
    only if a single input is.

    Args:
        inputs: in any order.
        groups: input name -> group; inputs that are not listed are left out.
        layout: the product's layout, for folder and keys.
        target: target size of a shard, in source bytes.
    """
    members: dict[Group, list[InputT]] = {}
    for input in inputs:
        if input.name in groups:
            members.setdefault(groups[input.name], []).append(input)
    shards = []
    for group in sorted(members):
        current: list[InputT] = []
        size = 0
        for input in sorted(members[group], key=lambda i: i.name):
            full = current and size + input.size > 2 * target
            if full or (size >= target / 2 and _cut_before(input, target / 2)):
                shards.append(Shard(layout.folder, layout.keys, group, tuple(current)))
                current, size = [], 0
            current.append(input)
            size += input.size
        if current:
            shards.append(Shard(layout.folder, layout.keys, group, tuple(current)))
    return shards


def _cut_before(input: Input, mean: float) -> bool:
    """Whether a shard begins with this input: true once in `mean` bytes on average, decided by the name alone."""
    draw = int.from_bytes(hashlib.sha256(input.name.encode()).digest()[:8], "big") / 2**64
    return draw < input.size / mean
