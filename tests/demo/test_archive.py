from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mocap_ray.archives.amass import discover, read
from mocap_ray.archives.splits import assign
from mocap_ray.demo import gait
from mocap_ray.demo.archive import write_demo
from mocap_ray.motion.clip import Motion, Reason
from mocap_ray.records import Rejection
from mocap_ray.skeleton import BODY_PARENTS, HUMANML3D_BONES, REST_DIRECTIONS
from mocap_ray.storage import place


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    write_demo(folder)
    return folder


@pytest.fixture(scope="module")
def results(root: Path) -> list[Motion | Rejection]:
    where = place(root)
    return [read(where, recording) for recording in discover(where)]


def joints(motion: Motion) -> np.ndarray:
    """Positions [T, 22, 3] by scipy's rotations on a plain skeleton: the naive twin of any body model."""
    rest = REST_DIRECTIONS * HUMANML3D_BONES[:, None]
    rest[1], rest[2] = gait.HIP, gait.HIP * (-1, 1, 1)
    rest[[10, 11]] = (0, -gait.ANKLE, gait.FOOT)
    rest[[16, 18, 20]] = [(HUMANML3D_BONES[j], 0, 0) for j in (16, 18, 20)]
    rest[[17, 19, 21]] = [(-HUMANML3D_BONES[j], 0, 0) for j in (17, 19, 21)]
    poses = motion.poses.copy()  # scipy wants to write
    turned, places = [Rotation.from_rotvec(poses[:, 0])], [motion.trans]
    for j in range(1, 22):
        parent = BODY_PARENTS[j]
        turned.append(turned[parent] * Rotation.from_rotvec(poses[:, j]))
        places.append(places[parent] + turned[parent].apply(rest[j]))
    return np.stack(places, axis=1)


def test_the_demo_is_small_and_the_same_every_time(root: Path, tmp_path: Path) -> None:
    again = write_demo(tmp_path)
    assert sum(p.stat().st_size for p in again) < 30e6
    assert all(p.read_bytes() == (root / p.relative_to(tmp_path)).read_bytes() for p in again)
    other = write_demo(tmp_path / "other", recordings=1, seed=1, bad=False)
    assert len(other) == 1
    assert other[0].read_bytes() != again[0].read_bytes()


def test_the_demo_is_varied_and_its_bad_files_have_their_reasons(results) -> None:
    good = [r for r in results if isinstance(r, Motion)]
    bad = Counter(r.reason for r in results if isinstance(r, Rejection))
    assert len(good) == 25  # the take that teleports is a valid file
    assert bad == {Reason.MISSING_KEYS: 1, Reason.UNREADABLE: 1, Reason.NOT_MOTION: 1}
    assert {m.family for m in good} == {"smplh"}
    assert {m.fps for m in good} == {60.0, 120.0, 59.94}
    assert {m.gender for m in good} == {"male", "female", "neutral"}
    assert {m.action for m in good} >= {"walk", "run", "wave", "squat", "jump"}
    assert len({m.recording.dataset for m in good}) == 3
    assert len({m.recording.subject for m in good}) == 12
    assert all(3 <= len(m.poses) / m.fps <= 8 for m in good)


def test_hashed_subjects_of_the_demo_fill_every_split(root: Path) -> None:
    found = Counter(assign(discover(place(root)), split="subject").values())
    assert set(found) == {"train", "val", "test"}


def test_synthetic_people_are_on_the_floor_and_move_smoothly(results) -> None:
    for motion in (r for r in results if isinstance(r, Motion) and "teleport" not in r.recording.name):
        name, p = motion.recording.name, joints(motion)
        assert abs(p[:, [7, 8], 2].min() - gait.ANKLE) < 0.02, name
        assert 0.85 < np.median(p[:, 0, 2]) < 0.95 or motion.action in ("squat", "jump"), name
        assert (p[:, 15, 2] > p[:, 0, 2]).all(), name
        speed = np.linalg.norm(np.diff(p, axis=0), axis=-1) * motion.fps
        assert speed.max() < 8, name
        jerk = np.linalg.norm(np.diff(motion.trans, 2, axis=0), axis=-1) * motion.fps**2
        assert jerk.max() < 60, name
        assert np.linalg.norm(motion.poses, axis=-1).max() <= np.pi + 1e-6


def test_walks_go_where_the_body_faces_with_planted_feet_and_arms_against_the_legs(results) -> None:
    walks = [r for r in results if isinstance(r, Motion) and r.action == "walk"]
    assert len(walks) >= 8
    for motion in walks:
        p = joints(motion)
        across = p[:, 1] - p[:, 2]
        facing = np.cross(across, (0, 0, 1.0))
        facing /= np.linalg.norm(facing, axis=1, keepdims=True)
        step = np.diff(p[:, 0], axis=0) * motion.fps
        assert ((step * facing[1:]).sum(1) > 0.4).all(), motion.recording.name
        # The foot on the floor is nearly still.
        feet = np.linalg.norm(np.diff(p[:, [7, 8], :2], axis=0), axis=-1) * motion.fps
        assert np.median(feet.min(axis=1)) < 0.12, motion.recording.name
        legs = ((p[:, 7] - p[:, 8]) * facing).sum(1)
        arms = ((p[:, 20] - p[:, 21]) * facing).sum(1)
        assert np.corrcoef(legs, arms)[0, 1] < -0.8, motion.recording.name


def test_no_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected at least 1"):
        write_demo(tmp_path, recordings=0)
