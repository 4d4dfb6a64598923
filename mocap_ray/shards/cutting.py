"""Which inputs share a file: neighbours in name order, cut by content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mocap_ray.shards.layout import Input, Layout

InputT = TypeVar("InputT", bound=Input)

Group = tuple[str, ...]
"""Where an input belongs in the tree: a value for each of the product's keys."""


@dataclass(frozen=True, slots=True)
class Shard(Generic[InputT]):
    """The inputs of one file: neighbours in the sorted list of one group.

    Attributes:
        folder: of the product's files.
        keys: names of the group's values.
        group: where the inputs belong.
        inputs: sorted by name.
    """

    folder: str
    keys: tuple[str, ...]
    group: Group
    inputs: tuple[InputT, ...]

    @property
    def name(self) -> str:
        """Content-derived name: the same inputs give the same name on any machine."""
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

    A hash of the input's name decides whether a cut falls before it, so a new input moves the cuts around itself
    only. A shard holds between target / 2 and 2 x target source bytes, fewer only at the end of a group, more only
    where a single input is larger.

    Args:
        inputs: in any order.
        groups: an input's name -> its group; inputs that are not in it are left out.
        layout: of the product, for folder and keys.
        target: source bytes of a shard, aimed at.
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
    """True once in `mean` bytes of inputs, decided by the name alone."""
    draw = int.from_bytes(hashlib.sha256(input.name.encode()).digest()[:8], "big") / 2**64
    return draw < input.size / mean
