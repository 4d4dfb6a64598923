"""`mocap-ray dataset exclude`: recordings leave a finished data set for good, and only their shards are remade."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mocap_ray.dataset.build import prepare
from mocap_ray.dataset.exclusion import Change, prepare_change
from mocap_ray.dataset.product import ClipBuild
from mocap_ray.demo.archive import write_demo
from mocap_ray.demo.standin import write_standin
from mocap_ray.errors import UserError
from mocap_ray.shards import exclusions, manifest
from mocap_ray.shards.making import make
from mocap_ray.shards.recipe import Replaced
from mocap_ray.shards.reports import ShardReport
from mocap_ray.shards.running import InProcess, NoCallback, RunFailed, RunResult
from mocap_ray.shards.running import run as run_plainly
from mocap_ray.storage import place
from tests.distributed.conftest import Run

REASON = "markers swapped"


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bodies")
    write_standin(root, families=("smplh",), genders=("neutral", "male"))
    return root


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("source") / "archive"
    write_demo(root, recordings=12)
    return root


@pytest.fixture(scope="module")
def finished(archive: Path, bodies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "set"
    settings(archive, bodies, out).plain()
    return out


def settings(archive: Path, bodies: Path, out: Path, **extra: Any) -> Run:
    return Run(archive, bodies, out, extra={"output": {"shard_mb": 1.5}, **extra})


@pytest.fixture
def job(finished: Path, archive: Path, bodies: Path, tmp_path: Path) -> Run:
    """A finished data set of its own."""
    shutil.copytree(finished, tmp_path / "set")
    return settings(archive, bodies, tmp_path / "set")


def planned(job: Run, change: Change) -> ClipBuild:
    config = job.config()
    return prepare_change(config.source, config.body, config.motion, config.output, change)


def changed(job: Run, *patterns: str, reason: str | None = REASON) -> RunResult | None:
    """As `mocap-ray dataset exclude` and `include`, in this process."""
    change, out = Change(patterns, reason), place(job.out)
    if not change.sources(out):
        return None
    engine: Callable[[], Any] = lambda: nullcontext(InProcess())  # noqa: E731
    return run_plainly(lambda: planned(job, change), engine, out=out, callback=NoCallback())


def state(job: Run) -> dict[str, tuple[str, int]]:
    """Path -> hash and time of every file."""
    files = [p for p in sorted(job.out.rglob("*")) if p.is_file() and p.name != ".lock"]
    return {
        str(p.relative_to(job.out)): (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns)
        for p in files
    }


def clips(job: Run) -> set[str]:
    """The recordings that have rows."""
    paths = sorted((job.out / "clips").rglob("*.parquet"))
    return {r for p in paths for r in pq.read_table(p, columns=["recording"])["recording"].to_pylist()}


def test_a_folder_is_taken_out_and_only_its_shards_are_remade(job: Run) -> None:
    before, whole = state(job), clips(job)
    lost = {name for name in whole if name.startswith("DemoGym/s03/")}
    assert lost
    result = changed(job, "DemoGym/s03")
    assert result is not None
    assert clips(job) == whole - lost
    rows = pq.read_table(job.out / "rejected.parquet").to_pylist()
    shown = {r["recording"]: r["detail"] for r in rows if r["reason"] == "excluded"}
    assert shown.keys() >= lost
    assert set(shown.values()) == {REASON}
    assert result.manifest["totals"]["rejected"]["excluded"] == len(shown)
    after = state(job)
    remade = {p for p in before if p.startswith("clips/") and after.get(p) != before[p]}
    assert 1 <= len(remade) == result.made < sum(p.startswith("clips/") for p in before)
    # The moments and counts are those of the rows that are left.
    assert result.manifest["totals"]["clips"] == len(clips(job))


def test_include_gives_back_every_byte(job: Run) -> None:
    before = job.files()
    changed(job, "DemoGym/*", "DemoStroll/s01")
    assert job.files() != before
    changed(job, "DemoStroll/s01", reason=None)
    assert set(exclusions.read(place(job.out)).values()) == {REASON}
    changed(job, "DemoGym", reason=None)
    assert job.files() == before


def test_shards_that_are_remade_keep_the_labels_of_a_table(
    archive: Path, bodies: Path, tmp_path: Path
) -> None:
    names = [path.relative_to(archive).with_suffix("") for path in archive.rglob("*_poses.npz")]
    table = tmp_path / "labels.csv"
    table.write_text("recording,style\n" + "".join(f"{name},calm\n" for name in names))
    job = settings(archive, bodies, tmp_path / "set", source={"labels": str(table)})
    job.plain()
    before = job.files()
    changed(job, "DemoGym/s03")
    styles = [pq.read_table(p, columns=["style"])["style"] for p in (job.out / "clips").rglob("*.parquet")]
    assert {style for column in styles for style in column.to_pylist()} == {"calm"}
    changed(job, "DemoGym", reason=None)
    assert job.files() == before


def test_the_same_command_twice_changes_nothing(job: Run) -> None:
    assert changed(job, "DemoGym/s03") is not None
    before = state(job)
    assert changed(job, "DemoGym/s03") is None
    assert changed(job, "DemoStroll/s01", reason=None) is None
    assert state(job) == before
    # Another reason for the same recording is a change.
    assert changed(job, "DemoGym/s03", reason="no consent") is not None
    assert "no consent" in pq.read_table(job.out / "rejected.parquet")["detail"].to_pylist()


def test_later_extractions_respect_it(job: Run, archive: Path, bodies: Path, tmp_path: Path) -> None:
    changed(job, "DemoGym/s03")
    before = job.files()
    job.plain()
    job.plain(prune=True)
    assert job.files() == before
    mirrored = settings(archive, bodies, job.out, motion={"mirror": True})
    mirrored.plain(overwrite=True)
    assert not any(name.startswith("DemoGym/s03/") for name in clips(mirrored))
    assert REASON in pq.read_table(job.out / "rejected.parquet")["detail"].to_pylist()
    # The history of runs does not matter: a fresh folder with the same list gets the same bytes.
    fresh = settings(archive, bodies, tmp_path / "fresh", motion={"mirror": True})
    fresh.plain()
    changed(fresh, "DemoGym/s03")
    assert fresh.files() == mirrored.files()


@pytest.mark.parametrize("how", ["exclude", "extract"])
def test_a_killed_change_is_resumed(job: Run, how: str, archive: Path, bodies: Path, tmp_path: Path) -> None:
    whole = settings(archive, bodies, tmp_path / "whole")
    whole.plain()
    changed(whole, "Demo*/s0?")

    class Killed(InProcess):
        def make(self, shards: Any, job: Any, **options: Any) -> Any:
            yield from super().make(shards[:1], job, **options)
            raise KeyboardInterrupt

    change, out = Change(("Demo*/s0?",), REASON), place(job.out)
    with pytest.raises(KeyboardInterrupt):
        run_plainly(
            lambda: planned(job, change), lambda: nullcontext(Killed()), out=out, callback=NoCallback()
        )
    assert not (job.out / manifest.NAME).exists()
    if how == "exclude":
        assert changed(job, "Demo*/s0?") is not None
    else:
        job.plain()
    assert job.files() == whole.files()


def test_without_the_archive_nothing_is_changed(job: Run, tmp_path: Path) -> None:
    before = state(job)
    receipts = [json.loads(p.read_text()) for p in (job.out / "receipts").iterdir()]
    one = next(r["inputs"][0]["name"] for r in receipts if len(r["inputs"]) > 2)
    shutil.copytree(job.archive, tmp_path / "half")
    for kept in list((tmp_path / "half").rglob("*.npz"))[1:]:
        kept.unlink()
    for archive in (tmp_path / "nowhere", tmp_path / "half"):
        moved = settings(archive, job.bodies, job.out)
        with pytest.raises(UserError, match=r"nowhere: no such folder|half no longer lists \d+ recording"):
            changed(moved, one)
    other = settings(job.archive, job.bodies, job.out, motion={"profile": "flowmimic"})
    with pytest.raises(UserError, match=r"motion.profile: was 'humanml3d'[\s\S]*--config and --override"):
        changed(other, one)
    assert state(job) == before


def test_shards_of_other_recordings_stay_whatever_has_become_of_their_files(job: Run, tmp_path: Path) -> None:
    """As after a copy of the archive that lost the times of its files."""
    copied = Path(shutil.copytree(job.archive, tmp_path / "copied"))
    for file in copied.rglob("*.npz"):
        os.utime(file, ns=(1, 1))
    before = state(job)
    result = changed(settings(copied, job.bodies, job.out), "DemoGym/s03")
    assert result is not None
    after = state(job)
    assert sum(after.get(p) != before[p] for p in before if p.startswith("clips/")) == result.made
    assert result.kept > result.made


def test_a_worker_that_outlives_its_run_does_not_bring_a_recording_back(job: Run) -> None:
    config = job.config()
    stale = prepare(config.source, config.body, config.motion, config.output)
    changed(job, "DemoGym/s03")
    before = job.files()
    shard = next(s for s in stale.shards if any("DemoGym/s03" in i.name for i in s.inputs))
    with pytest.raises(Replaced, match="changed what is excluded"):
        make(shard, stale.job())
    assert job.files() == before


def test_a_clips_id_means_its_recording(job: Run) -> None:
    name = sorted(clips(job))[0]
    changed(job, f"{name}@0~M")
    assert exclusions.read(place(job.out)) == {name: REASON}


@pytest.mark.parametrize(
    ("patterns", "reason", "words"),
    [
        (("CMU/01",), "x", r"holds no recording 'CMU/01'\. Expected names or folders such as 'Demo"),
        (("DemoGym", "CMU/01"), "x", "holds no recording 'CMU/01'"),
        (("CMU/01",), None, "holds no recording 'CMU/01'"),
        (("*",), "x", r"exclude all of its \d+ recordings"),
        (("DemoGym",), "  ", "at most 1,000 characters"),
        (("DemoGym",), "x" * 1001, "1,001 characters"),
    ],
)
def test_a_change_that_is_impossible_is_refused(
    job: Run, patterns: tuple[str, ...], reason: str | None, words: str
) -> None:
    before = state(job)
    with pytest.raises(UserError, match=words):
        changed(job, *patterns, reason=reason)
    assert state(job) == before


def test_a_folder_that_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no data set\. Expected one that `mocap-ray extract` wrote"):
        Change(("CMU",), "x").sources(place(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"version": 2, "excluded": {}}',
        '{"excluded": {"a": 1}}',
        '{"excluded": {"a": ""}}',
        '{"excluded": {"": "x"}}',
        '{"excluded": {"a": "' + "x" * 5000 + '"}}',
        '{"excluded": ' + "[" * 100_000,
        '{"excluded": ["a"], "more": 1}',
        "\udcff",
    ],
)
def test_a_damaged_list_is_one_sentence(job: Run, text: str) -> None:
    (job.out / exclusions.NAME).write_bytes(text.encode("utf-8", "surrogateescape"))
    before = state(job)
    for act in (lambda: changed(job, "DemoGym"), job.plain):
        with pytest.raises(UserError, match=r"excluded\.json: not a list of exclusions") as error:
            act()
        assert len(str(error.value)) < 400
    assert state(job) == before


def test_a_data_set_with_a_damaged_receipt_keeps_its_rows(job: Run) -> None:
    whole = clips(job)
    receipt = next(p for p in sorted((job.out / "receipts").iterdir()) if "s03" not in p.read_text())
    receipt.write_text("{half a receipt")
    changed(job, "DemoGym/s03")
    assert clips(job) == {name for name in whole if not name.startswith("DemoGym/s03/")}


def test_a_failed_remake_leaves_an_unfinished_data_set_that_resumes(job: Run) -> None:
    class Failing(InProcess):
        def make(self, shards: Any, job: Any, **options: Any) -> Any:
            for shard in shards:
                yield ShardReport(shard.name, ok=False, error="the disk does not answer")

    change, out = Change(("DemoGym/s03",), REASON), place(job.out)
    with pytest.raises(RunFailed, match="the disk does not answer"):
        run_plainly(
            lambda: planned(job, change), lambda: nullcontext(Failing()), out=out, callback=NoCallback()
        )
    changed(job, "DemoGym/s03")
    assert json.loads((job.out / manifest.NAME).read_text())["totals"]["rejected"]["excluded"]
