"""Exported folders hold what trainers read; killed exports resume, and exports are never mixed."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mocap_ray.dataset import export, reader
from mocap_ray.dataset.views import DataSetError
from tests.dataset.made import make


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def index_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "index.csv").open(newline="") as f:
        return list(csv.DictReader(f))


def test_the_humanml3d_folder_reads_back_as_trainers_read_it(tmp_path: Path) -> None:
    clips = {c.clip_id: c for c in make(tmp_path / "set")}
    seen: list[tuple[int, int]] = []
    done = export.export_humanml3d(
        tmp_path / "set", tmp_path / "out", progress=lambda at, total: seen.append((at, total))
    )
    out = tmp_path / "out"
    assert seen == [(k + 1, 18) for k in range(18)]
    assert (done.clips, done.kept) == (18, 0)
    assert done.written == len(contents(out))
    originals = sorted({c.removesuffix("~M") for c in clips})
    for row in index_of(out):
        clip = clips[row["clip_id"]]
        assert (
            row["name"]
            == ("M" if clip.clip_id.endswith("~M") else "")
            + f"{originals.index(row['clip_id'].removesuffix('~M')):06d}"
        )
        vectors = np.load(out / "new_joint_vecs" / f"{row['name']}.npy")
        assert vectors.dtype == np.float32
        np.testing.assert_array_equal(vectors, clip.features)
        joints = np.load(out / "new_joints" / f"{row['name']}.npy")
        assert joints.dtype == np.float32
        np.testing.assert_allclose(joints, clip.joints[:-1], atol=1e-5)
        assert int(row["frames"]) == len(vectors)
        for line in (out / "texts" / f"{row['name']}.txt").read_text().splitlines():
            caption, pairs, start, end = line.split("#")
            assert caption
            assert (float(start), float(end)) == (0.0, 0.0)
            assert all(len(pair.split("/")) == 2 and pair.endswith("/OTHER") for pair in pairs.split(" "))
    lists = {
        name: (out / f"{name}.txt").read_text().split()
        for name in ("train", "val", "test", "train_val", "all")
    }
    assert [len(v) for v in lists.values()] == [10, 4, 4, 14, 18]
    assert sorted(lists["train"] + lists["val"] + lists["test"]) == sorted(lists["all"])
    mean, std = np.load(out / "Mean.npy"), np.load(out / "Std.npy")
    assert mean.shape == std.shape == (263,)
    assert mean.dtype == std.dtype == np.float32
    assert np.isfinite((vectors - mean) / std).all()


def test_captions_come_from_texts_then_action_then_a_placeholder(tmp_path: Path) -> None:
    make(tmp_path / "set")
    done = export.export_humanml3d(tmp_path / "set", tmp_path / "out")
    rows = index_of(tmp_path / "out")
    first = {r["caption_source"]: (tmp_path / "out" / "texts" / f"{r['name']}.txt").read_text() for r in rows}
    assert "a 2 w/alker#a/OTHER w/OTHER alker/OTHER#0.0#0.0\n" in first["texts"]
    assert first["action"] == "walk#walk/OTHER#0.0#0.0\n"
    assert first["placeholder"] == "a person moves#a/OTHER person/OTHER moves/OTHER#0.0#0.0\n"
    assert done.placeholders == sum(r["caption_source"] == "placeholder" for r in rows) > 0


def test_running_again_writes_nothing_and_repairs_what_is_missing(tmp_path: Path) -> None:
    make(tmp_path / "set")
    out = tmp_path / "out"
    export.export_humanml3d(tmp_path / "set", out)
    before = contents(out)
    again = export.export_humanml3d(tmp_path / "set", out)
    assert again.written == 0
    (out / "new_joints" / "000002.npy").unlink()
    (out / "new_joint_vecs" / "M000001.npy").write_bytes(b"")
    (out / "train.txt").write_text("000000\n")
    (out / "texts" / ".tmp-123").write_text("half")
    assert export.export_humanml3d(tmp_path / "set", out).written == 3
    assert contents(out) == before


def test_a_flowmimic_data_set_is_refused_and_the_error_says_what_to_do(tmp_path: Path) -> None:
    make(tmp_path / "set", profile="flowmimic")
    with pytest.raises(DataSetError, match=r"profile is flowmimic.*motion.profile=humanml3d.*export npy"):
        export.export_humanml3d(tmp_path / "set", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_foreign_folders_and_other_data_sets_are_refused(tmp_path: Path) -> None:
    make(tmp_path / "set")
    make(tmp_path / "other", clips={("CMU", "train"): 1})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    with pytest.raises(DataSetError, match=r"no export wrote \(thesis.tex\)"):
        export.export_npy(tmp_path / "set", tmp_path / "mine")
    assert contents(tmp_path / "mine") == {"thesis.tex": b"precious"}
    export.export_npy(tmp_path / "set", tmp_path / "out")
    with pytest.raises(DataSetError, match="an export of another data set"):
        export.export_npy(tmp_path / "other", tmp_path / "out")
    with pytest.raises(DataSetError, match="an export of kind npy, and this one is humanml3d"):
        export.export_humanml3d(tmp_path / "set", tmp_path / "out")


@pytest.mark.parametrize("columns", [("features", "joints"), ("features",)])
def test_npy_files_are_named_by_clip_id(tmp_path: Path, columns: tuple[str, ...]) -> None:
    clips = make(tmp_path / "set", columns=columns)
    out = tmp_path / "out"
    export.export_npy(tmp_path / "set", out)
    for clip in clips:
        np.testing.assert_array_equal(np.load(out / "features" / f"{clip.clip_id}.npy"), clip.features)
        joints = np.load(out / "joints" / f"{clip.clip_id}.npy")
        if "joints" in columns:
            np.testing.assert_array_equal(joints, clip.joints)
        else:
            np.testing.assert_allclose(joints, clip.joints[:-1], atol=1e-5)
    assert [r["name"] for r in index_of(out)] == sorted(c.clip_id for c in clips)
    np.testing.assert_array_equal(np.load(out / "std.npy"), reader.open(tmp_path / "set").statistics.std)
    assert export.export_npy(tmp_path / "set", out).written == 0


@pytest.mark.parametrize("clip_id", ["../up", "/etc/x", "a//b", "a/./b", "a\\b", ""])
def test_a_clip_id_that_leaves_the_folder_is_refused(clip_id: str) -> None:
    with pytest.raises(DataSetError, match="not a safe path"):
        export.safe(clip_id)


PROGRAM = """
import sys, time
from mocap_ray.dataset.export import export_npy
def progress(done, total):
    print(done, flush=True)
    time.sleep(0.02)
