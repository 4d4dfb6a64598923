"""Shards are cut by content: new recordings move the cuts around themselves only."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from mocap_ray.dataset.shards import Group, group
from mocap_ray.records import Recording

TARGET = 10_000


def _recordings(count: int, seed: int = 0) -> list[Recording]:
    draw = random.Random(seed)
    return [
        Recording(
            "CMU",
            f"CMU/{i // 10:02}/{i:05}",
            f"CMU/{i // 10:02}",
            f"CMU/{i:05}.npz",
            draw.randint(100, 3000),
            "1",
        )
        for i in range(count)
    ]


def _group(recordings: list[Recording]) -> list[Group]:
    return group(recordings, {r.name: "train" for r in recordings}, target=TARGET)


@given(st.integers(1, 200), st.integers(0, 1000), st.randoms())
@settings(max_examples=60, deadline=None)
def test_each_recording_is_in_one_shard_in_any_order(count: int, seed: int, order: random.Random) -> None:
    recordings = _recordings(count, seed)
    groups = _group(recordings)
    assert [r for g in groups for r in g.recordings] == recordings
    shuffled = list(recordings)
    order.shuffle(shuffled)
    assert _group(shuffled) == groups
    for g in groups[:-1]:
        assert TARGET / 2 <= g.size <= 2 * TARGET
    assert groups[-1].size <= 2 * TARGET
    assert len({g.path for g in groups}) == len(groups)


def test_a_new_recording_remakes_about_one_shard() -> None:
    recordings = _recordings(2000)
    before = {g.name for g in _group(recordings)}
    remade = []
    for at in range(50, 2000, 97):
        extra = replace(recordings[at], name=recordings[at].name + "b")
        after = {g.name for g in _group([*recordings, extra])}
        remade.append(len(after - before))
    assert sum(remade) / len(remade) < 3, remade
    assert len(before) > 100


def test_shards_keep_datasets_and_splits_apart_and_leave_out_what_has_no_split() -> None:
    recordings = [replace(r, dataset="B" if i % 2 else "A") for i, r in enumerate(_recordings(100))]
    splits = {r.name: ("val" if i % 3 else "train") for i, r in enumerate(recordings[:90])}
    groups = group(recordings, splits, target=TARGET)
    for g in groups:
        assert {(r.dataset, splits[r.name]) for r in g.recordings} == {(g.dataset, g.split)}
    assert sum(len(g.recordings) for g in groups) == 90


def test_one_huge_recording_is_a_shard_of_its_own() -> None:
    recordings = _recordings(50)
    recordings[20] = replace(recordings[20], size=100 * TARGET)
    alone = [g for g in _group(recordings) if recordings[20] in g.recordings]
    assert [len(g.recordings) for g in alone] == [1]


def test_names_come_from_content_alone() -> None:
    recordings = _recordings(5)
    moved = [replace(r, size=r.size + 1, fingerprint="2") for r in recordings]
    assert Group("A", "train", tuple(recordings)).name == Group("A", "train", tuple(moved)).name
    assert Group("A", "train", tuple(recordings)).name != Group("A", "val", tuple(recordings)).name
    assert Group("A", "train", tuple(recordings)).name != Group("A", "train", tuple(recordings[1:])).name
