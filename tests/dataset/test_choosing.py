"""What an extraction adds, keeps and replaces, and the questions that it asks about its folders."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from mocap_ray import config as configs
from mocap_ray.dataset.build import prepare
from mocap_ray.dataset.product import ClipBuild
from mocap_ray.demo.archive import write_demo
from mocap_ray.demo.standin import write_standin
from mocap_ray.errors import UserError
from mocap_ray.runs.extract import ExtractConfig
from mocap_ray.shards.running import RunFailed
from tests.distributed.conftest import Run


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bodies")
    write_standin(root, families=("smplh",), genders=("neutral",))
    return root


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("source") / "archive"
    write_demo(root, recordings=8)
    return root


def run(archive: Path, bodies: Path, out: Path, **source: Any) -> Run:
    return Run(archive, bodies, out, extra={"source": {"split": "none", **source}})


def build(job: Run) -> ClipBuild:
    config = job.config()
    return prepare(config.source, config.body, config.motion, config.output)


def names(plan: ClipBuild) -> set[str]:
    return {i.name for shard in plan.shards for i in shard.inputs}


def test_include_and_exclude_take_folders(archive: Path, bodies: Path, tmp_path: Path) -> None:
    whole = names(build(run(archive, bodies, tmp_path / "out")))
    gym = {name for name in whole if name.startswith("DemoGym/s03/")}
    assert gym
    assert names(build(run(archive, bodies, tmp_path / "out", include=["DemoGym/s03"]))) == gym
    assert names(build(run(archive, bodies, tmp_path / "out", exclude=["DemoGym/s03"]))) == whole - gym


def test_a_pattern_that_means_nothing_is_noted(archive: Path, bodies: Path, tmp_path: Path) -> None:
    plan = build(run(archive, bodies, tmp_path / "out", exclude=["CMU/01", "DemoGym"]))
    assert [n for n in plan.notes if "means no recording" in n] == [
        f"source.exclude: 'CMU/01' means no recording of {archive}."
    ]


def test_exclude_of_a_finished_recording_says_what_takes_it_out(
    archive: Path, bodies: Path, tmp_path: Path
) -> None:
    job = run(archive, bodies, tmp_path / "my set")
    job.plain()
    plan = build(run(archive, bodies, tmp_path / "my set", exclude=["DemoGym/s03"]))
    assert plan.complete
    (note,) = plan.notes
    words = shlex.split(note.partition("To take out what is there: ")[2])
    assert words[:5] == ["mocap-ray", "dataset", "exclude", str(job.out), "DemoGym/s03"]


def test_source_exclude_leaves_out_one_of_two_recordings_of_the_same_segments(
    archive: Path, bodies: Path, tmp_path: Path
) -> None:
    copied = Path(shutil.copytree(archive, tmp_path / "archive"))
    first = next(p for p in sorted(copied.rglob("*_poses.npz")) if "DemoGym" in p.parts)
    twin = Path(shutil.copy(first, first.with_name(first.name.replace("_poses", "_stageii"))))
    name, path = (p.relative_to(copied).as_posix().removesuffix(".npz") for p in (twin, first))
    (tmp_path / "index.csv").write_text(
        f"source_path,start_frame,end_frame,new_name\n./pose_data/{path}.npy,0,40,000001.npy\n"
    )
    segments = {"segments": str(tmp_path / "index.csv")}
    with pytest.raises(UserError, match="match both") as error:
        build(run(copied, bodies, tmp_path / "out", **segments))
    assert f"--exclude {name}" in str(error.value)
    assert names(build(run(copied, bodies, tmp_path / "out", **segments, exclude=[name]))) == {path}


def lines(message: str) -> list[list[str]]:
    """The choices of a message, as a shell splits them."""
    return [
        shlex.split(line, comments=True) for line in message.splitlines() if line.startswith("  --override")
    ]


def loaded(job: Run, words: list[str]) -> ExtractConfig:
    """The config of a run after pasting `--override KEY=VALUE ...` to its command."""
    assert words[0] == "--override"
    return configs.load(job.arguments()[-1], ExtractConfig, kind="extract", overrides=words[1:])


def test_a_root_one_level_too_deep_is_asked_about_and_each_answer_works(
    archive: Path, bodies: Path, tmp_path: Path
) -> None:
    home = tmp_path / "my archive"
    shutil.copytree(archive / "DemoGym", home / "CMU")
    shutil.copytree(archive / "DemoPark", home / "KIT")
    job = run(home / "CMU", bodies, tmp_path / "out")
    with pytest.raises(UserError, match=r"look like subjects of CMU\. Which one is right\?") as error:
        build(job)
    answers = [loaded(job, words) for words in lines(str(error.value))]
    found = [
        {i.dataset for s in prepare(c.source, c.body, c.motion, c.output).shards for i in s.inputs}
        for c in answers
    ]
    assert found == [{"CMU", "KIT"}, {"CMU"}, {p.name for p in (home / "CMU").iterdir()}]
    assert not job.out.exists()


def test_a_root_two_levels_too_deep_or_one_too_high_is_asked_about(
    archive: Path, bodies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(archive / "DemoGym", tmp_path / "amass" / "CMU")
    subject = next(p for p in sorted((tmp_path / "amass" / "CMU").iterdir()) if any(p.glob("*_poses.npz")))
    deep = run(subject, bodies, tmp_path / "out")
    with pytest.raises(UserError, match=rf"sub-dataset called {subject.name}, .* subject of CMU") as error:
        build(deep)
    right, alone, _ = (loaded(deep, words).source for words in lines(str(error.value)))
    assert (right.root, right.include) == (str(tmp_path / "amass"), ())
    assert alone.include == (f"CMU/{subject.name}",)
    (tmp_path / "high").mkdir()
    shutil.copytree(tmp_path / "amass", tmp_path / "high" / "amass")
    high = run(tmp_path / "high", bodies, tmp_path / "out")
    with pytest.raises(UserError, match=r"but amass holds several \(CMU\)") as error:
        build(high)
    assert loaded(high, lines(str(error.value))[0]).source.root == str(tmp_path / "high" / "amass")
    monkeypatch.chdir(tmp_path / "amass" / "CMU")
    with pytest.raises(UserError, match="look like subjects of CMU") as error:
        build(run(Path("."), bodies, tmp_path / "out"))
    assert f"--override source.root={tmp_path / 'amass'} " in str(error.value)


@pytest.mark.parametrize("shards", [1, None], ids=["killed", "finished"])
def test_a_run_on_the_wrong_folder_does_not_block_the_right_one(
    shards: int | None, archive: Path, bodies: Path, tmp_path: Path
) -> None:
    wrong = run(archive / "DemoGym", bodies, tmp_path / "out", check_root=False)
    wrong.plain(shards=shards)
    plan = build(run(archive, bodies, tmp_path / "out"))
    assert any(n.startswith("Replaced: ") and "is now DemoGym/" in n for n in plan.notes)
    right = run(archive, bodies, tmp_path / "out")
    right.plain()
    fresh = run(archive, bodies, tmp_path / "fresh")
    fresh.plain()
    assert right.files() == fresh.files()
    # A narrow selection replaces what was there as well, and loses none of it.
    wrong = run(archive / "DemoGym", bodies, tmp_path / "narrow", check_root=False)
    wrong.plain()
    plan = build(run(archive, bodies, tmp_path / "narrow", limit=1, include=["DemoGym"]))
    assert names(plan) == {n for n in names(build(fresh)) if n.startswith("DemoGym/")}


def test_a_folder_of_files_without_motion_does_not_block_the_right_one(
    archive: Path, bodies: Path, tmp_path: Path
) -> None:
    (tmp_path / "models" / "Set").mkdir(parents=True)
    shutil.copy(next(archive.rglob("shape.npz")), tmp_path / "models" / "Set" / "shape.npz")
    wrong = run(tmp_path / "models", bodies, tmp_path / "out")
    with pytest.raises(RunFailed, match="every recording was rejected"):
        wrong.plain()
    right, fresh = run(archive, bodies, tmp_path / "out"), run(archive, bodies, tmp_path / "fresh")
    right.plain()
    fresh.plain()
    assert right.files() == fresh.files()


def test_clips_of_another_folder_are_never_dropped_without_prune(
    archive: Path, bodies: Path, tmp_path: Path
) -> None:
    job = run(archive, bodies, tmp_path / "out")
    job.plain()
    other = Path(shutil.copytree(archive / "DemoPark", tmp_path / "other" / "Elsewhere")).parent
    for number, file in enumerate(sorted(other.rglob("*.npz"))):
        file.rename(file.with_name(f"take{number}_poses.npz"))
    with pytest.raises(UserError, match=r"recordings of another folder: .* lists none of them .* --prune"):
        build(run(other, bodies, tmp_path / "out"))
