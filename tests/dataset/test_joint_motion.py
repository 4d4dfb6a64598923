"""A source of joints alone: the same processing into clips, without a body model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

import mocap_ray
from mocap_ray.body.bodies import Bodies
from mocap_ray.dataset.inspect import inspect
from mocap_ray.dataset.options import BodyOptions, MotionOptions
from mocap_ray.dataset.process import Plan, process
from mocap_ray.demo import gait
from mocap_ray.demo.standin import write_standin
from mocap_ray.motion import quality
from mocap_ray.motion.bounds import out_of_bounds
from mocap_ray.motion.clip import Clip, JointMotion, Reason
from mocap_ray.motion.features import encode
from mocap_ray.motion.mirror import mirror_joints
from mocap_ray.motion.resample import resample_joints
from mocap_ray.motion.stretches import stretches
from mocap_ray.records import Recording, Rejection
from mocap_ray.skeleton import BODY_JOINTS
from mocap_ray.storage import Place, place
from tests.dataset import joints_archive

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = ("features", "joints", "poses", "trans", "stick", "vertices")


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """[200, 22, 3] millimetres, Z up, at 50 fps, of a synthetic walk on a stand-in body."""
    root = tmp_path_factory.mktemp("bodies")
    write_standin(root, families=("smplh",), genders=("neutral",))
    body = Bodies.load(root, gender="neutral").choose("smplh", "neutral").model.shaped(np.zeros(10))
    poses, trans = gait.walk(np.arange(200) / joints_archive.FPS, gait.Style(1.1, 0.2, 0.9))
    return np.round(body.joints(poses.reshape(200, 52, 3), trans) * 1000, 2)


@pytest.fixture
def archive(tmp_path: Path, walk: np.ndarray) -> Path:
    """Four takes of two subjects, one that teleports, and one that is not an array."""
    root = tmp_path / "archive" / "Lab"
    root.mkdir(parents=True)
    for k in range(4):
        np.save(root / f"s{k % 2 + 1}_{k}.npy", walk[k:])
    jump = walk.copy()
    jump[100:] += 5000.0
    np.save(root / "s1_jump.npy", jump)
    (root / "s1_text.npy").write_text("no array")
    return tmp_path / "archive"


def plan_for(archive: Path, columns: tuple[str, ...] = COLUMNS, **options: Any) -> Plan:
    none = Bodies("nowhere", "recorded", {}, {})
    body = BodyOptions(root="nowhere")
    return Plan(joints_archive.ARCHIVE, place(archive), none, body, MotionOptions(**options), columns)


def recording(archive: Path, name: str) -> Recording:
    return next(r for r in joints_archive.discover(place(archive)) if r.name == name)


@pytest.mark.parametrize("profile", ["humanml3d", "flowmimic"])
def test_a_clip_holds_the_joints_of_the_source(archive: Path, walk: np.ndarray, profile: str) -> None:
    (clip,) = process(recording(archive, "Lab/s1_0"), plan_for(archive, profile=profile))
    assert isinstance(clip, Clip)
    yup = walk @ joints_archive.R_YUP_SOURCE.T / 1000
    times = np.arange(len(clip.joints)) / clip.fps
    expected = PchipInterpolator(np.arange(len(yup)) / joints_archive.FPS, yup, axis=0)(times)
    np.testing.assert_allclose(clip.joints, expected, atol=1e-6)
    np.testing.assert_allclose(clip.features, encode(expected, profile=profile), atol=1e-5)
    assert (clip.family, clip.gender, clip.body_gender) == ("joints", "female", "female")
    assert clip.poses is None
    assert clip.trans is None
    assert clip.vertices is None
    assert len(clip.betas) == 0
    assert clip.stick is not None
    assert clip.joints[:, :, 1].max() > 1.2  # Y is up


def test_mirrored_twins_and_windows_work_as_for_any_source(archive: Path) -> None:
    plan = plan_for(archive, mirror=True, window=30, window_stride=20)
    found = process(recording(archive, "Lab/s1_0"), plan)
    clips = [c for c in found if isinstance(c, Clip)]
    assert len(clips) == len(found) > 4
    for clip, twin in zip(clips[::2], clips[1::2], strict=True):
        assert twin.clip_id == f"{clip.clip_id}~M"
        np.testing.assert_allclose(twin.joints, mirror_joints(clip.joints), atol=1e-6)
        assert twin.texts == ("a person turns right",)


def test_teleports_and_invalid_arrays_are_rejected(archive: Path) -> None:
    plan = plan_for(archive)
    (jump,) = process(recording(archive, "Lab/s1_jump"), plan)
    assert isinstance(jump, Rejection)
    assert jump.reason == Reason.TELEPORT
    assert "the root accelerates by" in jump.detail
    (text,) = process(recording(archive, "Lab/s1_text"), plan)
    assert isinstance(text, Rejection)
    assert text.reason == Reason.UNREADABLE


def _motion(walk: np.ndarray) -> JointMotion:
    take = Recording("Lab", "Lab/a", "Lab/a", "Lab/a.npy", 1, "1")
    return JointMotion(take, "unknown", 50.0, 50.0, walk / 1000, joints_archive.R_YUP_SOURCE)


def test_broken_frames_are_found_and_the_good_stretches_around_them_kept(walk: np.ndarray) -> None:
    joints = walk.copy()
    joints[60, 7, 1] = np.nan
    joints[120] = np.inf
    motion = _motion(joints)
    measured = quality.measure(motion)
    # Naive twin: a frame that is not finite is bad; an acceleration needs three good frames.
    assert np.flatnonzero(measured.bad).tolist() == [60, 120]
    assert measured.root_acceleration < 1500
    assert dict(measured.rows())["angular acceleration"].startswith("not measured")
    (whole,) = stretches(motion, measured, cut=False, min_frames=10)
    assert isinstance(whole, Rejection)
    assert (whole.reason, whole.start) == (Reason.NON_FINITE, 0)
    assert f"the position of {BODY_JOINTS[7]} is not finite" in whole.detail
    parts = stretches(motion, measured, cut=True, min_frames=10)
    kept = [p for p in parts if isinstance(p, slice)]
    assert kept == [slice(0, 60), slice(61, 120), slice(121, 200)]
    part = motion.part(kept[1])
    assert (part.first_frame, len(part.root)) == (61, 59)


def test_a_joint_that_jumps_breaks_the_frames_it_jumps_over(walk: np.ndarray) -> None:
    joints = walk.copy()
    joints[80:, 20] += (1200.0, 0.0, 0.0)  # the left wrist, 1.2 m in 1/50 s
    motion = _motion(joints)
    measured = quality.measure(motion)
    assert np.flatnonzero(measured.bad).tolist() == [80]
    (whole,) = stretches(motion, measured, cut=False, min_frames=10)
    assert isinstance(whole, Rejection)
    assert whole.reason == Reason.UNSTABLE
    assert "frame 80: left_wrist moves at " in whole.detail
    assert "m/s, above the limit of 30.0" in whole.detail
    kept = [p for p in stretches(motion, measured, cut=True, min_frames=10) if isinstance(p, slice)]
    assert kept == [slice(0, 80), slice(81, 200)]
    step = np.linalg.norm(np.diff(motion.joints, axis=0), axis=-1)
    assert measured.speeds.joint is not None
    np.testing.assert_allclose(measured.speeds.joint[:-1], step.max(axis=1) * 50)


@pytest.mark.parametrize(
    ("scale", "shift", "what"),
    [
        (1000.0, 0.0, "m from the pelvis. Expected metres, and at most 3 "),  # millimetres
        (100.0, 0.0, "m from the pelvis. Expected metres, and at most 3 "),  # centimetres
        (1.0, 1e9, "m from the origin. Expected metres, less than 1,024"),
        (1e300, 0.0, "m from the pelvis. Expected metres, and at most 3 "),
    ],
)
def test_positions_that_nobody_has_are_a_bad_value(
    walk: np.ndarray, scale: float, shift: float, what: str
) -> None:
    motion = _motion(walk * scale + 1000 * shift)
    (whole,) = stretches(motion, quality.measure(motion), cut=False, min_frames=10)
    assert isinstance(whole, Rejection)
    assert whole.reason == Reason.BAD_VALUE
    assert what in whole.detail


def test_a_frame_with_a_bad_value_is_cut_out(walk: np.ndarray) -> None:
    joints = walk.copy()
    joints[60, 7, 1] = 1e12
    motion = _motion(joints)
    parts = stretches(motion, quality.measure(motion), cut=True, min_frames=10)
    assert [p for p in parts if isinstance(p, slice)] == [slice(0, 60), slice(61, 200)]
    assert [p.reason for p in parts if isinstance(p, Rejection)] == [Reason.BAD_VALUE]


@pytest.mark.parametrize("fps", [0.0, 1e-9, float("nan"), 1e9])
def test_frame_rates_out_of_bounds_are_a_bad_value(archive: Path, fps: float) -> None:
    plan = replace(
        plan_for(archive), archive=replace(joints_archive.ARCHIVE, read=partial(_at, file_fps=fps))
    )
    (item,) = process(recording(archive, "Lab/s1_0"), plan)
    assert isinstance(item, Rejection)
    assert item.reason == Reason.BAD_VALUE
    assert "Expected 1 to 10,000 frames per second" in item.detail


def _at(
    where: Place, recording: Recording, *, fps: float | None, file_fps: float
) -> JointMotion | Rejection[Recording]:
    """As the archive reads it, from a file that states this frame rate."""
    found = joints_archive.read(where, recording)
    assert isinstance(found, JointMotion)
    return replace(found, fps=file_fps, source_fps=file_fps)


def test_a_recording_of_days_is_a_bad_value() -> None:
    motion = replace(_motion(np.zeros((1, 22, 3))), fps=1.0, joints=np.zeros((50_000, 22, 3), np.float32))
    wrong = out_of_bounds(motion)
    assert wrong is not None
    assert wrong.reason == Reason.BAD_VALUE
    assert "50,000 frames at 1 fps are 14 hours. Expected at most 12" in wrong.detail
    assert out_of_bounds(replace(motion, fps=2.0)) is None


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_frames_have_no_acceleration(walk: np.ndarray, count: int) -> None:
    measured = quality.measure(_motion(walk[:count]))
    assert not measured.bad.any()
    assert measured.root_acceleration == 0


def test_a_root_that_accelerates_is_measured_as_the_second_difference(walk: np.ndarray) -> None:
    motion = _motion(walk)
    steps = np.diff(motion.joints[:, 0], 2, axis=0)
    measured = quality.measure(motion)
    assert measured.root_acceleration == pytest.approx(np.linalg.norm(steps, axis=-1).max() * 2500)
    assert measured.root_frame == np.linalg.norm(steps, axis=-1).argmax() + 1


def test_strides_copy_frames(walk: np.ndarray) -> None:
    motion = _motion(walk)
    strided = resample_joints(motion, fps=20.0, method="stride")
    assert strided.fps == 25.0
    np.testing.assert_array_equal(strided.joints, motion.joints[::2])
    halved = resample_joints(replace(motion, fps=40.0), fps=20.0)
    np.testing.assert_array_equal(halved.joints, motion.joints[::2])
    assert len(resample_joints(replace(motion, joints=motion.joints[:1]), fps=20.0).joints) == 1


def test_joints_of_another_shape_are_an_error() -> None:
    with pytest.raises((ValueError, TypeError)):
        _motion(np.zeros((10, 24, 3)))


def test_a_file_of_joints_is_inspected_completely_without_a_body(archive: Path) -> None:
    found = inspect(archive / "Lab" / "s1_0.npy", joints_archive.ARCHIVE)
    assert found.complete
    assert found.usable
    assert len(found.clips) == 1


def _command(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "mocap_ray.cli", *words],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.ray
def test_the_real_command_makes_a_data_set_without_any_body_model(archive: Path, tmp_path: Path) -> None:
    empty = tmp_path / "no_bodies"
    empty.mkdir()
    out = tmp_path / "out"
    name = "tests.dataset.joints_archive:ARCHIVE"
    text = _command(
        "extract", "amass", "--override", f"source.archive={name}", f"source.root={archive}", f"body.root={empty}",
        f"output.root={out}", "source.split=published", "source.fractions.val=0", "source.fractions.test=0.2",
        "ray.workers=1",
    )  # fmt: skip
    assert "clips by dataset and split" in text
    ds = mocap_ray.open(out)
    clips = list(ds.clips())
    assert {c.recording for c in clips} == {f"Lab/s{k % 2 + 1}_{k}" for k in range(4)}
    assert {c.split for c in clips if c.recording.startswith("Lab/s2")} == {"test"}
    assert {c.family for c in clips} == {"joints"}
    for clip in clips:
        assert clip.poses is None
        assert clip.joints.shape[1:] == (22, 3)
        assert len(clip.betas) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["totals"]["rejected"] == {"teleport": 1, "unreadable": 1}
    assert manifest["totals"]["other_gender_body"] == 0
    source = manifest["recipe"]["sources"]["joints"]
    assert source["split"] == source["domain"] == "joints"
    assert source["models"] == {}
    shown = _command("inspect", str(archive / "Lab" / "s1_0.npy"), "--archive", name)
    assert "joints of the source" in shown
