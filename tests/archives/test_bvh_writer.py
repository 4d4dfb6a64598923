"""A .bvh that was written is the motion that is read again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mocap_ray.archives import bvh
from mocap_ray.archives.rigs import bvh_text
from mocap_ray.archives.rigs.bvh_writer import bvh_bytes
from mocap_ray.archives.rigs.rig import detect, known
from mocap_ray.body.bodies import Bodies
from mocap_ray.body.model import ShapedBody
from mocap_ray.motion.clip import JointMotion, Motion
from mocap_ray.skeleton import BODY_JOINTS
from mocap_ray.storage import place


@pytest.fixture(scope="module")
def body(standins: Path) -> ShapedBody:
    return (
        Bodies.load(standins, gender="neutral", families=("smplh",))
        .choose("smplh", "neutral")
        .model.shaped(np.zeros(10))
    )


@pytest.fixture
def motion() -> tuple[np.ndarray, np.ndarray]:
    """Rotations of any size, with some at a whole half turn and at the pole of the middle axis."""
    rng = np.random.default_rng(0)
    poses = rng.normal(size=(50, 22, 3)).cumsum(0) * 0.1 + rng.normal(size=(22, 3))
    poses[3] = 0.0
    poses[4, :, 0] = np.pi / 2
    poses[5] = np.pi * np.array([0.6, 0.0, 0.8])
    return poses, rng.normal(size=(50, 3)).cumsum(0) * 0.05


def write(folder: Path, body: ShapedBody, motion: tuple[np.ndarray, np.ndarray]) -> None:
    poses, trans = motion
    data = bvh_bytes(poses, trans + body.rest[0], body.offsets[:22], fps=30.0)
    (folder / "a_1.bvh").write_bytes(data)


def test_what_is_written_is_read_again_within_a_hundredth_of_a_millimetre(
    tmp_path: Path, body: ShapedBody, motion: tuple[np.ndarray, np.ndarray]
) -> None:
    write(tmp_path, body, motion)
    where = place(tmp_path)
    (recording,) = bvh.discover(where)
    found = bvh.read(where, recording)
    assert isinstance(found, JointMotion)
    assert found.fps == 30.0
    np.testing.assert_allclose(found.joints, body.joints(*motion), atol=1e-5)


def test_its_poses_are_those_that_were_written_up_to_the_rest_of_limbs(
    tmp_path: Path, body: ShapedBody, motion: tuple[np.ndarray, np.ndarray]
) -> None:
    """Limbs of the stand-in rest a few degrees away from SMPL's, by which a rig's rotations are corrected."""
    write(tmp_path, body, motion)
    where = place(tmp_path)
    found = bvh.read(where, bvh.discover(where)[0], read_as="poses")
    assert isinstance(found, Motion)
    for name in ("pelvis", "spine1", "spine2", "spine3", "neck", "head", "left_collar"):
        joint = BODY_JOINTS.index(name)
        apart = Rotation.from_rotvec(found.poses[:, joint]).inv() * Rotation.from_rotvec(motion[0][:, joint])
        assert apart.magnitude().max() < 1e-4, name


def test_it_is_a_rig_that_is_known(body: ShapedBody, motion: tuple[np.ndarray, np.ndarray]) -> None:
    take = bvh_text.parse(bvh_bytes(*motion, body.offsets[:22], fps=20.0))
    assert detect(take.skeleton) is known()["smpl"]
    assert take.values.shape == (50, 3 + 3 * 22)
    assert take.fps == pytest.approx(20.0)


def test_angles_do_not_jump_by_whole_turns(body: ShapedBody) -> None:
    """Programs interpolate between the numbers of two frames."""
    poses = np.zeros((200, 22, 3))
    turn = Rotation.from_rotvec(np.linspace(0, 6 * np.pi, 200)[:, None] * np.array([0.0, 1.0, 0.0]))
    poses[:, 0] = turn.as_rotvec()
    take = bvh_text.parse(bvh_bytes(poses, np.zeros((200, 3)), body.offsets[:22], fps=20.0))
    assert np.abs(np.diff(take.values, axis=0)).max() < 10
    assert take.values[-1, 5] == pytest.approx(3 * 360, abs=1e-3)
