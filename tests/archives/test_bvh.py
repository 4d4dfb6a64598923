"""The archive of BVH and ASF/AMC files: what is listed, what is rejected, and the way to clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mocap_ray.archives import ARCHIVES, bvh
from mocap_ray.body.bodies import Bodies
from mocap_ray.dataset.build import archive_of, load_sources
from mocap_ray.dataset.options import BodyOptions, MotionOptions, OutputOptions, SourceOptions
from mocap_ray.dataset.process import Plan, process
from mocap_ray.errors import UserError
from mocap_ray.motion.clip import Clip, JointMotion, Motion, Reason
from mocap_ray.records import Rejection
from mocap_ray.storage import place
from tests.archives import rig_texts


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two takes of two people in BVH, and one on a skeleton."""
    lab = tmp_path / "archive" / "Lab"
    (lab / "ann").mkdir(parents=True)
    (lab / "ann" / "walk_1.bvh").write_text(rig_texts.bvh(60))
    (lab / "ben_run.BVH").write_text(rig_texts.bvh(60, seed=1))
    (lab / "c").mkdir()
    (lab / "c" / "c.asf").write_text(rig_texts.ASF)
    (lab / "c" / "c_1.amc").write_text(rig_texts.AMC)
    (lab / ".hidden.bvh").write_text("")
    (lab / "notes.txt").write_text("")
    return tmp_path / "archive"


def test_files_are_listed_with_their_subjects(root: Path) -> None:
    found = bvh.discover(place(root))
    assert [(r.dataset, r.name, r.subject) for r in found] == [
        ("Lab", "Lab/ann/walk_1", "Lab/ann"),
        ("Lab", "Lab/ben_run", "Lab/ben"),
        ("Lab", "Lab/c/c_1", "Lab/c"),
    ]
    assert [r.name for r in bvh.discover(place(root / "Lab"))] == ["Lab/ben_run", "ann/walk_1", "c/c_1"]
    assert [r.name for r in bvh.discover(place(root / "Lab"), dataset="Lab")] == [r.name for r in found]
    assert [r.name for r in bvh.discover(place(root / "Lab" / "c"))] == ["c/c_1"]


def test_a_motion_counts_as_changed_when_its_skeleton_does(root: Path) -> None:
    before = {r.name: r.fingerprint for r in bvh.discover(place(root))}
    import os

    os.utime(root / "Lab" / "c" / "c.asf", ns=(1, 1))
    after = {r.name: r.fingerprint for r in bvh.discover(place(root))}
    assert [name for name in before if before[name] != after[name]] == ["Lab/c/c_1"]


