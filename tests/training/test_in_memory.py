"""Batches from memory: each row once per epoch over all ranks, and the same steps for any number of ranks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocap_ray.training import meters
from mocap_ray.training.in_memory import InMemoryLoader
from mocap_ray.training.memory import fits_in_memory, free_memory
from mocap_ray.training.meters import Waiting
from mocap_ray.training.rows import ArrayRows, TrainingDataError
from mocap_ray.training.team import Team


def _feed(rows: int, *, batch_size: int, seed: int = 0, rank: int = 0, world: int = 1) -> InMemoryLoader:
    data = np.arange(rows, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)
    array = ArrayRows(data, np.arange(rows, dtype=np.int32) // 3, [f"clip{k}" for k in range(rows // 3 + 1)])
    return InMemoryLoader(array, batch_size=batch_size, seed=seed, team=Team(rank, world))


def _numbers(feed: InMemoryLoader, epoch: int) -> list[list[int]]:
    return [batch.data[:, 0].int().tolist() for batch in feed.epoch(epoch)]


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 5), st.integers(0, 3))
def test_every_row_occurs_once_per_epoch_over_all_ranks_in_equally_many_steps(
    rows: int, batch_size: int, world: int, epoch: int
) -> None:
    if rows < world:
        return
    shares = [_numbers(_feed(rows, batch_size=batch_size, rank=r, world=world), epoch) for r in range(world)]
    assert sorted(k for share in shares for step in share for k in step) == list(range(rows))
    assert len({len(share) for share in shares}) == 1
    assert all(step for share in shares for step in share)
    together = [sum(len(share[s]) for share in shares) for s in range(len(shares[0]))]
    assert max(together) - min(together) <= 1
    assert max(together) <= max(batch_size, 2 * world)


def test_a_step_has_the_same_rows_for_any_number_of_ranks() -> None:
    alone = _numbers(_feed(50, batch_size=8), 4)
    two = [_numbers(_feed(50, batch_size=8, rank=r, world=2), 4) for r in range(2)]
    assert [sorted(a) for a in alone] == [sorted(x + y) for x, y in zip(*two, strict=True)]


def test_the_order_depends_only_on_seed_and_epoch() -> None:
    feed = _feed(30, batch_size=7, seed=1)
    assert _numbers(feed, 3) == _numbers(_feed(30, batch_size=7, seed=1), 3)
    assert _numbers(feed, 3) == _numbers(feed, 3)
    orders = {tuple(_feed(30, batch_size=7, seed=s).order(e).tolist()) for s in (0, 1, 2) for e in (0, 1, 2)}
    assert len(orders) == 9  # seed 0, epoch 1 is not seed 1, epoch 0


def test_a_batch_names_its_clips() -> None:
    for batch in _feed(30, batch_size=7).epoch(0):
        expected = sorted({int(k) // 3 for k in batch.data[:, 0]})
        assert batch.items() == [f"clip{k}" for k in expected]


def test_an_epoch_has_a_length() -> None:
    epoch = _feed(50, batch_size=8).epoch(0)
    assert len(epoch) == len(list(epoch)) == 7


def test_fewer_rows_than_ranks_are_refused() -> None:
    with pytest.raises(TrainingDataError, match=r"ray\.workers to 2"):
        _feed(2, batch_size=8, world=3)


def test_fits_in_memory_compares_with_a_share_of_free_memory() -> None:
    assert fits_in_memory(50, share=0.5, free=100)
    assert not fits_in_memory(51, share=0.5, free=100)
    assert fits_in_memory(0, share=0.5)


def test_free_memory_respects_machine_and_container(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    8000 kB\n")
    assert free_memory(tmp_path) == 8000 * 1024
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.current").write_text("3000\n")
    (group / "memory.max").write_text("max\n")
    assert free_memory(tmp_path) == 8000 * 1024
    (group / "memory.max").write_text("5000\n")
    assert free_memory(tmp_path) == 2000
    (group / "memory.stat").write_text("anon 5\ninactive_file 700\n")
    assert free_memory(tmp_path) == 2700


def test_waiting_counts_only_the_time_in_the_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(meters.time, "perf_counter", lambda: clock[0])

    def slow() -> Iterator[int]:
        for k in range(3):
            clock[0] += 2.0
            yield k

    waiting = Waiting(slow())
    for _ in waiting:
        clock[0] += 100.0
    assert waiting.seconds == 6.0
