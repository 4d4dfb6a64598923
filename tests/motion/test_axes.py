from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mocap_ray.motion import axes
from mocap_ray.motion.axes import poses_smplx, to_y_up
from mocap_ray.skeleton import TO_SMPLX
from tests.motion.motions import AMASS_AXES, as_in_a_file, motion, rotvecs

JOINTS = {"smpl": 24, "smplh": 52, "smplx": 55}


def matrices(v: np.ndarray) -> np.ndarray:
    flat = Rotation.from_rotvec(np.asarray(v, np.float64).reshape(-1, 3)).as_matrix()
    return flat.reshape(*v.shape, 3)


@pytest.mark.parametrize("A", [AMASS_AXES, *Rotation.random(6, rng=3).as_matrix()])
def test_to_y_up_turns_the_root_about_its_rest_pelvis(A):
    m = replace(motion(rotvecs(0, 200, 52), trans=rotvecs(1, 200)), R_yup_source=A)
    J0 = np.array([0.1, -0.3, 0.02])
    found = to_y_up(m, J0)
    np.testing.assert_array_equal(found.R_yup_source, np.eye(3))
    np.testing.assert_allclose(matrices(found.poses[:, 0]), A @ matrices(m.poses[:, 0]), atol=1e-12)
    assert np.linalg.norm(found.poses[:, 0], axis=-1).max() <= np.pi * (1 + 1e-15)
    np.testing.assert_array_equal(found.poses[:, 1:], m.poses[:, 1:])
    # a point x at rest is at R (x - J0) + J0 + trans before, and everything is turned by A after
    x = np.array([0.4, 0.5, -0.6])
    before = matrices(m.poses[:, 0]) @ (x - J0) + J0 + m.trans
    after = matrices(found.poses[:, 0]) @ (x - J0) + J0 + found.trans
    np.testing.assert_allclose(after, before @ A.T, atol=1e-12)


def test_a_motion_with_y_up_is_returned_unchanged():
    m = replace(motion(rotvecs(2, 5, 52)), R_yup_source=np.eye(3))
    assert to_y_up(m, np.ones(3)) is m


@pytest.mark.parametrize("axes_", [np.diag([1.0, 1.0, -1.0]), 2 * np.eye(3), np.full((3, 3), np.nan)])
def test_axes_that_are_not_a_rotation_are_refused(axes_):
    m = replace(motion(rotvecs(2, 5, 52)), R_yup_source=axes_)
    with pytest.raises(ValueError, match="Expected a rotation matrix"):
        to_y_up(m, np.ones(3))


@pytest.mark.parametrize(
    "R", [np.eye(3), np.diag([1.0, -1, -1]), np.diag([-1.0, -1, 1]), np.diag([-1.0, 1, -1])]
)
def test_quaternions_of_half_turns_are_unit(R):
    q = axes._quaternion(R.tobytes())
    np.testing.assert_allclose(Rotation.from_quat(q, scalar_first=True).as_matrix(), R, atol=1e-15)


@pytest.mark.parametrize("family", list(JOINTS))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_smplx_poses_are_the_same_rotations_with_angles_up_to_pi(family, dtype):
    poses = rotvecs(4, 300, JOINTS[family]).astype(dtype)
    found = poses_smplx(motion(as_in_a_file(poses)))
    assert found.shape == (300, 55, 3)
    assert found.dtype == np.float32
    to = list(TO_SMPLX[family])
    np.testing.assert_allclose(matrices(found[:, to]), matrices(poses[:, : len(to)]), atol=2e-6)
    assert np.linalg.norm(found.astype(np.float64), axis=-1).max() <= np.pi * (1 + 1e-7)
    rest = [j for j in range(55) if j not in to]
    np.testing.assert_array_equal(found[:, rest], 0)


def test_zero_rotations_stay_exactly_zero_and_small_angles_unchanged():
    poses = rotvecs(5, 50, 52)
    poses[:, 10:] = 0
    poses[:, :10] *= 0.9 * np.pi / np.maximum(np.linalg.norm(poses[:, :10], axis=-1, keepdims=True), np.pi)
    found = poses_smplx(motion(poses))
    np.testing.assert_array_equal(found[:, :10], poses[:, :10].astype(np.float32))
    np.testing.assert_array_equal(found[:, 10:], 0)


def test_a_frame_has_the_same_bits_alone():
    m = motion(rotvecs(6, 40, 52), trans=rotvecs(7, 40))
    whole = to_y_up(m, np.ones(3))
    alone = to_y_up(replace(m, poses=m.poses[17:18], trans=m.trans[17:18]), np.ones(3))
    assert whole.poses[17:18].tobytes() == alone.poses.tobytes()
    assert poses_smplx(whole)[17:18].tobytes() == poses_smplx(alone).tobytes()
