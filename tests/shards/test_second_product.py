"""Single-frame poses get every feature of a run that clips have, because the generic run knows neither."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mocap_ray.demo.archive import write_demo
from mocap_ray.errors import UserError
from mocap_ray.lock import Locked, lock
from mocap_ray.records import Recording, Rejection
from mocap_ray.shards import receipts, recipe
from mocap_ray.shards.layout import Layout
from mocap_ray.shards.making import make
from mocap_ray.shards.reports import PROBES, ShardReport, find_killers
from mocap_ray.shards.running import InProcess, NoCallback, RunFailed, run
from mocap_ray.storage import place
from tests.shards.poses import EVERY, PoseProduct, PoseReason, PoseSums, ScaledPoses, make_poses, prepared


@pytest.fixture(scope="session")
def _archive_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pose_archive")
    write_demo(root, recordings=12)
    return root


@pytest.fixture
def archive(_archive_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(_archive_once, tmp_path / "archive"))


def product(archive: Path) -> PoseProduct:
    return PoseProduct(place(archive))


def files(out: Path) -> dict[str, str]:
    """Path -> sha256 of the files that must be equal between runs, with receipts, as the archive is the same."""
    return {
        str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(out.rglob("*"))
        if p.is_file() and p.relative_to(out).parts[0] not in ("_runs", ".lock")
    }


def test_one_row_per_pose_and_a_manifest_in_its_own_words(archive: Path, tmp_path: Path) -> None:
    made = make_poses(product(archive), tmp_path / "out").manifest
    rows = [
        r
        for p in sorted((tmp_path / "out" / "poses").rglob("*.parquet"))
        for r in pq.read_table(p).to_pylist()
    ]
    assert made["totals"]["poses"] == made["totals"]["rows"] == len(rows) > 100
    assert {len(r["pose"]) for r in rows} == {156}
    assert all(r["frame"] % EVERY == 0 for r in rows)
    assert made["totals"]["recordings"] == len(list(archive.rglob("*.npz")))
    assert {c["split"] for c in made["counts"]} == {"train", "val"}
    assert made["totals"]["highest"] == max(c["highest"] for c in made["counts"])
    assert sum(c["poses"] for c in made["counts"]) == len(rows)
    schema = pq.read_schema(next((tmp_path / "out" / "poses").rglob("*.parquet")))
    origin = prepared(product(archive), place(tmp_path / "out")).recipe.origin
    for key, value in asdict(origin).items():
        assert schema.metadata[f"mocap_ray.{key}".encode()].decode() == value
    assert [row["source"] for row in made["sources"]] == ["poses"]
    assert made["sources"][0]["rows"] == made["totals"]["rows"]


def test_rejections_by_name_and_reason_in_a_file_with_its_own_keys(archive: Path, tmp_path: Path) -> None:
    make_poses(product(archive), tmp_path / "out")
    table = pq.read_table(tmp_path / "out" / "rejected.parquet")
    assert table.column_names == ["source", "split", "recording", "frame", "reason", "detail"]
    lost = {r["recording"].rpartition("/")[2]: r["reason"] for r in table.to_pylist()}
    assert lost["shape"] == lost["903_cut_short_poses"] == "no_motion"
    # A take that teleports still has poses: each product decides what is unusable.
    assert "901_teleport_poses" not in lost


def test_an_unfinished_run_goes_on_and_leaves_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    whole = make_poses(product(archive), tmp_path / "whole")
    assert whole.made > 3
    out = place(tmp_path / "parts")
    build = prepared(product(archive), out)
    recipe.begin(out, build.recipe)
    for shard in build.todo[:2]:  # and killed here
        make(shard, build.job())
    again = make_poses(product(archive), tmp_path / "parts")
    assert (again.made, again.kept) == (whole.made - 2, 2)
    assert files(tmp_path / "parts") == files(tmp_path / "whole")
    third = make_poses(product(archive), tmp_path / "parts")
    assert (third.made, third.kept) == (0, whole.made)


def test_new_and_changed_inputs_are_processed_and_superseded_files_removed(
    archive: Path, tmp_path: Path
) -> None:
    first = make_poses(product(archive), tmp_path / "out")
    source = sorted(archive.rglob("0*_poses.npz"))
    # So small that it joins the shard of its neighbour.
    shutil.copy(next(archive.rglob("shape.npz")), source[2].with_name("zz_new_poses.npz"))
    os.utime(source[-1], ns=(1, 1))
    second = make_poses(product(archive), tmp_path / "out")
    assert 1 < second.made < first.made
    assert second.removed == 2  # a file and its receipt
    make_poses(product(archive), tmp_path / "fresh")
    assert files(tmp_path / "out") == files(tmp_path / "fresh")


def test_receipts_come_back_as_they_were_and_foreign_ones_prove_nothing(
    archive: Path, tmp_path: Path
) -> None:
    out = place(tmp_path / "out")
    build = prepared(product(archive), out)
    made = {s.name: make(s, build.job()) for s in build.shards}
    layout = build.product.layout
    assert receipts.read_all(out, layout) == made
    path = tmp_path / "out" / "receipts" / f"{build.shards[0].name}.json"
    values = json.loads(path.read_text())
    for broken in ({**values, "new": 1}, {k: v for k, v in values.items() if k != "highest"}):
        path.write_text(json.dumps(broken))
        assert receipts.read_all(out, layout).keys() == made.keys() - {build.shards[0].name}
    path.write_text("{half a rec")
    assert build.shards[0].name not in receipts.read_all(out, layout)


def test_another_recipe_and_a_second_run_at_once_are_refused(archive: Path, tmp_path: Path) -> None:
    make_poses(product(archive), tmp_path / "out")
    (tmp_path / "out" / "recipe.json").write_text('{"product": "poses", "sources": {"poses": {"every": 60}}}')
    with pytest.raises(UserError, match=r"every: was 60, is now 30[\s\S]*--overwrite"):
        make_poses(product(archive), tmp_path / "out")
    with lock(place(tmp_path / "used"), what="data set"), pytest.raises(Locked):
        make_poses(product(archive), tmp_path / "used")


def test_a_bug_names_its_input_rejects_nothing_and_shows_its_traceback(archive: Path, tmp_path: Path) -> None:
    source = sorted(archive.rglob("0*_poses.npz"))[0]
    shutil.copy(source, source.with_name("zz_bug_poses.npz"))
    with pytest.raises(RunFailed, match=r"1 of .* shards could not be made") as failed:
        make_poses(product(archive), tmp_path / "out")
    text = str(failed.value)
    assert "zz_bug_poses.npz: ValueError: an unexpected error in a library" in text
    assert "Traceback (most recent call last)" in text
    assert "in _spring" in text
    assert not (tmp_path / "out" / "manifest.json").exists()
    source.with_name("zz_bug_poses.npz").unlink()
    # The other shards were made, and are kept.
    result = make_poses(product(archive), tmp_path / "out")
    assert result.kept > 1
    lost = pq.read_table(tmp_path / "out" / "rejected.parquet").column("recording").to_pylist()
    assert not any("bug" in name for name in lost)


def test_an_unreadable_input_fails_its_shard_and_never_becomes_a_rejection(
    archive: Path, tmp_path: Path
) -> None:
    source = sorted(archive.rglob("0*_poses.npz"))[0]
    shutil.copy(source, source.with_name("zz_broken_poses.npz"))
    with pytest.raises(
        RunFailed, match=r"reading .*zz_broken_poses\.npz: .*the disk does not answer \(3 attempts\)"
    ):
        make_poses(product(archive), tmp_path / "out")


def test_strict_fails_at_the_first_rejection(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="no_motion"):
        make_poses(product(archive), tmp_path / "out", strict=True)


def test_a_run_of_only_rejections_fails(tmp_path: Path) -> None:
    folder = tmp_path / "archive" / "Set" / "s1"
    folder.mkdir(parents=True)
    (folder / "a_poses.npz").write_bytes(b"no zip")
    with pytest.raises(RunFailed, match=r"every recording was rejected \(1 rejection\)"):
        make_poses(product(tmp_path / "archive"), tmp_path / "out")


def test_a_reason_outside_the_closed_list_is_a_bug(archive: Path, tmp_path: Path) -> None:
    from mocap_ray.motion.clip import Reason

    class Loose(PoseProduct):
        def process(self, input: Recording) -> list[Any]:
            return [Rejection(input, Reason.TELEPORT, "not ours")]

    with pytest.raises(RunFailed, match=r"is not a reason of PoseReason"):
        make_poses(Loose(place(archive)), tmp_path / "out", limit=1)


def test_a_closed_list_contains_what_every_product_needs() -> None:
    from enum import StrEnum

    class Short(StrEnum):
        UNREADABLE = "unreadable"

    with pytest.raises(TypeError, match="Short lacks excluded, worker_died"):
        Layout(folder="x", keys=(), reasons=Short, sums=PoseSums)


class Dying(InProcess):
    """An engine whose workers die of some inputs: like a real one, it reports nothing for their shards."""

    def __init__(self, killing: str) -> None:
        self.killing = killing
        self.probes = 0

    def make(self, shards: Any, job: Any, *, per_task: int, dead: Any) -> Any:
        for shard in shards:
            if not any(self.killing in i.name and i.name not in dead for i in shard.inputs):
                yield from super().make([shard], job, per_task=per_task, dead=dead)

    def dying(self, inputs: Any, job: Any) -> set[str]:
        self.probes += 1
        return {i.name for i in inputs if self.killing in i.name}


class Notes(NoCallback):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def on_note(self, text: str) -> None:
        self.notes.append(text)


def test_an_input_that_kills_its_worker_is_found_and_rejected(archive: Path, tmp_path: Path) -> None:
    from contextlib import nullcontext

    engine, notes, out = Dying("004_"), Notes(), place(tmp_path / "out")
    run(
        lambda: prepared(product(archive), out),
        lambda: nullcontext(engine),
        out=out,
        callback=notes,
    )
    lost = {r["recording"]: r for r in pq.read_table(tmp_path / "out" / "rejected.parquet").to_pylist()}
    (name,) = (n for n in lost if "/004_" in n)
    assert lost[name]["reason"] == PoseReason.WORKER_DIED
    assert "dies every time" in lost[name]["detail"]
    assert f"{name}: kills the process that reads it; rejected" in notes.notes
    assert engine.probes == PROBES


def test_an_input_that_kills_only_once_is_not_rejected() -> None:
    inputs = [Recording("D", f"D/{k}", "D/1", f"D/{k}.npz", 1, "1") for k in range(4)]
    answers = iter([{"D/1", "D/2"}, {"D/2"}])
    assert find_killers(inputs, lambda suspects: next(answers)).keys() == {"D/2"}


def test_setup_is_called_once_before_the_first_shard(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "scale").write_text("2.0")
    (tmp_path / "marks").mkdir()
    scaled = ScaledPoses(place(archive), model=str(tmp_path / "scale"), marks=str(tmp_path / "marks"))
    assert scaled.needs_setup
    assert not product(archive).needs_setup
    assert make_poses(scaled, tmp_path / "twice").made > 1
    assert len(list((tmp_path / "marks").iterdir())) == 1
    make_poses(product(archive), tmp_path / "once")
    read = {
        root: [
            v
            for p in sorted((tmp_path / root / "poses").rglob("*.parquet"))
            for pose in pq.read_table(p)["pose"].to_pylist()
            for v in pose
        ]
        for root in ("twice", "once")
    }
    assert read["twice"] == pytest.approx([2 * v for v in read["once"]], abs=1e-6)


def test_reports_are_logged_under_the_products_names() -> None:
    report = ShardReport("s", ok=True, inputs=3, rows=40, amount=40, rejected=1)
    named = report.named(PoseProduct.layout)
    assert (named["recordings"], named["rows"], named["poses"]) == (3, 40, 40)
    assert not named.keys() & {"inputs", "amount"}


WORDS = re.compile(
    r"(?i)motion|clip|pose|joint|skelet|frame|smpl|amass|body|bodies|mocap(?![-_]ray)|feature|gender|betas|recording"
)


@pytest.mark.parametrize(
    "file",
    sorted((Path(__file__).resolve().parents[2] / "mocap_ray" / "shards").glob("*.py")),
    ids=lambda f: f.name,
)
def test_the_code_of_shards_names_no_motion(file: Path) -> None:
    """Names and strings of the code; docstrings may give examples."""
    tree = ast.parse(file.read_text())
    said = [
        n.id if isinstance(n, ast.Name) else n.attr if isinstance(n, ast.Attribute) else n.arg
        for n in ast.walk(tree)
        if isinstance(n, ast.Name | ast.Attribute | ast.arg)
    ]
    said += [n.name for n in ast.walk(tree) if isinstance(n, ast.ClassDef | ast.FunctionDef)]
    docs = {
        id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)
    }
    said += [
        n.value
        for n in ast.walk(tree)
        if isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in docs
    ]
    assert [word for word in said if WORDS.search(word)] == []
