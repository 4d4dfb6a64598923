"""Keypoints against a camera written as matrices, and what BODY-25 takes from SMPL's joints."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mocap_ray.generation.keypoints import (
    BODY25,
    DISTANCE,
    ELEVATION,
    NECK,
    OF_SMPL,
    PELVIS,
    body25,
    in_box,
    projected,
    random_views,
)
from mocap_ray.skeleton import BODY_JOINTS
from tests.dataset.made import walker


def test_the_keypoints_are_the_joints_of_the_same_name() -> None:
    other = {
        "elbow": "elbow",
        "wrist": "wrist",
        "shoulder": "shoulder",
        "hip": "hip",
        "knee": "knee",
        "ankle": "ankle",
    }
    for point, joint in OF_SMPL.items():
        side, _, part = BODY25[point].partition("_")
        expected = f"{side}_foot" if part == "big_toe" else f"{side}_{other[part]}"
        assert BODY_JOINTS[joint] == expected
    joints = torch.from_numpy(walker(3))
    points, confidence = body25(joints)
    assert confidence.sum() == 16
    assert confidence[[0, 15, 16, 17, 18, 20, 21, 23, 24]].sum() == 0
    torch.testing.assert_close(points[:, PELVIS], (points[:, 9] + points[:, 12]) / 2)
    torch.testing.assert_close(points[:, NECK], (points[:, 2] + points[:, 5]) / 2)


@pytest.mark.parametrize(
    ("azimuth", "elevation", "distance"), [(0.0, 0.0, 3.0), (1.0, 0.3, 4.5), (4.0, -0.2, 6.0)]
)
def test_the_camera_is_a_pinhole_that_looks_at_the_pelvis(
    azimuth: float, elevation: float, distance: float
) -> None:
    points, _ = body25(torch.from_numpy(walker(4)))
    middle = points[:, PELVIS].numpy()
    toward = np.array(
        [
            math.sin(azimuth) * math.cos(elevation),
            math.sin(elevation),
            math.cos(azimuth) * math.cos(elevation),
        ]
    )
    # Rows of the rotation: right, down and forward of the camera in the world.
    right = np.cross(-toward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    R_camera_world = np.stack([right, np.cross(-toward, right), -toward])
    seen = (points.numpy() - (middle + distance * toward)[:, None]) @ R_camera_world.T
    expected = seen[..., :2] / seen[..., 2:]
    args = {k: torch.full((4,), v, dtype=torch.float64) for k, v in
            (("azimuth", azimuth), ("elevation", elevation), ("distance", distance))}  # fmt: skip
    np.testing.assert_allclose(projected(points, **args).numpy(), expected, atol=1e-12)


def test_seen_from_the_front_the_left_hand_is_on_the_right_and_the_head_above() -> None:
    points, _ = body25(torch.from_numpy(walker(1)))
    zero = torch.zeros(1, dtype=torch.float64)
    flat = projected(points, azimuth=zero, elevation=zero, distance=zero + 4)[0]
    assert flat[7, 0] > flat[PELVIS, 0] > flat[4, 0]
    assert flat[NECK, 1] < flat[PELVIS, 1] < flat[19, 1]


def test_a_box_is_centred_and_as_long_as_two_whatever_its_place_and_size() -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(6, 25, 2, generator=generator)
    confidence = (torch.rand(6, 25, generator=generator) < 0.6).float()
    confidence[5] = 0
    found = in_box(points, confidence)
    seen = confidence[:5, :, None] > 0
    low = torch.where(seen, found[:5, :, :2], 9).amin(1)
    high = torch.where(seen, found[:5, :, :2], -9).amax(1)
    torch.testing.assert_close(low, -high, atol=1e-5, rtol=0)
    torch.testing.assert_close(high.amax(-1), torch.ones(5))
    assert not found[5].any()
    assert not found[..., :2][confidence == 0].any()
    torch.testing.assert_close(in_box(300 * points + 1000, confidence), found, atol=1e-4, rtol=0)


def test_random_cameras_are_those_that_are_documented() -> None:
    torch.manual_seed(0)
    joints = torch.from_numpy(walker(1)).float().expand(4000, 2, 22, 3)
    views = random_views(joints)
    assert torch.equal(views[:, 0], views[:, 1]), "one camera for a motion"
    assert torch.isfinite(views).all()
    # The line of the shoulders: its width in the box is that of a figure seen from any side.
    across = views[:, 0, 2, 0] - views[:, 0, 5, 0]
    assert 0.4 < float((across > 0).float().mean()) < 0.6
    assert (DISTANCE, round(math.degrees(ELEVATION))) == ((3.0, 6.0), 20)
