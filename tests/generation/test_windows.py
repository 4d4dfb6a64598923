"""Windows of a data set as rows of a training: cuts, padding, labels, balance; a stream gives those of memory."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mocap_ray
from mocap_ray.dataset.views import DataSetError
from mocap_ray.generation.batch import unpack
from mocap_ray.generation.labels import Labels
from mocap_ray.generation.slots import Draw, Slots, balanced
from mocap_ray.generation.windows import WindowRows
from mocap_ray.training.loaders import memory_loaders
from mocap_ray.training.streaming import PlainReader, stream_loaders
from mocap_ray.training.team import Team
from tests.generation.made import setup, two_domains

LENGTH = 24


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_domains(tmp_path_factory.mktemp("set"))


def windows_of(made: Path, *, weights: dict[int, float] | None = None) -> WindowRows:
    source = mocap_ray.open(made)
    labels = Labels.of(source, split="train")
    return WindowRows.of(source, labels, splits=("train",), draw=Draw(LENGTH, weights))


def in_order(rows: torch.Tensor) -> np.ndarray:
    flat = rows.flatten(1).numpy()
    return flat[np.lexsort(flat[:, [0, 1, 4]].T)]


def test_each_window_is_its_part_of_its_clip_padded_with_zeros(made: Path) -> None:
    source = mocap_ray.open(made)
    clips = list(source.clips(columns=["features"]))
    labels = Labels.of(source, split="train")
    drawn = windows_of(made).drawn(seed=1, epoch=3)
    found = torch.from_numpy(np.concatenate([b.rows for shard in drawn.counts for b in drawn.blocks(shard)]))
    names = [b.names[k] for shard in drawn.counts for b in drawn.blocks(shard) for k in b.item]
    windows = unpack(found)
    assert len(names) == len(windows) == sum(drawn.counts.values()) > 20
    assert int(windows.length.min()) < LENGTH, "some clips are shorter"
    for k, name in enumerate(names):
        clip = clips[int(windows.clip[k])]
        start, length = int(found[k, 0, 1]), int(windows.length[k])
        assert (clip.clip_id, clip.split) == (name, "train")
        assert length == min(LENGTH, clip.num_frames)
        assert np.array_equal(windows.features[k, :length].numpy(), clip.features[start : start + length])
        assert not windows.features[k, length:].any()
        assert labels.domains[int(windows.domain[k])] == clip.domain
        assert ["", *labels.styles][int(windows.style[k])] == (clip.style or "")


def test_the_windows_of_validation_cover_each_clip(made: Path) -> None:
    rows = windows_of(made)
    seen = {
        int(clip): np.zeros(int(n), bool) for clip, n in zip(rows.slots.clip, rows.slots.frames, strict=True)
    }
    for clip, start in zip(rows.slots.clip, rows.starts, strict=True):
        seen[int(clip)][start : start + LENGTH] = True
    assert all(covered.all() for covered in seen.values())


@given(st.integers(1, 500), st.integers(4, 60), st.floats(0, 1, exclude_max=True))
def test_random_windows_lie_inside_their_clip(frames: int, length: int, at: float) -> None:
    parts = -(-frames // length)
    each = np.arange(parts)
    same = [np.full(parts, n) for n in (0, 0, frames)]
    slots = Slots(*same, each, np.full(parts, parts), *([np.zeros(parts, np.int64)] * 3))
    for starts in (slots.random(length, np.full(parts, at)), slots.spread(length)):
        assert (starts >= 0).all()
        assert (starts + min(length, frames) <= frames).all()
        assert (np.diff(starts) >= 0).all()


def test_each_epoch_cuts_elsewhere_and_the_seed_decides_where(made: Path) -> None:
    rows = windows_of(made)
    one, same, next_epoch, other = (
        rows.drawn(seed=s, epoch=e).starts.tolist() for s, e in ((0, 0), (0, 0), (0, 1), (1, 0))
    )
    assert one == same
    assert one != next_epoch
    assert one != other


def test_domains_have_as_many_windows_as_their_weights_say(made: Path) -> None:
    rows = windows_of(made, weights={0: 1.0, 1: 1.0})
    counts = np.bincount(rows.slots.domain)
    assert counts[0] > counts[1]
    epochs = [rows.drawn(seed=0, epoch=e).slots for e in range(12)]
    for slots in epochs:
        assert np.bincount(slots.domain).tolist() == [counts[1], counts[1]]
    larger = [{(c, p) for c, p, d in zip(s.clip, s.part, s.domain, strict=True) if d == 0} for s in epochs]
    assert larger[0] != larger[1], "subsampled anew"
    assert len(set().union(*larger)) == counts[0], "all are seen in time"
    assert balanced(rows.slots.domain, {0: 1.0, 1: 0.0}) == {0: counts[0]}
    twice = balanced(rows.slots.domain, {0: 1.0, 1: 2.0})
    assert twice == {0: counts[1] // 2, 1: counts[1]}
    alone = windows_of(made, weights={1: 1.0})
    assert set(alone.slots.domain.tolist()) == {1}


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_stream_gives_the_windows_of_memory(made: Path, tmp_path: Path, epoch: int) -> None:
    chosen = setup(made, tmp_path)
    memory, stream = memory_loaders(chosen, Team()), stream_loaders(chosen, Team(), PlainReader())
    found, expected = (torch.cat([b.data for b in loaders.train(epoch)]) for loaders in (stream, memory))
    names = {n for b in memory.train(epoch) for n in b.items()}
    assert {n for b in stream.train(epoch) for n in b.items()} == names
    stream.close()
    assert np.array_equal(in_order(found), in_order(expected))
    assert (stream.rows, stream.val_rows) == (memory.rows, memory.val_rows)
    assert len(found) == memory.rows
    assert stream.val is not None
    assert memory.val is not None
    assert torch.equal(torch.cat(list(stream.val())), torch.cat(list(memory.val())))


@pytest.mark.parametrize("feed", [memory_loaders, lambda s, t: stream_loaders(s, t, PlainReader())])
def test_two_ranks_share_the_windows_of_an_epoch(made: Path, tmp_path: Path, feed) -> None:  # type: ignore[no-untyped-def]
    chosen = setup(made, tmp_path)
    every = [feed(chosen, Team()), *(feed(chosen, _pair(rank)) for rank in range(2))]
    alone, one, two = (torch.cat([b.data for b in loaders.train(2)]) for loaders in every)
    for loaders in every:
        loaders.close()
    assert np.array_equal(in_order(torch.cat([one, two])), in_order(alone))


def _pair(rank: int) -> Team:
    # Each rank counts all shards itself.
    return Team(rank=rank, world=2, gather=lambda own: [own])


def test_memory_holds_each_frame_once_and_rows_can_be_sent_to_other_processes(made: Path) -> None:
    rows = windows_of(made, weights={0: 1.0, 1: 1.0})
    held = rows.load()
    frames = mocap_ray.open(made)
    train = sum(s.frames for s in frames.shards if s.split == "train")
    assert held.nbytes == 4 * 263 * train
    drawn = rows.drawn(seed=0, epoch=5)
    again = pickle.loads(pickle.dumps(drawn))
    assert "opened" not in str(pickle.dumps(drawn)[:0])
    for shard in drawn.counts:
        for a, b in zip(drawn.blocks(shard), again.blocks(shard), strict=True):
            assert np.array_equal(a.rows, b.rows)
    in_memory = held.drawn(seed=0, epoch=5)
    assert in_memory.frames is held.frames
    gathered = in_memory.on(torch.device("cpu"))(torch.arange(len(in_memory)))
    blocks = np.concatenate([b.rows for shard in drawn.counts for b in drawn.blocks(shard)])
    assert np.array_equal(in_order(gathered), in_order(torch.from_numpy(blocks)))


def test_a_style_that_was_not_trained_on_is_unknown() -> None:
    labels = Labels(("a",), ("calm",))
    assert labels.style_numbers(["calm", "angry", None]).tolist() == [1, 0, 0]
    assert labels.style_count == 2


def test_a_domain_that_does_not_exist_is_refused(made: Path, tmp_path: Path) -> None:
    chosen = setup(made, tmp_path, data={"domains": {"aist": 1, "grab": 2}})
    with pytest.raises(
        DataSetError, match=r"no domain 'grab'. Its domains are aist, amass; set data.domains"
    ):
        chosen.task.check()
    with pytest.raises(ValueError, match="no domain with a weight above 0"):
        setup(made, tmp_path, data={"domains": {"aist": 0}})


def test_frames_that_are_not_finite_name_their_clip(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = windows_of(made)
    name, features, index = next(rows.clips(next(iter(rows.counts))))
    features[1, 5] = np.nan
    monkeypatch.setattr(WindowRows, "clips", lambda self, shard: iter([(name, features, index)]))
    with pytest.raises(DataSetError, match=rf"not finite in {name}.*mocap-ray dataset exclude"):
        rows.load()
