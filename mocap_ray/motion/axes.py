"""Convert an archive's axes to Y up, and a family's joints to those of SMPL-X."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Float32

from mocap_ray.motion import kernels_poses
from mocap_ray.motion.clip import JointMotion, Motion
from mocap_ray.skeleton import TO_SMPLX


def to_y_up(motion: Motion, rest_pelvis: Float[np.ndarray, "3"]) -> Motion:
    """The same motion with Y up.

    With A = R_yup_source: global_orient' = A R, trans' = A trans + A J0 - J0, because the body turns about
    its rest pelvis J0 and not about the origin.

    Args:
        motion: in any axes; returned unchanged if Y is up already.
        rest_pelvis: [3] metres, position of the shaped body's pelvis at rest.

    Returns:
        A motion with the identity as R_yup_source and new poses and trans, float64; root angles are in [0, pi],
        the other joints are unchanged.

    Raises:
        ValueError: R_yup_source is not a rotation.
    """
    A = np.asarray(motion.R_yup_source, dtype=np.float64)
    if np.array_equal(A, np.eye(3)):
        return motion
    turn = _turn(motion)
    poses = np.array(motion.poses, dtype=np.float64, order="C")
    kernels_poses.turn_roots(poses, turn)
    trans = np.asarray(motion.trans, dtype=np.float64) @ A.T + (A @ rest_pelvis - rest_pelvis)
    return replace(motion, poses=poses, trans=trans, R_yup_source=np.eye(3))


def joints_y_up(motion: JointMotion) -> JointMotion:
    """The same joints with Y up: A x, with A = R_yup_source.

    Returns:
        A motion with the identity as R_yup_source and new joints, float64; the same motion if Y is up already.

    Raises:
        ValueError: R_yup_source is not a rotation.
    """
    A = np.asarray(motion.R_yup_source, dtype=np.float64)
    if np.array_equal(A, np.eye(3)):
        return motion
    _turn(motion)
    joints = np.asarray(motion.joints, dtype=np.float64) @ A.T
    return replace(motion, joints=joints, R_yup_source=np.eye(3))


def _turn(motion: Motion | JointMotion) -> np.ndarray:
    """R_yup_source as a unit quaternion (w, x, y, z). Raises ValueError if it is not a rotation."""
    A = np.asarray(motion.R_yup_source, dtype=np.float64)
    turn = _quaternion(A.tobytes())
    if turn is None:
        raise ValueError(
            f"{motion.recording.source}: R_yup_source is {A.tolist()}. Expected a rotation matrix "
            "(orthonormal, determinant 1); correct the archive's axes."
        )
    return turn


def poses_smplx(motion: Motion) -> Float32[np.ndarray, "T 55 3"]:
    """The same rotations on the 55 joints of SMPL-X, with angles in [0, pi] (up to float32 rounding).

    Joints that the family lacks are exactly zero, and zero rotations stay exactly zero. Joints that SMPL-X lacks
    (SMPL's two hands) are left out. Larger angles are wrapped.
    """
    to = np.array(TO_SMPLX[motion.family])
    poses = np.require(motion.poses, np.float64, ["C", "A"]).view()
    poses.flags.writeable = False  # one numba type for the kernel, for views of files and for new arrays
    out = np.zeros((len(poses), 55, 3), dtype=np.float32)
    kernels_poses.to_smplx(poses, to, out)
    return out


@lru_cache(maxsize=16)  # all recordings of an archive share one matrix
def _quaternion(matrix: bytes) -> np.ndarray | None:
    """Unit quaternion (w, x, y, z) of a float64 rotation matrix; None if it is not a rotation."""
    R = np.frombuffer(matrix).reshape(3, 3)
    if not np.allclose(R @ R.T, np.eye(3), atol=1e-6) or np.linalg.det(R) < 0:
        return None
    xx, yy, zz = np.diag(R)
    x, y, z = R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]
    xy, xz, yz = R[0, 1] + R[1, 0], R[0, 2] + R[2, 0], R[1, 2] + R[2, 1]
    four = np.array(  # 4 q q^T, row by row
        [
            [1 + xx + yy + zz, x, y, z],
            [x, 1 + xx - yy - zz, xy, xz],
            [y, xy, 1 - xx + yy - zz, yz],
            [z, xz, yz, 1 - xx - yy + zz],
        ]
    )
    q = four[np.argmax(np.diag(four))]  # the row of the largest component loses no digits
    return np.asarray(q / np.linalg.norm(q))
