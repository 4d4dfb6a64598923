"""The files of a data set depend only on the archive and the recipe, not on the history of runs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mocap_ray.dataset.build import prepare
from mocap_ray.errors import UserError
from mocap_ray.lock import Locked, lock
from mocap_ray.shards.making import make
from mocap_ray.shards.recipe import Replaced
from mocap_ray.storage import place
from tests.distributed.conftest import Run

Runs = Callable[..., Run]


def test_a_then_b_equals_a_and_b_together(run: Runs, archive: Path) -> None:
    both = run("both", source={"split": "none"})
    both.plain()
    names = sorted(p.relative_to(archive).as_posix().removesuffix(".npz") for p in archive.rglob("*.npz"))
    half = run("parts", source={"split": "none", "include": names[::2]})
    half.plain()
    assert half.files() != both.files()
    run("parts", source={"split": "none"}).plain()
    assert half.files() == both.files()
    # A smaller selection than in the last run removes nothing.
    half.plain()
    assert half.files() == both.files()


def test_new_and_changed_recordings_are_processed_and_the_rest_is_kept(run: Runs, archive: Path) -> None:
    job = run(source={"split": "none"})
    job.plain()
    before = {p: p.stat().st_mtime_ns for p in job.out.rglob("*.parquet") if "clips" in p.parts}
    source = next(p for p in sorted(archive.rglob("*.npz")) if "shape" not in p.name)
    shutil.copy(source, source.with_name("zz_new_poses.npz"))
    job.plain()
    after = {p: p.stat().st_mtime_ns for p in job.out.rglob("*.parquet") if "clips" in p.parts}
    kept = {p for p in before if after.get(p) == before[p]}
    assert kept
    assert len(after.keys() - kept) <= 3
    fresh = run("fresh", source={"split": "none"})
    fresh.plain()
    assert job.files() == fresh.files()


def test_a_missing_recording_is_refused_until_pruned(run: Runs, archive: Path) -> None:
    job = run(source={"split": "none"})
    job.plain()
    gone = sorted(archive.rglob("*_poses.npz"))[3]
    gone.unlink()
    before = job.files()
    with pytest.raises(ValueError, match=r"1 recording that .*--prune"):
        job.plain()
    assert job.files() == before
    job.plain(prune=True)
    fresh = run("fresh", source={"split": "none"})
    fresh.plain()
    assert job.files() == fresh.files()


def test_another_recipe_is_refused_with_its_differences(run: Runs) -> None:
    run().plain()
    with pytest.raises(
        ValueError, match=r"motion.profile: was 'humanml3d', is now 'flowmimic'[\s\S]*--overwrite"
    ):
        run(motion={"profile": "flowmimic"}).plain()


def test_overwriting_replaces_everything_and_resumes_after_a_kill(run: Runs) -> None:
    run().plain()
    other = run(motion={"profile": "flowmimic"})
    other.plain(overwrite=True, shards=2)
    done = {p: p.stat().st_mtime_ns for p in (other.out / "receipts").iterdir()}
    # Killed here; the same command resumes, with or without the flag.
    other.plain(overwrite=True)
    kept = [p for p in (other.out / "receipts").iterdir() if p.stat().st_mtime_ns == done[p]]
    assert len(kept) == 2
    fresh = run("fresh", motion={"profile": "flowmimic"})
    fresh.plain()
    assert other.files() == fresh.files()


def test_a_worker_that_outlives_its_run_does_not_write_to_the_next_data_set(run: Runs) -> None:
    old, new = run(), run(motion={"profile": "flowmimic"})
    config = old.config()
    stale = prepare(config.source, config.body, config.motion, config.output)
    new.plain()
    before = new.files()
    with pytest.raises(Replaced, match="with another recipe"):
        make(stale.todo[0], stale.job())
    assert new.files() == before


def test_a_foreign_folder_is_refused(run: Runs) -> None:
    job = run()
    job.out.mkdir()
    (job.out / "thesis.tex").write_text("precious")
    with pytest.raises(ValueError, match=r"thesis.tex"):
        job.plain()
    assert (job.out / "thesis.tex").read_text() == "precious"


def test_partial_files_of_a_killed_run_are_removed(run: Runs) -> None:
    job = run()
    job.plain()
    before = job.files()
    folder = next(p for p in job.out.rglob("*.parquet") if "clips" in p.parts).parent
    (folder / ".tmp-0123").write_bytes(b"half")
    (folder / "0123456789abcdef.parquet").write_bytes(b"orphan")
    next((job.out / "receipts").iterdir()).write_text("{half a receipt")
    (job.out / "manifest.json").unlink()
    job.plain()
    assert job.files() == before


def test_a_truncated_shard_is_written_again(run: Runs) -> None:
    job = run()
    job.plain()
    before = job.files()
    shard = next(p for p in job.out.rglob("*.parquet") if "clips" in p.parts)
    shard.write_bytes(shard.read_bytes()[:-1])
    job.plain()
    assert job.files() == before


@pytest.mark.parametrize("key", ["totals", "counts", "columns", "recipe", "shards"])
def test_a_damaged_manifest_is_written_again_by_the_same_command(run: Runs, key: str) -> None:
    job = run()
    job.plain()
    before = job.files()
    path = job.out / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: 7}))
    job.plain()
    assert job.files() == before


def test_a_damaged_receipt_makes_its_shard_again(run: Runs) -> None:
    job = run()
    job.plain()
    before = job.files()
    path = sorted((job.out / "receipts").iterdir())[0]
    sound = json.loads(path.read_text())
    moments = sound["moments"]
    texts = ["", "[]", "7", "[" * 100_000, '{"shard": 1}']
    texts += [json.dumps(changed) for changed in (
        {**sound, "inputs": {}}, {**sound, "rows": -1}, {**sound, "rejections": [7]}, {**sound, "rejections": [{}]},
        {**sound, "moments": {**moments, "mean": moments["mean"][:-1]}}, {**sound, "split": []},
        {**sound, "path": "../elsewhere.parquet"}, {**sound, "frames": float("inf")},
    )]  # fmt: skip
    for text in texts:
        path.write_text(text)
        job.plain()
        assert job.files() == before, text[:200]
        assert json.loads(path.read_text()) == sound


@pytest.mark.parametrize("text", ["", "[]", '"x"', "[" * 100_000], ids=["empty", "list", "text", "deep"])
def test_a_damaged_recipe_is_a_sentence_and_can_be_overwritten(run: Runs, text: str) -> None:
    job = run()
    job.plain()
    before = job.files()
    (job.out / "recipe.json").write_text(text)
    with pytest.raises(
        UserError, match=r"recipe\.json: not the recipe of a data set \([^\n]*\)\. .*--overwrite"
    ):
        job.plain()
    job.plain(overwrite=True)
    assert job.files() == before


def test_one_run_at_a_time(tmp_path: Path) -> None:
    out = place(tmp_path / "out")
    for what in ("data set", "training", "search"):
        message = rf"pid {os.getpid()} on \S+ is writing this {what}\."
        with lock(out, what=what), pytest.raises(Locked, match=message), lock(out, what=what):
            pass


@pytest.mark.parametrize(
    "text", ["", "[]", '{"pid": [], "host": 1}', "[" * 100_000], ids=["empty", "list", "types", "deep"]
)
def test_a_damaged_lock_file_does_not_hide_that_a_run_is_in_the_way(tmp_path: Path, text: str) -> None:
    with lock(place(tmp_path), what="training"):
        (tmp_path / ".lock").write_text(text)
        message = "another process is writing this training"
        with pytest.raises(Locked, match=message), lock(place(tmp_path), what="training"):
            pass


def test_a_refused_run_does_not_leave_an_empty_folder(tmp_path: Path) -> None:
    with lock(place(tmp_path / "typo"), what="data set"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_manifest_names_no_machine(run: Runs, tmp_path: Path) -> None:
    job = run()
    text = json.dumps(job.plain())
    for word in (str(tmp_path), os.uname().nodename):
        assert word not in text
    card = (job.out / "README.md").read_text()
    assert str(tmp_path) not in card


def test_counts_add_up(run: Runs, archive: Path) -> None:
    job = run()
    made = job.plain()
    totals = made["totals"]
    assert totals["recordings"] == len(list(archive.rglob("*.npz")))
    assert totals["recordings"] == totals["clips"] + sum(totals["rejected"].values())
    assert totals["rejected"]
    assert sum(row["clips"] for row in made["counts"]) == totals["clips"]
    assert sum(s["rows"] for s in made["shards"]) == totals["clips"]
    assert len(job.rejected()) == sum(totals["rejected"].values())
