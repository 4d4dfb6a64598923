"""The estimate of `--dry-run` is close to what a run makes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mocap_ray.dataset.build import prepare
from mocap_ray.dataset.estimate import SAMPLE, estimate, spread
from mocap_ray.dataset.options import BodyOptions, MotionOptions, OutputOptions, SourceOptions
from mocap_ray.dataset.product import ClipBuild
from mocap_ray.demo.archive import write_demo
from mocap_ray.demo.standin import write_standin
from mocap_ray.records import Recording
from mocap_ray.shards import recipe
from mocap_ray.shards.making import make
from tests.archives import rawzip, takes

Prepared = Callable[..., ClipBuild]


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bodies")
    write_standin(root, families=("smplh",), genders=("neutral",))
    return root


@pytest.fixture
def prepared(tmp_path: Path, bodies: Path) -> Prepared:
    def build(**motion: Any) -> ClipBuild:
        return prepare(
            SourceOptions(root=str(tmp_path / "archive"), split="none"),
            BodyOptions(root=str(bodies)),
            MotionOptions.model_validate(motion),
            OutputOptions(root=str(tmp_path / "out"), shard_mb=1),
        )

    return build


def _recording(k: int) -> Recording:
    return Recording("D", f"D/{k:03d}", "D/1", f"D/{k:03d}.npz", 1, "1")


@pytest.mark.parametrize("count", [0, 1, 5, SAMPLE, SAMPLE + 1, 2 * SAMPLE - 1, 1000])
def test_the_sample_is_spread_from_the_first_to_the_last(count: int) -> None:
    everything = [_recording(k) for k in range(count)]
    found = spread(everything, SAMPLE)
    assert len(found) == min(count, SAMPLE)
    assert len({r.name for r in found}) == len(found)
    if count > 1:
        assert found[0] == everything[0]
        assert found[-1] == everything[-1]
        places = [everything.index(r) for r in found]
        steps = [b - a for a, b in pairwise(places)]
        assert max(steps) - min(steps) <= 1


@pytest.mark.parametrize("motion", [{}, {"mirror": True, "profile": "flowmimic"}])
def test_figures_are_near_those_of_the_run(
    tmp_path: Path, prepared: Prepared, motion: dict[str, Any]
) -> None:
    write_demo(tmp_path / "archive", recordings=40)
    build = prepared(**motion)
    guess = estimate(build)
    assert not (tmp_path / "out").exists()
    made = [make(s, build.job()) for s in build.shards]
    assert guess.recordings == guess.all_recordings == sum(len(r.inputs) for r in made) == 44
    assert guess.source_bytes == sum(s.size for s in build.shards)
    assert guess.sample == SAMPLE
    assert guess.hours * 3600 == pytest.approx(sum(r.sums.seconds for r in made), rel=0.25)
    assert guess.output_bytes == pytest.approx(sum(r.bytes for r in made), rel=0.25)
    assert guess.cpu_s > 0


def test_only_missing_shards_count(tmp_path: Path, prepared: Prepared) -> None:
    write_demo(tmp_path / "archive", recordings=8, bad=False)
    build = prepared()
    make(build.shards[0], build.job())
    recipe.begin(build.out, build.recipe)
    again = prepared()
    guess = estimate(again)
    done = build.shards[0]
    assert guess.recordings == 8 - len(done.inputs)
    assert guess.all_recordings == 8
    assert guess.source_bytes == sum(s.size for s in build.shards[1:])


def test_the_estimate_of_a_finished_data_set_is_zero(tmp_path: Path, prepared: Prepared) -> None:
    write_demo(tmp_path / "archive", recordings=2, bad=False)
    build = prepared()
    for s in build.shards:
        make(s, build.job())
    recipe.begin(build.out, build.recipe)
    guess = estimate(prepared())
    assert (guess.recordings, guess.sample, guess.hours, guess.output_bytes, guess.cpu_s) == (0, 0, 0, 0, 0)


def test_files_that_cannot_be_used_are_counted(tmp_path: Path, prepared: Prepared) -> None:
    folder = tmp_path / "archive" / "D" / "1"
    folder.mkdir(parents=True)
    (folder / "a_poses.npz").write_bytes(rawzip.npz(takes.smplh(300)))
    for k in range(3):
        (folder / f"b{k}_poses.npz").write_bytes(b"no zip at all")
    guess = estimate(prepared())
    assert (guess.sample, guess.sample_rejected) == (4, 3)
    assert guess.hours * 3600 == pytest.approx(300 / 120, rel=0.05)


def test_a_sample_without_clips_gives_no_bytes(tmp_path: Path, prepared: Prepared) -> None:
    folder = tmp_path / "archive" / "D" / "1"
    folder.mkdir(parents=True)
    (folder / "b_poses.npz").write_bytes(b"no zip at all")
    guess = estimate(prepared())
    assert (guess.output_bytes, guess.hours, guess.sample_rejected) == (0, 0, 1)
