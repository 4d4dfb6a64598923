"""The check of an AMASS folder, on files written from the published layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mocap_ray.archives import amass
from mocap_ray.fetching import check as check_module
from mocap_ray.fetching.catalogue import load_catalogue
from mocap_ray.fetching.check import Report, SubReport, check_archive
from mocap_ray.fetching.headers import read_header
from mocap_ray.storage import place
from tests.archives import takes


def write(root: Path, name: str, arrays: dict[str, Any]) -> Path:
    path = root / f"{name}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path


def report(root: Path, bodies: Path | None = None, **how: Any) -> Report:
    return check_archive(place(root), load_catalogue(), bodies=bodies or root / "none", **how)


def by_name(found: Report) -> dict[tuple[str, str], SubReport]:
    return {(sub.name, sub.family): sub for sub in found.subs}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Every format, in folders of both spellings."""
    root = tmp_path / "amass"
    write(root, "CMU/01/01_01_poses", takes.smplh(120))
    write(root, "CMU/01/01_02_poses", {**takes.smplh(240), "gender": np.array("male")})
    write(root, "CMU/01/shape", {"betas": np.zeros(16), "gender": np.array("male")})
    write(root, "CNRS/283/-01_L_1_stageii", takes.stage_ii(60))
    parts = takes.stage_ii(30)
    del parts["poses"]
    write(root, "CNRS/283/-01_L_2_stageii", parts)
    write(root, "MPI_HDM05/bd/HDM_bd_01-01_01_120_poses", takes.smplx_54(40))
    write(root, "Mine/a/b", takes.smpl(60))
    write(root, "Mine/a/soft", {"dmpls": np.zeros((5, 8))})
    write(root, "Mine/a/wide", {**takes.smplh(5), "poses": np.zeros((5, 99))})
    return root


def test_formats_frames_and_hours(root: Path) -> None:
    subs = by_name(report(root))
    cmu = subs["CMU", "smplh"]
    assert (cmu.sequences, cmu.expected, cmu.complete) == (2, 2083, False)
    assert (cmu.formats, cmu.frames, cmu.others) == ({"156": 2}, 360, {"shape": 1})
    assert cmu.hours == pytest.approx(360 / 120 / 3600)
    assert subs["CNRS", "smplx"].formats == {"165": 1, "parts": 1}
    assert subs["CNRS", "smplx"].expected == 81
    assert subs["HDM05", "smplx"].formats == {"162": 1}
    assert subs["HDM05", "smplx"].folders == ("MPI_HDM05",)
    assert subs["Mine", "smpl"].formats == {"72": 1}
    assert subs["Mine", "smpl"].expected is None
    assert subs["Mine", "smpl"].others == {"DMPL": 1, "other (99 columns)": 1}


def test_body_models_that_are_there_and_that_are_missing(root: Path, standins: Path, tmp_path: Path) -> None:
    found = report(root)
    assert [(n.family, n.gender, n.sequences, n.model) for n in found.bodies] == [
        ("smpl", "male", 1, ""),
        ("smplh", "female", 1, ""),
        ("smplh", "male", 1, ""),
        ("smplx", "female", 1, ""),
        ("smplx", "neutral", 2, ""),
    ]
    assert found.bodies[-1].datasets == ("CNRS",)
    own = {f"{n.family}/{n.gender}": n for n in report(root, standins).bodies}
    assert all(need.is_own for need in own.values())
    (tmp_path / "bodies" / "smplh").mkdir(parents=True)
    (tmp_path / "bodies" / "smplh" / "SMPLH_NEUTRAL.npz").write_bytes(b"")
    some = {f"{n.family}/{n.gender}": n for n in report(root, tmp_path / "bodies").bodies}
    assert (some["smplh/female"].model, some["smplh/female"].is_own) == ("smplh/neutral", False)
    assert some["smplx/neutral"].model == ""


