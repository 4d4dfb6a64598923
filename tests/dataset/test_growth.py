"""The driver's work grows with the number of recordings, and no faster: counted in calls and bytes."""

from __future__ import annotations

import os
import pstats
import tracemalloc
from cProfile import Profile
from pathlib import Path

import pytest

from mocap_ray.archives import files
from mocap_ray.dataset.build import prepare
from mocap_ray.demo.archive import write_demo
from mocap_ray.demo.standin import write_standin
from mocap_ray.runs.extract import ExtractConfig

COUNTS = (1000, 2000, 4000)


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Archives of 1,000, 2,000 and 4,000 links to one take, and a body."""
    root = tmp_path_factory.mktemp("growth")
    write_standin(root / "bodies", families=("smplh",), genders=("neutral",))
    take = write_demo(root / "made", recordings=1, bad=False)[0]
    for count in COUNTS:
        for k in range(count):
            link = root / str(count) / f"DS{k // 500}" / f"{k // 50:03}" / f"{k:06}_poses.npz"
            if k % 50 == 0:
                link.parent.mkdir(parents=True)
            os.link(take, link)
    return root


def _plan(root: Path, count: int) -> int:
    """Plan an extraction; returns the number of recordings in its shards."""
    config = ExtractConfig.model_validate(
        {
            "source": {"root": str(root / str(count)), "check_root": False},
            "body": {"root": str(root / "bodies")},
            "output": {"root": str(root / "out")},
        }
    )
    build = prepare(config.source, config.body, config.motion, config.output)
    return sum(len(shard.inputs) for shard in build.todo)


def _calls(root: Path, count: int) -> int:
    """Calls of functions while planning."""
    profile = Profile()
    assert profile.runcall(_plan, root, count) == count
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]


def test_the_calls_of_a_plan_grow_with_the_recordings(archives: Path) -> None:
    _plan(archives, COUNTS[0])  # imports and caches
    one, two, four = (_calls(archives, count) for count in COUNTS)
    assert four - two < 2.2 * (two - one)
    # Measured: 86 for each recording. With 240, which it once was, a million recordings took a minute.
    assert (four - two) / (COUNTS[2] - COUNTS[1]) < 130


def test_the_memory_of_a_plan_grows_with_the_recordings(archives: Path) -> None:
    peaks = []
    for count in COUNTS:
        tracemalloc.start()
        _plan(archives, count)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    one, two, four = peaks
    assert four - two < 2.3 * (two - one)
    # Measured: 330 bytes for each recording, without Arrow's listing: a million fit beside Ray and torch below 1 GB.
    assert (four - two) / (COUNTS[2] - COUNTS[1]) < 500


def test_recordings_of_a_subject_share_its_text(archives: Path) -> None:
    from mocap_ray.archives.amass import discover
    from mocap_ray.storage import place

    listed = discover(place(archives / "1000"))
    assert len({id(r.subject) for r in listed}) == len({r.subject for r in listed}) == 20
    assert len({id(r.dataset) for r in listed}) == 2


@pytest.mark.parametrize(
    "path", ["a/b.npz", "a.b/c", "a/.npz", ".npz", "a/b.", "a/b.c.npz", "b", "..x", "a/..x.y"]
)
def test_an_ending_is_that_of_pathlib(path: str) -> None:
    assert files.ending(path) == Path(path).suffix
