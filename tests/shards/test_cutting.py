"""Shards are cut by content: a new recording only moves the cuts next to it."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from mocap_ray.dataset.product import CLIPS
from mocap_ray.records import Recording
from mocap_ray.shards.cutting import Shard, cut

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


def _shard(group: tuple[str, str], recordings: list[Recording]) -> Shard[Recording]:
    return Shard(CLIPS.folder, CLIPS.keys, group, tuple(recordings))


def _group(recordings: list[Recording]) -> list[Shard[Recording]]:
    groups = {r.name: (r.dataset, "train") for r in recordings}
    return cut(recordings, groups, layout=CLIPS, target=TARGET)


@given(st.integers(1, 200), st.integers(0, 1000), st.randoms())
@settings(max_examples=60, deadline=None)
def test_each_recording_is_in_one_shard_in_any_order(count: int, seed: int, order: random.Random) -> None:
    recordings = _recordings(count, seed)
    groups = _group(recordings)
    assert [r for g in groups for r in g.inputs] == recordings
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


def test_shards_do_not_mix_datasets_and_splits() -> None:
    recordings = [replace(r, dataset="B" if i % 2 else "A") for i, r in enumerate(_recordings(100))]
    splits = {r.name: ("val" if i % 3 else "train") for i, r in enumerate(recordings[:90])}
    homes = {r.name: (r.dataset, splits[r.name]) for r in recordings if r.name in splits}
    groups = cut(recordings, homes, layout=CLIPS, target=TARGET)
    for g in groups:
        assert {(r.dataset, splits[r.name]) for r in g.inputs} == {g.group}
    assert sum(len(g.inputs) for g in groups) == 90


def test_one_huge_recording_gets_its_own_shard() -> None:
    recordings = _recordings(50)
    recordings[20] = replace(recordings[20], size=100 * TARGET)
    alone = [g for g in _group(recordings) if recordings[20] in g.inputs]
    assert [len(g.inputs) for g in alone] == [1]


def test_names_depend_only_on_content() -> None:
    recordings = _recordings(5)
    moved = [replace(r, size=r.size + 1, fingerprint="2") for r in recordings]
    name = _shard(("A", "train"), recordings).name
    assert name == _shard(("A", "train"), moved).name
    assert name != _shard(("A", "val"), recordings).name
    assert name != _shard(("A", "train"), recordings[1:]).name


def test_names_and_paths_never_change() -> None:
    # Pinned: another name would make every shard of every data set again.
    shard = _shard(("CMU", "train"), _recordings(3))
    assert shard.path == "clips/dataset=CMU/split=train/fcdf0447c2eb8dc7.parquet"
