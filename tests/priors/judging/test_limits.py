"""Joint limits: swing and twist put the rotation together again, and ranges are those that were made."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
import roma
import torch

from mocap_ray.errors import UserError
from mocap_ray.pages.limits import limits_page
from mocap_ray.priors.judging import limits
from mocap_ray.priors.judging.limits import bone_of, limits_of, range_of, swing_twist
from mocap_ray.skeleton import SMPLX_JOINTS
from tests.priors.judging.test_evaluate import gaussian, moving


def random_rotations(count: int) -> torch.Tensor:
    q = torch.randn(count, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return roma.unitquat_to_rotvec(torch.nn.functional.normalize(q, dim=-1))


@pytest.mark.parametrize("joint", range(1, 55))
def test_bones_have_perpendicular_unit_axes(joint: int) -> None:
    bone = bone_of(joint)
    frame = np.concatenate([bone.towards[None], bone.axes])
    np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-12)
    for axis, name in zip(bone.axes, bone.names, strict=True):
        assert axis["xyz".index(name)] > 0.7


def test_bones_point_to_the_child() -> None:
    for name, axis, sign in (
        ("left_knee", 1, -1), ("left_shoulder", 0, 1), ("right_elbow", 0, -1), ("spine3", 1, 1), ("head", 1, 1),
        ("right_wrist", 0, -1), ("left_index3", 0, 1), ("left_foot", 2, 1), ("left_ankle", 2, 1),
    ):  # fmt: skip
        assert sign * bone_of(SMPLX_JOINTS.index(name)).towards[axis] > 0.7, name


@pytest.mark.parametrize("name", ["left_elbow", "left_knee", "neck", "right_thumb2"])
def test_swing_after_twist_is_the_rotation(name: str) -> None:
    bone, rotvecs = bone_of(SMPLX_JOINTS.index(name)), random_rotations(500)
    swing, twist = swing_twist(rotvecs, bone)
    S, T = torch.as_tensor(swing @ bone.axes), torch.as_tensor(twist[:, None] * bone.towards)
    again = roma.rotvec_composition((S, T))
    assert float(roma.rotvec_geodesic_distance(again, rotvecs).max()) < 1e-6
    assert np.abs(twist).max() <= math.pi
    # The swing alone turns the bone to where the rotation turns it.
    b = torch.as_tensor(bone.towards).expand(500, 3)[:, :, None]
    moved = [(roma.rotvec_to_rotmat(r) @ b)[:, :, 0] for r in (S, rotvecs)]
    torch.testing.assert_close(moved[0], moved[1], atol=1e-6, rtol=0)


def test_half_a_turn_of_the_bone_has_no_twist() -> None:
    bone = bone_of(SMPLX_JOINTS.index("left_knee"))
    swing, twist = swing_twist(torch.as_tensor(math.pi * bone.axes[:1]), bone)
    assert twist[0] == 0.0
    assert np.linalg.norm(swing) == pytest.approx(math.pi)


def test_ranges_are_the_quantiles_that_were_made() -> None:
    bone = bone_of(SMPLX_JOINTS.index("left_elbow"))
    rng = np.random.default_rng(0)
    swing = np.radians(rng.uniform((-10, 20), (40, 100), size=(4000, 2)))
    twist = np.radians(rng.uniform(150, 230, size=4000))  # across half a turn
    rotvecs = roma.rotvec_composition(
        (torch.as_tensor(swing @ bone.axes), torch.as_tensor(twist[:, None] * bone.towards))
    )
    found = range_of(rotvecs, bone, (0.05, 0.95))
    np.testing.assert_allclose(found.swing, [[-7.5, 37.5], [24, 96]], atol=2)
    np.testing.assert_allclose(found.twist % 360, [154, 226], atol=2)
    assert found.twist[1] - found.twist[0] == pytest.approx(72, abs=2)
    assert found.cone == pytest.approx(np.quantile(np.degrees(np.linalg.norm(swing, axis=1)), 0.95), abs=0.1)
    inside = _inside(np.degrees(swing), found.outline)
    assert 0.5 < inside.mean() < 0.92
    corners = found.outline
    np.testing.assert_allclose([corners.min(0), corners.max(0)], np.array(found.swing).T, atol=0.5)


def _inside(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Whether points lie in a convex polygon."""
    side = np.roll(corners, -1, axis=0) - corners
    to = points[:, None] - corners
    cross = side[:, 0] * to[..., 1] - side[:, 1] * to[..., 0]
    return (cross >= -1e-9).all(1)


def test_the_outline_of_a_hinge_is_a_line_and_of_one_point_that_point() -> None:
    line = np.stack([np.linspace(-50, 80, 500), np.full(500, 3.0)], axis=1)
    corners = limits.outline(line, (0.0, 1.0))
    assert corners[:, 0].min() == pytest.approx(-50, abs=1e-6)
    assert corners[:, 0].max() == pytest.approx(80, abs=1e-6)
    np.testing.assert_allclose(corners[:, 1], 3.0, atol=1e-6)
    np.testing.assert_allclose(limits.outline(np.full((5, 2), 7.0), (0.01, 0.99)), 7.0, atol=1e-6)


def test_limits_are_those_of_the_training_poses_with_those_of_the_prior_beside() -> None:
    train = moving(2000, 1)
    prior = gaussian(train)
    found = limits_of(prior, train, samples=4000)
    assert list(found.bones) == list(SMPLX_JOINTS[1:22])
    plain = json.loads(json.dumps(found.summary(), allow_nan=False))
    knee = plain["joints"]["left_knee"]
    assert set(knee) == {"bone", "data", "prior"}
    assert knee["data"]["swing"][0]["near"] == "x"
    widths = [[np.ptp(s["range"]) for s in knee[kind]["swing"]] for kind in ("data", "prior")]
    np.testing.assert_allclose(widths[0], widths[1], rtol=0.25)
    # A prior of other poses believes in other ranges.
    wider = limits_of(gaussian(moving(2000, 1, spread=0.4)), train, samples=4000)
    assert wider.data["left_knee"].cone == found.data["left_knee"].cone
    assert wider.prior["left_knee"].cone > 1.5 * found.prior["left_knee"].cone
    assert limits_of(prior, train, samples=4000).summary() == found.summary()


@pytest.mark.parametrize("quantiles", [(0.5, 0.99), (-0.1, 0.9), (0.1, 1.5), (0.9, 0.1), (math.nan, 0.9)])
def test_quantiles_are_on_both_sides_of_the_median(quantiles: tuple[float, float]) -> None:
    train = moving(50, 1)
    with pytest.raises(UserError, match="expected a lower one"):
        limits_of(gaussian(train), train, quantiles=quantiles)


def test_the_page_draws_each_joint_with_the_ranges_of_the_file() -> None:
    train = moving(300, 1)
    found = limits_of(gaussian(train), train, samples=300)
    html = limits_page(found, name="a<b>")
    assert html.count('class="disc"') == 21
    assert html.count('class="region"') == html.count('class="prior"') == 21
    assert "a<b>" not in html
    low, high = found.data["left_knee"].twist
    assert f"{low:.0f} to {high:.0f}°" in html
    # Every corner lies on the disc, which is 70 in the picture.
    for corners in re.findall(r'class="(?:region|prior)" points="([^"]*)"', html):
        places = np.array([[float(v) for v in p.split(",")] for p in corners.split()])
        assert np.linalg.norm(places, axis=1).max() < 70.2
