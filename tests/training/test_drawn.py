"""Rows that are drawn anew in each epoch: a source that uses a random half of its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from mocap_ray.training.in_memory import InMemoryLoader
from mocap_ray.training.rows import Block, Gather, HeldRows, RowSource
from mocap_ray.training.streaming import PlainReader, StreamLoader
from mocap_ray.training.team import Team

ROWS, SHARDS = 20, 4


def half(seed: int, epoch: int) -> np.ndarray:
    """The rows of an epoch."""
    return np.sort(np.random.default_rng([seed, epoch]).permutation(ROWS)[: ROWS // 2])


@dataclass(frozen=True)
class Halves(RowSource):
    """Row k is the number k, in shard k // 5."""

    chosen: tuple[int, ...] = tuple(range(ROWS))
    shape = (1,)
    dtype = np.dtype(np.float32)

    @property
    def counts(self) -> Mapping[int, int]:
        shards, counts = np.unique(np.array(self.chosen) // (ROWS // SHARDS), return_counts=True)
        return dict(zip(shards.tolist(), counts.tolist(), strict=True))

    def blocks(self, shard: int) -> Iterator[Block]:
        own = [k for k in self.chosen if k // (ROWS // SHARDS) == shard]
        rows = np.array(own, np.float32)[:, None]
        yield Block(rows, np.arange(len(own), dtype=np.int32), [f"row {k}" for k in own])

    def drawn(self, *, seed: int, epoch: int) -> RowSource:
        return Halves(tuple(half(seed, epoch).tolist()))


@dataclass(frozen=True)
class HeldHalves(HeldRows):
    """The same in memory."""

    numbers: np.ndarray

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def nbytes(self) -> int:
        return 0

    def on(self, device: torch.device) -> Gather:
        rows = torch.tensor(self.numbers, dtype=torch.float32)[:, None]
        return lambda index: rows[index]

    def names(self, index: np.ndarray) -> list[str]:
        return [f"row {self.numbers[k]}" for k in np.unique(index)]

    def sample(self) -> np.ndarray:
        return self.numbers[:, None].astype(np.float32)

    def drawn(self, *, seed: int, epoch: int) -> HeldHalves:
        return replace(self, numbers=half(seed, epoch))


def loader(feed: str, team: Team) -> InMemoryLoader | StreamLoader:
    if feed == "memory":
        return InMemoryLoader(HeldHalves(np.arange(ROWS)), batch_size=3, seed=7, team=team)
    source = Halves()
    return StreamLoader(
        source, dict(source.counts), reader=PlainReader(), batch_size=3, seed=7, epochs=3, team=team
    )


@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("feed", ["memory", "stream"])
def test_each_epoch_has_its_own_rows_each_once_over_all_ranks(feed: str, world: int) -> None:
    ranks = [loader(feed, Team(rank=rank, world=world)) for rank in range(world)]
    for epoch in (0, 1, 2, 1):
        seen: list[int] = []
        for each in ranks:
            batches = list(each.epoch(epoch))
            assert len(batches) == len(each.epoch(epoch)) == -(-ROWS // 2 // 3)
            for batch in batches:
                own = batch.data[:, 0].int().tolist()
                assert sorted(batch.items()) == sorted(f"row {k}" for k in own)
                seen += own
        assert sorted(seen) == half(7, epoch).tolist()
    for each in ranks:
        if isinstance(each, StreamLoader):
            each.close()
