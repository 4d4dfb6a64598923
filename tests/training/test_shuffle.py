"""The order of a stream: each row once over all processes, evenly, the same for the same seed, and well mixed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocap_ray.training.shuffle import Piece, Rows, even, generator, pieces, shuffled


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(1, 4), st.randoms())
def test_pieces_share_every_row_once_and_evenly(sizes: list[int], world: int, random: object) -> None:
    counts = dict(enumerate(sizes))
    order = list(counts)
    random.shuffle(order)  # type: ignore[attr-defined]
    parts = [pieces(counts, order, rank=rank, world=world) for rank in range(world)]
    seen = [(p.shard, row) for part in parts for p in part for row in range(p.first, p.last)]
    assert sorted(seen) == [(k, row) for k, size in counts.items() for row in range(size)]
    shares = [sum(p.last - p.first for p in part) for part in parts]
    assert max(shares) - min(shares) <= 1


@given(st.integers(0, 100), st.integers(1, 20))
def test_even_sizes_sum_up_and_differ_by_one_at_most(rows: int, steps: int) -> None:
    sizes = even(rows, steps)
    assert sum(sizes) == rows
    assert len(sizes) == steps
    assert max(sizes) - min(sizes) <= 1


def _blocks(sizes: list[int]) -> list[Rows]:
    ends = np.cumsum([0, *sizes])
    out = []
    for k, (a, b) in enumerate(itertools.pairwise(ends)):
        number = np.arange(a, b)
        poses = np.repeat(number[:, None], 165, axis=1).astype(np.float32)
        out.append(Rows(poses, np.full(b - a, k, np.int32), number.astype(np.int32)))
    return out


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(1, 60), st.integers(1, 12))
def test_shuffled_batches_have_each_row_once_for_any_buffer(
    sizes: list[int], capacity: int, steps: int
) -> None:
    wanted = even(sum(sizes), min(steps, sum(sizes)))
    batches = list(shuffled(_blocks(sizes), wanted, capacity=capacity, rng=generator(0, 0)))
    assert [len(b) for b in batches] == wanted
    rows = np.concatenate([b.data[:, 0] for b in batches]).astype(int)
    assert sorted(rows) == list(range(sum(sizes)))
    items = np.concatenate([b.item for b in batches])
    np.testing.assert_array_equal(items, rows)
    again = shuffled(_blocks(sizes), wanted, capacity=capacity, rng=generator(0, 0))
    np.testing.assert_array_equal(np.concatenate([b.item for b in again]), items)


def test_a_batch_mixes_rows_of_the_whole_buffer() -> None:
    batches = list(shuffled(_blocks([100] * 20), even(2000, 40), capacity=1000, rng=generator(0, 1)))
    spread = [len(np.unique(b.shard)) for b in batches]
    assert np.median(spread) >= 8, "50 rows of a batch come from most of the ten shards in the buffer"
    other = next(shuffled(_blocks([100] * 20), even(2000, 40), capacity=1000, rng=generator(0, 2)))
    assert set(other.item) != set(batches[0].item)


def test_pieces_of_one_process_are_whole_shards() -> None:
    assert pieces({3: 2, 5: 4}, [5, 3], rank=0, world=1) == [Piece(5, 0, 4), Piece(3, 0, 2)]


def test_an_epoch_without_enough_rows_is_an_error() -> None:
    with pytest.raises(RuntimeError):
        list(shuffled(_blocks([3]), [2, 2], capacity=10, rng=generator(0, 0)))