export_npy(sys.argv[1], sys.argv[2], joints=False, progress=progress)
"""


def test_a_killed_export_resumes_to_the_same_files(tmp_path: Path) -> None:
    make(tmp_path / "set")
    export.export_npy(tmp_path / "set", tmp_path / "whole", joints=False)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "set"), str(tmp_path / "out")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    while process.stdout.readline() != b"7\n":
        assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    (tmp_path / "out" / "features" / ".tmp-0123").write_bytes(b"half a file")  # left by a kill during a write
    left = contents(tmp_path / "out")
    whole = contents(tmp_path / "whole")
    assert 7 < len(left) < len(whole)
    assert "index.csv" not in left
    done = export.export_npy(tmp_path / "set", tmp_path / "out", joints=False)
    assert contents(tmp_path / "out") == whole
    assert done.kept >= 7


FULL = """
import resource, sys
from mocap_ray.dataset.export import export_npy
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # larger files fail as on a full disk
try:
    export_npy(sys.argv[1], sys.argv[2], joints=False)
except OSError as error:
    sys.exit(str(error))
"""


def test_an_export_resumes_after_a_full_disk(tmp_path: Path) -> None:
    make(tmp_path / "set")
    export.export_npy(tmp_path / "set", tmp_path / "whole", joints=False)
    command = [sys.executable, "-c", FULL, str(tmp_path / "set"), str(tmp_path / "out")]
    failed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert failed.returncode == 1
    assert "Free some space and run the same command again" in failed.stderr
    left = contents(tmp_path / "out")
    whole = contents(tmp_path / "whole")
    assert 0 < len(left) < len(whole)
    assert all(whole[name] == data for name, data in left.items())  # no partial file
    export.export_npy(tmp_path / "set", tmp_path / "out", joints=False)
    assert contents(tmp_path / "out") == whole
