"""Pairs of noise and latents, which `mocap-ray reflow` wrote, as rows of the training of a student."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from pydantic import Field, JsonValue

from mocap_ray.dataset.parquet import Shard, ShardFile
from mocap_ray.dataset.reader import read_manifest
from mocap_ray.dataset.recipe import recipes_of
from mocap_ray.dataset.sharded import hive_parts
from mocap_ray.dataset.views import REFLOW, DataSetError, product_of
from mocap_ray.documents import Count, Document, parse
from mocap_ray.generation.flow_facts import FlowFacts
from mocap_ray.generation.pair_rows import HEADER
from mocap_ray.generation.reflow import schema
from mocap_ray.storage import place
from mocap_ray.training.rows import Block, NoRows, RowSource

REMEDY = "Run the same `mocap-ray reflow` command again."


class _Entry(Document):
    path: str
    rows: Count


class _Manifest(Document):
    """What a training needs of the manifest of pairs."""

    width: Annotated[int, Field(ge=1, le=65_536)]
    shards: list[_Entry]
    recipe: dict[str, JsonValue]


class _File(ShardFile):
    """An open shard of pairs."""

    def __init__(self, where: Any, shard: Shard, *, width: int) -> None:
        self.width = width
        super().__init__(where, shard, ())

    def fields(self, columns: Any) -> pa.Schema:
        """The columns that it must have."""
        return schema(self.width)


@dataclass(frozen=True)
class Pairs:
    """A finished data set of pairs.

    Attributes:
        root: its folder or address.
        width: numbers of a latent.
        shards: its files, in the order of the manifest.
        teacher: sha256 of the flow that drew them.
    """

    root: str
    width: int
    shards: tuple[Shard, ...]
    teacher: str

    @classmethod
    def open(cls, root: str) -> Pairs:
        """Open pairs that `mocap-ray reflow` wrote. Raises DataSetError."""
        where, data = read_manifest(root)
        if product_of(data) != REFLOW:
            raise DataSetError(
                f"{where.uri}: no pairs of noise and latents. Expected a folder that `mocap-ray reflow` wrote; "
                "data.pairs names it, and data.root the data set of motion."
            )
        found = parse(
            data,
            _Manifest,
            where=f"{where.uri}/manifest.json",
            what="the manifest of pairs",
            remedy=REMEDY,
            error=DataSetError,
        )
        sources = recipes_of(found.recipe).sources.values()
        teacher = next((str(source.settings.get("teacher", "")) for source in sources), "")
        shards = tuple(Shard(e.path, "", _split(e.path), e.rows, 0) for e in found.shards)
        return cls(where.uri, found.width, shards, teacher)

    def file(self, shard: int) -> _File:
        """Open a shard. Raises DataSetError or OSError."""
        return _File(place(self.root), self.shards[shard], width=self.width)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """All captions, sorted."""
        return tuple(sorted({text for text in self._column("text") if text}))

    @cached_property
    def longest(self) -> int:
        """Frames of the longest motion."""
        return max(self._column("frames"), default=1)

    def _column(self, name: str) -> list[Any]:
        found: list[Any] = []
        for shard in range(len(self.shards)):
            with self.file(shard) as file:
                found += file.read([name])[name].to_pylist()
        return found


def _split(path: str) -> str:
    return hive_parts(f"dataset=/{path}")[1]


@dataclass(frozen=True)
class PairRows(RowSource):
    """The pairs of a split as rows.

    Attributes:
        pairs: all of them.
        split: name of the split.
        facts: the tables of labels.
        compression: frames of a latent.
    """

    pairs: Pairs
    split: str
    facts: FlowFacts
    compression: int
    dtype = np.dtype(np.float32)

    @property
    def latents(self) -> int:
        """Latents of the longest pair, K."""
        return -(-self.pairs.longest // self.compression)

    @property
    def shape(self) -> tuple[int, ...]:
        """A header line, K lines of noise and K of latents."""
        return 1 + 2 * self.latents, max(self.pairs.width, len(HEADER))

    @cached_property
    def counts(self) -> Mapping[int, int]:
        """Number of pairs of each shard of the split."""
        return {k: s.rows for k, s in enumerate(self.pairs.shards) if s.split == self.split and s.rows}

    def blocks(self, shard: int) -> Iterator[Block]:
        """The pairs of one row group after the other."""
        facts, K = self.facts, self.latents
        styles = facts.labels.style_numbers
        actions = {name: k for k, name in enumerate(facts.actions, start=1)}
        texts = {text: k for k, text in enumerate(self.pairs.texts, start=1)}
        with self.pairs.file(shard) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, schema(self.pairs.width).names)
                columns = {name: table[name].to_pylist() for name in HEADER}
                rows = np.zeros((len(table), *self.shape), np.float32)
                rows[:, 0, 0] = columns["frames"]
                rows[:, 0, 1] = 1 + facts.labels.domain_numbers([name or "" for name in columns["domain"]])
                rows[:, 0, 2] = styles(columns["style"])
                rows[:, 0, 3] = [actions.get(name or "", 0) for name in columns["action"]]
                rows[:, 0, 4] = [texts.get(text or "", 0) for text in columns["text"]]
                for name, first in (("noise", 1), ("latents", 1 + K)):
                    for row, values in zip(rows, _arrays(table[name], self.pairs.width), strict=True):
                        row[first : first + len(values), : self.pairs.width] = values
                yield Block(rows, np.zeros(len(rows), np.int32), [self.pairs.shards[shard].path])

    def empty(self) -> NoRows:
        """The error for a split without pairs."""
        return NoRows(
            f"{self.pairs.root}: no pairs in the split '{self.split}'. Draw more with `mocap-ray reflow`."
        )


def _arrays(column: pa.ChunkedArray, width: int) -> Iterator[Float[np.ndarray, "K D"]]:
    """The array of each row."""
    for entry in column:
        yield np.asarray(entry.values.flatten()).reshape(-1, width)
