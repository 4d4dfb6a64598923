"""Bones as copies of one solid: closed solids, ends where the joints are, nothing for what is not finite."""

from __future__ import annotations

import numpy as np
import pytest

from mocap_ray.skeleton import BODY_JOINTS, BODY_PARENTS
from mocap_ray.viewing import bones
from tests.dataset.made import walker


def rotated(quat_wxyz: np.ndarray, point: np.ndarray) -> np.ndarray:
    """A point turned by a quaternion, by its definition q p q*."""
    w, v = quat_wxyz[0], quat_wxyz[1:]
    return point + 2 * np.cross(v, np.cross(v, point) + w * point)


@pytest.mark.parametrize("solid", [bones.lathe, bones.ball])
def test_solids_are_closed_and_face_outward(solid) -> None:  # type: ignore[no-untyped-def]
    vertices, faces = solid()
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    _, counts = np.unique(edges, axis=0, return_counts=True)
    assert set(counts.tolist()) == {2}
    corners = vertices[faces]
    volume = np.einsum("ij,ij->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
    assert volume > 1.0


def test_each_bone_reaches_from_its_parent_to_its_joint() -> None:
    joints = walker(3, phase=0.4)[1]
    copies = bones.bones(joints, BODY_PARENTS)
    for k, (parent, joint) in enumerate(zip(BODY_PARENTS[1:], range(1, 22), strict=True)):
        end = copies.positions[k] + rotated(copies.quats_wxyz[k], np.array([0, 1.0, 0]) * copies.scales[k])
        np.testing.assert_allclose(copies.positions[k], joints[parent], atol=1e-12)
        np.testing.assert_allclose(end, joints[joint], atol=1e-9)


def test_the_shortest_rotation_is_right_at_both_ends_of_the_axis() -> None:
    directions = np.array([[0, 1, 0], [0, -1, 0], [1, 0, 0], [0, -1 + 1e-13, 1e-7]], np.float64)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for quat, direction in zip(bones.y_to(directions), directions, strict=True):
        assert np.linalg.norm(quat) == pytest.approx(1.0)
        np.testing.assert_allclose(rotated(quat, np.array([0, 1.0, 0])), direction, atol=1e-6)


def test_what_is_not_finite_or_has_no_length_is_hidden() -> None:
    joints = walker(3)[1]
    joints[20] = np.nan
    joints[4] = joints[1]
    copies = bones.bones(joints, BODY_PARENTS)
    hidden = [k + 1 for k in range(21) if not copies.scales[k].any()]
    assert hidden == [4, 20]
    assert np.isfinite(copies.positions).all()
    assert np.isfinite(copies.quats_wxyz).all()
    dots = bones.balls(joints)
    assert [k for k in range(22) if not dots.scales[k].any()] == [20]
    assert np.isfinite(dots.positions).all()
    joints[15] = np.nan
    assert not bones.balls(joints).scales[22].any(), "no head without its joint"


def test_left_and_right_have_the_colours_of_the_pages() -> None:
    colours = bones.colours(BODY_JOINTS)
    for name, colour in zip(BODY_JOINTS, colours.tolist(), strict=True):
        side = (
            bones.LEFT
            if name.startswith("left")
            else bones.RIGHT
            if name.startswith("right")
            else bones.TRUNK
        )
        assert tuple(colour) == side
