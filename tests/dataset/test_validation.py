"""`mocap-ray dataset validate`: a sound data set has no problems, and each kind of damage is found and named."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mocap_ray
from mocap_ray.cli import main as cli
from mocap_ray.dataset import schema
from mocap_ray.dataset.checks import Problem
from mocap_ray.dataset.validation import Validation, _rejected, validate
from mocap_ray.dataset.views import DataSetError
from mocap_ray.demo.archive import write_demo
from mocap_ray.demo.standin import write_standin
from tests.distributed.conftest import Run

Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bodies")
    write_standin(root, families=("smplh",), genders=("neutral",))
    return root


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("source") / "archive"
    write_demo(root, recordings=6)
    return root


@pytest.fixture(scope="module")
def sound(archive: Path, bodies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sound") / "set"
    run(archive, bodies, out)
    return out


def run(archive: Path, bodies: Path, out: Path, **extra: Any) -> Path:
    extra = {"motion": {"mirror": True}, "output": {"shard_mb": 1.5}, **extra}
    extra["source"] = {"split": "none", **extra.get("source", {})}
    Run(archive, bodies, out, extra=extra).plain()
    return out


@pytest.fixture
def damaged(sound: Path, tmp_path: Path) -> Path:
    """A copy of the data set, to be damaged."""
    return Path(shutil.copytree(sound, tmp_path / "set"))


def shard_of(root: Path, *, rows: int = 1) -> Path:
    """A shard with at least so many rows."""
    return next(
        p for p in sorted((root / "clips").rglob("*.parquet")) if pq.read_metadata(p).num_rows >= rows
    )


def rewrite(root: Path, change: Change, *, row: int = 0, hashes: bool = True) -> str:
    """Change one row of a shard, given as Python values; returns the id that it had.

    With `hashes`, the manifest gets the hash of the new file, as if the rows had been made so.
    """
    path = shard_of(root)
    table = pq.read_table(path, partitioning=None)
    values = table.to_pylist()
    name = str(values[row]["clip_id"])
    change(values[row])
    data = schema.to_parquet(pa.Table.from_pylist(values, schema=table.schema)).to_pybytes()
    path.write_bytes(data)
    if hashes:
        manifest = json.loads((root / "manifest.json").read_text())
        (entry,) = (s for s in manifest["shards"] if root / s["path"] == path)
        entry |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        (root / "manifest.json").write_text(json.dumps(manifest))
    return name


def checked(root: Path) -> Validation:
    return validate(mocap_ray.open(root))


def only(root: Path, check: str, level: str = "error") -> Problem:
    """The one problem of a data set, which is of this check."""
    found = checked(root).problems
    assert [(p.level, p.check) for p in found] == [(level, check)], found
    return found[0]


@pytest.mark.parametrize("motion", [{}, {"profile": "flowmimic"}, {"yaw": "reference"}, {"window": 20}])
def test_what_an_extraction_wrote_has_no_problems(
    archive: Path, bodies: Path, tmp_path: Path, motion: dict[str, Any]
) -> None:
    found = checked(run(archive, bodies, tmp_path / "set", motion={"mirror": True, **motion}))
    assert found.problems == ()
    ds = mocap_ray.open(tmp_path / "set")
    assert (found.shards, found.clips) == (len(ds.shards), len(ds))
    assert found.bytes == sum(s["bytes"] for s in ds.manifest["shards"])


def test_two_sources_have_no_problems(sound: Path, bodies: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(sound, tmp_path / "set"))
    second = tmp_path / "second"
    write_demo(second, recordings=3, seed=1, bad=False)
    named = {"name": "second", "dataset": "Second", "check_root": False}
    run(second, bodies, out, source=named)
    assert mocap_ray.open(out).sources == ("amass", "second")
    assert checked(out).problems == ()


def _nan(column: str) -> Change:
    def change(row: dict[str, Any]) -> None:
        values = np.array(row[column], np.float32)
        values[len(values) // 2, 1] = np.nan
        row[column] = values.tolist()

    return change


@pytest.mark.parametrize("column", ["features", "joints", "poses", "trans"])
def test_numbers_that_are_not_finite(damaged: Path, column: str) -> None:
    name = rewrite(damaged, _nan(column))
    problem = only(damaged, "finite")
    assert problem.clips == (name,)
    assert problem.detail == f"{column}: NaN or infinite"


def test_contacts_that_are_neither_0_nor_1(damaged: Path) -> None:
    def change(row: dict[str, Any]) -> None:
        row["features"][3][260] = 0.5

    name = rewrite(damaged, change)
    assert only(damaged, "contacts").clips == (name,)


@pytest.mark.parametrize("column", ["joints", "poses", "features"])
def test_lengths_that_do_not_fit(damaged: Path, column: str) -> None:
    def change(row: dict[str, Any]) -> None:
        row[column] = row[column][:-1]

    name = rewrite(damaged, change)
    problem = only(damaged, "lengths")
    assert problem.clips == (name,)
    assert problem.detail.startswith(f"{column}: not ")


@pytest.mark.parametrize(
    ("column", "at"), [("joints", 40), ("features", 40), ("features", 0), ("features", 3)]
)
def test_features_that_are_not_those_of_the_joints(damaged: Path, column: str, at: int) -> None:
    def change(row: dict[str, Any]) -> None:
        row[column][5][at] += 0.02

    name = rewrite(damaged, change)
    assert only(damaged, "decode").clips == (name,)


def test_ids_that_are_not_unique(damaged: Path) -> None:
    other = next(c.clip_id for c in mocap_ray.open(damaged).clips() if c.clip_id.endswith("~M"))

    def change(row: dict[str, Any]) -> None:
        row["clip_id"], row["recording"] = other, other.partition("@")[0]

    rewrite(damaged, change)
    assert only(damaged, "ids").clips == (other,)


def test_an_id_of_another_recording(damaged: Path) -> None:
    rewrite(damaged, lambda row: row.update(clip_id="elsewhere@0"))
    problem = only(damaged, "ids")
    assert problem.clips == ("elsewhere@0",)
    assert problem.detail == "clip_id: not that of its recording"


def test_a_file_that_was_changed(damaged: Path) -> None:
    rewrite(damaged, lambda row: row.update(action="sleep"), hashes=False)
    problem = only(damaged, "hash")
    assert damaged / problem.where == shard_of(damaged)


@pytest.mark.parametrize(
    ("text", "check"),
    [(None, ["missing"]), (b"", ["hash", "unreadable"]), (b"PAR1" * 9, ["hash", "unreadable"])],
)
def test_a_file_that_is_gone_or_is_none(damaged: Path, text: bytes | None, check: list[str]) -> None:
    path = shard_of(damaged)
    path.unlink() if text is None else path.write_bytes(text)
    found = [p for p in checked(damaged).problems if damaged / p.where == path]
    assert [p.check for p in found] == check


def test_a_flipped_byte_anywhere_is_found(damaged: Path) -> None:
    path = shard_of(damaged)
    sound = path.read_bytes()
    for at in np.random.default_rng(0).integers(0, len(sound), 12):
        data = bytearray(sound)
        data[at] ^= 0x10
        path.write_bytes(data)
        assert checked(damaged).errors, f"byte {at}"


def test_damage_in_the_names_of_columns_is_found_by_the_checks_and_by_readers(damaged: Path) -> None:
    path = shard_of(damaged)
    sound = path.read_bytes()
    footer = len(sound) - 8 - int.from_bytes(sound[-8:-4], "little")
    for name in (b"clip_id", b"features", b"mocap_ray.source_hash"):
        data = bytearray(sound)
        data[sound.index(name, footer)] ^= 0x80  # no longer UTF-8
        path.write_bytes(data)
        found = [p.check for p in checked(damaged).problems if damaged / p.where == path]
        assert found[0] == "hash"
        if not name.startswith(b"mocap"):
            assert found == ["hash", "unreadable"]
            with pytest.raises(DataSetError, match="damaged"):
                list(mocap_ray.open(damaged).clips())


@pytest.mark.parametrize("text", [None, b"", b"PAR1" * 9, b"half", b"no reason"])
def test_a_damaged_list_of_rejections(damaged: Path, text: bytes | None) -> None:
    path = damaged / "rejected.parquet"
    if text is None:
        path.unlink()
    elif text == b"half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif text == b"no reason":
        pq.write_table(pq.read_table(path).drop_columns(["reason"]), path)
    else:
        path.write_bytes(text)
    assert only(damaged, "rejected").where == "rejected.parquet"


def test_no_flipped_byte_of_the_rejections_ends_the_checks(damaged: Path) -> None:
    ds, path = mocap_ray.open(damaged), damaged / "rejected.parquet"
    sound = path.read_bytes()
    seen = 0
    for at in range(0, len(sound), 7):
        for bit in (0x10, 0x80):
            data = bytearray(sound)
            data[at] ^= bit
            path.write_bytes(data)
            seen += bool(list(_rejected(ds, [])))  # any exception is a bug
    assert seen


def test_another_schema(damaged: Path) -> None:
    path = shard_of(damaged)
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.drop_columns(["domain"]), path)
    found = {p.check: p.detail for p in checked(damaged).problems}
    assert found["schema"] == "the column domain is missing; expected string"


def test_another_recipe(damaged: Path) -> None:
    path = damaged / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["recipe"]["sources"]["amass"]["fps"] = 60
    path.write_text(json.dumps(manifest))
    assert {p.check for p in checked(damaged).problems} == {"recipe"}


def test_counts_and_rejections_that_are_others(damaged: Path) -> None:
    path = damaged / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["counts"][0]["clips"] += 1
    manifest["totals"]["rejected"]["teleport"] = 7
    path.write_text(json.dumps(manifest))
    assert [p.check for p in checked(damaged).problems] == ["counts", "rejected"]


@pytest.mark.parametrize("key", ["clips", "frames"])
def test_counts_of_a_source_and_of_all_that_are_others(damaged: Path, key: str) -> None:
    path = damaged / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["sources"][0][key] += 1
    manifest["totals"][key] -= 1
    path.write_text(json.dumps(manifest))
    found = checked(damaged).problems
    assert [p.check for p in found] == ["counts", "counts"]
    assert [p.detail.partition(":")[0] for p in found] == ["totals", "amass"]


def test_a_stray_file_is_a_warning(damaged: Path) -> None:
    path = shard_of(damaged)
    shutil.copy(path, path.with_name("0123456789abcdef.parquet"))
    problem = only(damaged, "stray", "warning")
    assert problem.where.endswith("0123456789abcdef.parquet")


def test_subjects_in_two_splits(archive: Path, bodies: Path, tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "train.txt").write_text("*\n")
    (lists / "val.txt").write_text("DemoStroll/s01/001_walk_poses\n")
    more = Path(shutil.copytree(archive, tmp_path / "archive"))
    take = more / "DemoStroll" / "s01" / "001_walk_poses.npz"
    write_demo(tmp_path / "other", recordings=14, bad=False)
    second = next((tmp_path / "other").rglob("013_*.npz"))
    shutil.copy(second, take.with_name(second.name))
    root = run(more, bodies, tmp_path / "set", source={"split": str(lists)})
    problem = only(root, "subjects", "warning")
    assert (
        "1 subject is in several splits (train and val): DemoStroll/s01; asked for by the lists of"
        in problem.detail
    )
    # Under `subject`, nothing asks for it.
    path = root / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["recipe"]["sources"]["amass"]["split"] = "subject"
    path.write_text(json.dumps(manifest))
    found = {(p.level, p.check) for p in checked(root).problems}
    assert ("error", "subjects") in found


def test_the_same_take_under_two_names(archive: Path, bodies: Path, tmp_path: Path) -> None:
    more = Path(shutil.copytree(archive, tmp_path / "archive"))
    take = more / "DemoGym" / "s03" / "003_run_in_place_poses.npz"
    other = more / "DemoPark" / "s02" / "twin_poses.npz"
    shutil.copy(take, other)
    root = run(more, bodies, tmp_path / "set")
    problem = only(root, "duplicates", "warning")
    assert problem.where == "DemoGym/s03/003_run_in_place_poses"
    assert problem.detail == "the same motion as DemoPark/s02/twin_poses"
    assert len(problem.clips) == 2


def test_an_old_data_set_is_checked_too(sound: Path, tmp_path: Path) -> None:
    from tests.dataset.test_sources import downgrade

    out = Path(shutil.copytree(sound, tmp_path / "set"))
    downgrade(out)
    assert checked(out).problems == ()


def test_the_command_prints_writes_json_and_fails(
    damaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    words = ["dataset", "validate", str(damaged), "--json", str(report)]
    with pytest.raises(SystemExit) as done:
        cli.main(words)
    assert done.value.code == 0
    assert "no problems" in capsys.readouterr().out
    name = rewrite(damaged, _nan("features"))
    with pytest.raises(SystemExit) as done:
        cli.main(words)
    assert done.value.code == 1
    printed = capsys.readouterr().out
    assert name in printed
    assert "1 error, 0 warnings" in printed
    found = json.loads(report.read_text())
    assert (found["errors"], found["problems"][0]["clips"]) == (1, [name])


def test_recordings_of_two_sources_are_an_error(damaged: Path) -> None:
    path = damaged / "manifest.json"
    manifest = json.loads(path.read_text())
    ours = manifest["recipe"]["sources"]
    ours["other"] = ours["amass"]
    first = manifest["shards"][0]
    first["source"] = "other"
    table = pq.read_table(damaged / first["path"], partitioning=None)
    shutil.copy(damaged / first["path"], (damaged / first["path"]).with_name("twice.parquet"))
    manifest["shards"].append(
        {**first, "path": first["path"].rpartition("/")[0] + "/twice.parquet", "source": "amass"}
    )
    path.write_text(json.dumps(manifest))
    ids = [p.detail for p in checked(damaged).problems if p.check == "ids"]
    assert "clip_id: not unique" in ids
    names = sorted(set(table["recording"].to_pylist()))
    assert any(names[0] in text and "of several sources" in text for text in ids)