def test_a_folder_without_recordings_is_refused_with_what_it_holds(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such folder\. Expected the folder of \.bvh files, or"):
        bvh.discover(place(tmp_path / "none"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.fbx").write_text("")
    with pytest.raises(UserError, match=r"no \.bvh or \.amc file \(1 \.fbx\)"):
        bvh.discover(place(tmp_path / "other"))
    with pytest.raises(UserError, match="is a file"):
        bvh.discover(place(root / "Lab" / "ben_run.BVH"))
    with pytest.raises(UserError, match="expected the plain name of a sub-dataset"):
        bvh.discover(place(root), dataset="a/b")
    (root / "Lab" / "c" / "c_1.bvh").write_text("")
    with pytest.raises(
        UserError, match=r"Lab/c/c_1\.amc and Lab/c/c_1\.bvh would both be the recording Lab/c/c_1"
    ):
        bvh.discover(place(root))


def _read(root: Path, name: str, **options: object) -> Motion | JointMotion | Rejection:
    recording = next(r for r in bvh.discover(place(root)) if r.name == name)
    return bvh.read(place(root), recording, **options)  # type: ignore[arg-type]


def test_an_unknown_rig_is_rejected_with_what_the_nearest_has(root: Path) -> None:
    found = _read(root, "Lab/c/c_1")
    assert isinstance(found, Rejection)
    assert found.reason == Reason.MISSING_KEYS
    assert found.detail.startswith(
        "Lab/c/c_1.amc: no known rig has its joints (root, thigh, shin, foot and foot.end)"
    )
    assert found.detail.endswith("Write a map of its joints and name it in source.rig (docs/how-to/bvh.md).")


def test_a_motion_without_a_skeleton_is_rejected(root: Path) -> None:
    (root / "Lab" / "c" / "c.asf").rename(root / "Lab" / "c" / "x.asf")
    assert _read(root, "Lab/c/c_1").detail.startswith("Lab/c/c_1.amc: no known rig")  # type: ignore[union-attr]
    (root / "Lab" / "c" / "y.asf").write_text(rig_texts.ASF)
    found = _read(root, "Lab/c/c_1")
    assert isinstance(found, Rejection)
    assert found.detail == (
        "Lab/c/c_1.amc: its skeleton is missing. Expected c.asf, or one .asf, in the same folder."
    )
    (root / "Lab" / "c" / "c.asf").write_text("no skeleton")
    found = _read(root, "Lab/c/c_1")
    assert isinstance(found, Rejection)
    assert found.detail.startswith("Lab/c/c_1.amc: its skeleton Lab/c/c.asf: no section :root.")


def test_rates_come_from_the_file_or_the_config(root: Path) -> None:
    assert _read(root, "Lab/ann/walk_1").fps == 30.0  # type: ignore[union-attr]
    assert _read(root, "Lab/ann/walk_1", fps=50.0).fps == 50.0  # type: ignore[union-attr]
    path = root / "Lab" / "ben_run.BVH"
    path.write_text(rig_texts.bvh(60, seconds="1e-9"))
    found = _read(root, "Lab/ben_run")
    assert isinstance(found, Rejection)
    assert "its frame rate is 1e+09. Expected 1 to 10,000 frames per second" in found.detail
    with pytest.raises(UserError, match=r"source\.fps 0\.5: expected"):
        _read(root, "Lab/ann/walk_1", fps=0.5)


def test_a_file_that_is_too_large_is_not_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bvh, "MOST_BYTES", 1000)
    found = _read(root, "Lab/ann/walk_1")
    assert isinstance(found, Rejection)
    assert found.reason == Reason.BAD_SHAPE
    assert "Expected at most 1 kB; cut the recording." in found.detail


def test_a_file_that_changed_since_it_was_listed_is_an_error_of_the_disk(root: Path) -> None:
    recording = bvh.discover(place(root))[0]
    (root / recording.source).write_text("")
    with pytest.raises(OSError, match="0 bytes, but"):
        bvh.read(place(root), recording)


def _plan(root: Path, bodies: Bodies, columns: tuple[str, ...], **options: object) -> Plan:
    archive = archive_of(SourceOptions(archive="bvh", root=str(root), **options))  # type: ignore[arg-type]
    return Plan(
        archive, place(root), bodies, BodyOptions(root="x"), MotionOptions(profile="flowmimic"), columns
    )


def test_a_take_becomes_a_clip_without_a_body_and_with_one(root: Path, standins: Path) -> None:
    recording = bvh.discover(place(root))[0]
    columns = ("features", "joints", "poses", "trans")
    (plain,) = process(recording, _plan(root, Bodies("", "recorded", {}, {}), columns))
    assert isinstance(plain, Clip)
    assert (plain.clip_id, plain.family, plain.num_frames, plain.action) == (
        "Lab/ann/walk_1@1",
        "joints",
        59,
        "walk",
    )
    assert plain.poses is None
    bodies = Bodies.load(standins, gender="recorded")
    (posed,) = process(recording, _plan(root, bodies, columns, read_as="poses", family="smplx"))
    assert isinstance(posed, Clip)
    assert (posed.clip_id, posed.family, posed.num_frames) == ("Lab/ann/walk_1@1", "smplx", 59)
    assert posed.poses is not None
    assert posed.poses.shape == (59, 55, 3)
    assert posed.body_gender == "neutral"


def test_a_frame_that_is_not_a_number_spoils_itself_alone(root: Path) -> None:
    path = root / "Lab" / "ann" / "walk_1.bvh"
    lines = path.read_text().splitlines()
    lines[-30] = "nan " + lines[-30].partition(" ")[2]
    path.write_text("\n".join(lines))
    found = _read(root, "Lab/ann/walk_1")
    assert isinstance(found, JointMotion)
    assert np.flatnonzero(~np.isfinite(found.joints).all(axis=(1, 2))).tolist() == [29]
    recording = bvh.discover(place(root))[0]
    (rejection,) = process(recording, _plan(root, Bodies("", "recorded", {}, {}), ("features",)))
    assert isinstance(rejection, Rejection)
    assert rejection.reason == Reason.NON_FINITE


def _recipe(root: Path, **options: object) -> dict[str, object]:
    source = SourceOptions(archive="bvh", root=str(root), split="none", **options)  # type: ignore[arg-type]
    found = load_sources(source, BodyOptions(root=str(root)), MotionOptions(), OutputOptions(root="out"))
    return dict(found.recipe.source.settings)


def test_options_of_the_archive_are_part_of_the_recipe_and_paths_are_not(root: Path, tmp_path: Path) -> None:
    from mocap_ray.archives.rigs.rig import MAPS

    keys = {"rig", "read_as", "family", "scale", "axes"}
    assert not keys & _recipe(root).keys()
    made = _recipe(root, read_as="poses", family="smpl", scale=0.02, axes="x z -y", rig="cmu_daz")
    assert {k: v for k, v in made.items() if k in keys} == {
        "read_as": "poses", "family": "smpl", "scale": 0.02, "axes": "x z -y", "rig": "cmu_daz",
    }  # fmt: skip
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_bytes((MAPS / "cmu_daz.yaml").read_bytes())
    assert _recipe(root, rig=str(tmp_path / "a.yaml")) == _recipe(root, rig=str(tmp_path / "b.yaml"))
    (tmp_path / "b.yaml").write_text((MAPS / "cmu_daz.yaml").read_text().replace("skip: 1", "skip: 2"))
    assert _recipe(root, rig=str(tmp_path / "a.yaml")) != _recipe(root, rig=str(tmp_path / "b.yaml"))


def test_body_models_are_needed_for_poses_alone(root: Path) -> None:
    nowhere, out = BodyOptions(root=str(root / "nowhere")), OutputOptions(root="out")
    for read_as in (None, "joints"):
        source = SourceOptions(archive="bvh", root=str(root), read_as=read_as)  # type: ignore[arg-type]
        assert load_sources(source, nowhere, MotionOptions(), out).bodies.models == {}
    source = SourceOptions(archive="bvh", root=str(root), read_as="poses")
    with pytest.raises(
        UserError, match=r"nowhere: no such folder\. Expected the folder that holds the body models"
    ):
        load_sources(source, nowhere, MotionOptions(), out)


def test_an_option_that_an_archive_does_not_have_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"source\.scale: the archive amass has no such option\. Leave it out\."
    ):
        archive_of(SourceOptions(root="x", scale=2.0))
    with pytest.raises(UserError, match=r"source\.rig: the archive joints has no such option"):
        archive_of(SourceOptions(archive="joints", root="x", rig="cmu_daz"))
    with pytest.raises(ValueError, match="expected which axes of the file become x, y"):
        SourceOptions(root="x", axes="z up")
    assert archive_of(SourceOptions(root="x")) is ARCHIVES["amass"]


def test_a_configured_archive_can_be_sent_to_workers(root: Path) -> None:
    import pickle

    archive = archive_of(SourceOptions(archive="bvh", root="x", read_as="joints", rig="cmu_daz"))
    recording = bvh.discover(place(root))[0]
    sent = pickle.loads(pickle.dumps(archive))
    assert isinstance(sent.read(place(root), recording), JointMotion)