def test_the_model_is_the_one_that_an_extraction_takes(standins: Path) -> None:
    from mocap_ray.body.bodies import Bodies

    bodies = Bodies.load(standins, gender="recorded", families=("smplh",))
    for gender in ("male", "female", "neutral", "unknown"):
        chosen = bodies.choose("smplh", gender).model
        assert check_module._model("smplh", gender, list(bodies.models)) == f"smplh/{chosen.gender}"


def test_damaged_files_are_named(root: Path) -> None:
    path = root / "CMU" / "01" / "01_01_poses.npz"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    write(root, "CMU/01/01_03_poses", {**takes.smplh(10), "trans": np.zeros((9, 3))})
    slow = takes.smplh(10)
    del slow["mocap_framerate"]
    write(root, "CMU/01/01_04_poses", slow)
    cmu = by_name(report(root))["CMU", "smplh"]
    assert cmu.sequences == 3
    assert [text.partition(": ")[0] for text in sorted(cmu.damaged)] == [
        "CMU/01/01_01_poses.npz",
        "CMU/01/01_03_poses",
        "CMU/01/01_04_poses",
    ]
    assert not report(root).fine


def test_a_flipped_byte_is_found_by_a_full_check_alone(root: Path) -> None:
    path = root / "CMU" / "01" / "01_01_poses.npz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert by_name(report(root))["CMU", "smplh"].damaged == ()
    (text,) = by_name(report(root, full=True))["CMU", "smplh"].damaged
    assert "checksum" in text


def test_pickled_labels_are_not_loaded_and_do_no_harm(root: Path) -> None:
    write(root, "CMU/01/01_05_poses", {**takes.smplh(10), "gender": np.array([{"a": 1}], dtype=object)})
    assert by_name(report(root, full=True))["CMU", "smplh"].damaged == ()
    write(root, "CMU/01/01_06_poses", {**takes.smplh(10), "poses": np.array([{"a": 1}], dtype=object)})
    assert by_name(report(root))["CMU", "smplh"].others == {"other": 1, "shape": 1}


def test_both_releases_of_a_take_are_noticed(tmp_path: Path) -> None:
    root = tmp_path
    for k in (1, 2):
        write(
            root, f"TotalCapture/s1/walking{k}_poses", {**takes.smplh(60), "mocap_framerate": np.array(60.0)}
        )
    for k in (1, 3):
        write(root, f"TotalCapture/s1/walking{k}_stageii", takes.stage_ii(120))
    notes = report(root).notes
    assert len(notes) == 4
    assert "1 take here in both releases" in notes[0]
    assert "60.0 fps and 60 frames as SMPL+H, 120.0 fps and 120 frames as SMPL-X" in notes[1]
    assert "in the SMPL+H release only, such as TotalCapture/s1/walking2_poses" in notes[2]
    assert "in the SMPL-X release only, such as TotalCapture/s1/walking3_stageii" in notes[3]


def test_names_of_other_releases_and_rates_of_smplx_are_noted(root: Path) -> None:
    notes = "\n".join(report(root).notes)
    assert "MPI_HDM05: another name of HDM05" in notes
    assert "CNRS and HDM05 are here as SMPL-X only" in notes


def test_a_complete_folder_is_fine(tmp_path: Path, standins: Path) -> None:
    for k in range(28):
        write(tmp_path, f"HumanEva/S1/take_{k}_poses", takes.smplh(5))
    found = report(tmp_path, standins)
    assert found.fine
    assert by_name(found)["HumanEva", "smplh"].complete is True


def test_processes_find_the_same(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_module, "CHUNK", 4)
    seen: list[tuple[int, int]] = []
    assert report(root, workers=2, progress=lambda done, total: seen.append((done, total))) == report(root)
    assert seen == [(4, 9), (8, 9), (9, 9)]


def test_headers_agree_with_the_reader_of_the_archive(shared: Path) -> None:
    from mocap_ray.motion.clip import Motion

    where = place(shared / "data" / "amass")
    for recording in amass.discover(where)[::9]:
        head, motion = read_header(where, recording), amass.read(where, recording)
        assert isinstance(motion, Motion)
        assert (head.family, head.fps, head.gender) == (motion.family, motion.fps, motion.gender)
        assert head.frames == len(motion.poses)
