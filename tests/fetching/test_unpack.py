"""Unpacking: all or nothing of an archive, resumable, in parallel."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mocap_ray.errors import UserError
from mocap_ray.fetching import unpack as unpack_module
from mocap_ray.fetching.catalogue import load_catalogue
from mocap_ray.fetching.placing import BodyPlacing
from mocap_ray.fetching.unpack import archives_in, unpack_all
from tests.fetching.archives import npz, tar, zipped

CMU = {"CMU/01/01_01_poses.npz": npz(seed=1), "CMU/02/02_01_poses.npz": npz(seed=2), "LICENSE.txt": b"terms"}
SFU = {"./SFU/0005/walk_poses.npz": npz(seed=3)}


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    folder = tmp_path / "packed"
    folder.mkdir()
    (folder / "CMU.tar.bz2").write_bytes(tar(CMU))
    (folder / "SFU.tar.xz").write_bytes(tar(SFU, "xz"))
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files if ".unpacked" not in p.parts}


EXPECTED = {
    **{k: v for k, v in CMU.items() if k != "LICENSE.txt"},
    "CMU/LICENSE.txt": b"terms",
    "SFU/0005/walk_poses.npz": SFU["./SFU/0005/walk_poses.npz"],
}


@pytest.mark.parametrize("workers", [1, 2])
def test_archives_are_unpacked_side_by_side(packed: Path, tmp_path: Path, workers: int) -> None:
    shares: dict[str, float] = {}
    results = unpack_all(
        archives_in([packed]),
        tmp_path / "out",
        workers=workers,
        progress=lambda path, share: shares.__setitem__(path.name, share),
    )
    assert [(r.archive.name, r.files, r.before, r.error) for r in results] == [
        ("CMU.tar.bz2", 3, False, ""),
        ("SFU.tar.xz", 1, False, ""),
    ]
    assert tree(tmp_path / "out") == EXPECTED
    if workers == 1:
        assert shares == {"CMU.tar.bz2": 1.0, "SFU.tar.xz": 1.0}


def test_a_second_run_writes_nothing(packed: Path, tmp_path: Path) -> None:
    unpack_all(archives_in([packed]), tmp_path / "out")
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")}
    again = unpack_all(archives_in([packed]), tmp_path / "out")
    assert all(r.before for r in again)
    assert times == {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")}


def test_files_have_the_times_of_the_archive(packed: Path, tmp_path: Path) -> None:
    """So an extraction finds the same fingerprints after unpacking again."""
    unpack_all(archives_in([packed]), tmp_path / "out")
    assert os.stat(tmp_path / "out/CMU/01/01_01_poses.npz").st_mtime == 1_500_000_000


def test_an_interrupted_run_continues(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, copied = tmp_path / "out", unpack_module.shutil.copyfileobj

    def interrupt(source: object, target: object, size: int) -> None:
        if (out / "CMU/01/01_01_poses.npz").exists():
            raise KeyboardInterrupt
        copied(source, target, size)  # type: ignore[arg-type]

    monkeypatch.setattr(unpack_module.shutil, "copyfileobj", interrupt)
    with pytest.raises(KeyboardInterrupt):
        unpack_all(archives_in([packed]), out)
    assert list(tree(out)) == ["CMU/01/01_01_poses.npz"], "no temporary file stays"
    first = (out / "CMU/01/01_01_poses.npz").stat().st_ino
    monkeypatch.undo()
    assert not any(r.error or r.before for r in unpack_all(archives_in([packed]), out))
    assert tree(out) == EXPECTED
    assert (out / "CMU/01/01_01_poses.npz").stat().st_ino == first, "what was there is not written again"


def test_a_removed_file_is_restored(packed: Path, tmp_path: Path) -> None:
    unpack_all(archives_in([packed]), tmp_path / "out")
    (tmp_path / "out/CMU/02/02_01_poses.npz").unlink()
    results = unpack_all(archives_in([packed]), tmp_path / "out")
    assert [r.before for r in results] == [False, True]
    assert tree(tmp_path / "out") == EXPECTED


def test_a_file_of_another_release_is_not_replaced(packed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "CMU/02").mkdir(parents=True)
    (out / "CMU/02/02_01_poses.npz").write_bytes(b"another")
    results = unpack_all(archives_in([packed]), out)
    assert "7 bytes" in results[0].error
    assert "--overwrite" in results[0].error
    assert results[1].error == ""
    assert sorted(tree(out)) == ["CMU/02/02_01_poses.npz", "SFU/0005/walk_poses.npz"], "nothing of CMU"
    unpack_all(archives_in([packed]), out, overwrite=True)
    assert tree(out) == EXPECTED


def test_nothing_of_a_hostile_or_damaged_archive_is_written(packed: Path, tmp_path: Path) -> None:
    (packed / "CMU.tar.bz2").write_bytes(tar({**CMU, "CMU/../../../evil": b"x"}))
    (packed / "KIT.tar.bz2").write_bytes(tar({"KIT/3/a_poses.npz": npz()})[:-9])
    (packed / "HDM05.tar.bz2").write_bytes(tar({".hidden/a": b"x"}))
    errors = {r.archive.name: r.error for r in unpack_all(archives_in([packed]), tmp_path / "out")}
    assert "would leave the folder" in errors["CMU.tar.bz2"]
    assert "cut short or damaged" in errors["KIT.tar.bz2"]
    assert "hidden" in errors["HDM05.tar.bz2"]
    assert list(tree(tmp_path / "out")) == ["SFU/0005/walk_poses.npz"]
    assert not (tmp_path / "evil").exists()


def test_the_space_on_the_disk_is_checked_first(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpack_module, "SPARE", 1 << 60)
    results = unpack_all(archives_in([packed]), tmp_path / "out")
    assert all("Free some space" in r.error for r in results)
    assert tree(tmp_path / "out") == {}


def test_body_models_go_where_they_are_looked_for(tmp_path: Path) -> None:
    bodies = load_catalogue().bodies
    files = {
        "smplx": (
            "models_smplx_v1_1.zip",
            zipped({"models/smplx/SMPLX_NEUTRAL.npz": b"n", "models/x.pkl": b"p"}),
        ),
        "smplh": ("smplh.tar.xz", tar({"./female/model.npz": b"f", "./info.txt": b"i"}, "xz")),
        "smpl": (
            "SMPL_python_v.1.1.0.zip",
            zipped(
                {"SMPL_python_v.1.1.0/smpl/models/basicmodel_f_lbs_10_207_0_v1.1.0.pkl": b"p", "a.py": b""}
            ),
        ),
    }
    for family, (name, data) in files.items():
        (tmp_path / name).write_bytes(data)
        body = next(b for f, b in bodies.items() if f == family)
        (result,) = unpack_all([tmp_path / name], tmp_path / "bodies", placing=BodyPlacing(body))
        assert result.error == ""
    from mocap_ray.body.files import find

    assert sorted(find(tmp_path / "bodies")) == [
        ("smpl", "female"),
        ("smplh", "female"),
        ("smplx", "neutral"),
    ]
    assert len(tree(tmp_path / "bodies")) == 3
    (tmp_path / "other.zip").write_bytes(zipped({"readme.txt": b""}))
    (result,) = unpack_all([tmp_path / "other.zip"], tmp_path / "bodies", placing=BodyPlacing(body))
    assert "none of its 1 file is needed" in result.error


def test_folders_without_archives_are_explained(tmp_path: Path) -> None:
    (tmp_path / "CMU.tar.bz2.part").write_bytes(b"")
    with pytest.raises(UserError, match="unfinished downloads"):
        archives_in([tmp_path])
    with pytest.raises(UserError, match="no such file or folder"):
        archives_in([tmp_path / "none"])
    with pytest.raises(UserError, match="not a packed archive"):
        archives_in([tmp_path / "CMU.tar.bz2.part"])
