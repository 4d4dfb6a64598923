"""The cameras: where the network places people, and that another camera sees them in the same place."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mocap_ray.estimation.camera import MOST_DEPTH, Camera, crop_camera, rebased, translation


def test_depth_is_bounded_and_grows_with_its_logit() -> None:
    camera = torch.tensor([[0.1, -0.2, x] for x in (-200.0, -1, 0, 1, 200)])
    found = translation(camera)
    torch.testing.assert_close(found[:, :2], camera[:, :2])
    assert pytest.approx(56.3819, abs=1e-4) == MOST_DEPTH
    assert found[2, 2].item() == pytest.approx(MOST_DEPTH / 2)
    assert (found[1:, 2] >= found[:-1, 2]).all()
    assert found[0, 2] >= 0
    assert found[-1, 2] <= MOST_DEPTH + 1e-4


def test_the_camera_of_a_crop_sees_in_the_image_what_the_network_saw_in_the_crop() -> None:
    points = np.asarray([[0.1, -0.3, 20.0], [0.0, 0.0, 5.0]])
    x, y, width, height = 100.0, 50.0, 300.0, 400.0
    in_crop = Camera(5000.0, 96.0, 128.0).project(points)  # 192 x 256
    np.testing.assert_allclose(
        crop_camera(x, y, width, height).project(points), in_crop * width / 192 + [x, y]
    )
    with pytest.raises(ValueError, match="a ratio of 192 to 256"):
        crop_camera(0.0, 0.0, 300.0, 300.0)


@pytest.mark.parametrize("focal", [300.0, 1500.0, 8000.0])
def test_another_camera_sees_the_pelvis_in_the_same_pixel_and_the_body_as_large(focal: float) -> None:
    crop, to = crop_camera(700.0, 80.0, 150.0, 200.0), Camera(focal, 960.0, 540.0)
    trans = np.asarray([0.05, 0.4, 30.0])
    pelvis = trans + np.asarray([0.003, -0.35, 0.012])
    moved = rebased(trans, pelvis, crop=crop, to=to)
    there = pelvis + (moved - trans)
    np.testing.assert_allclose(to.project(there), crop.project(pelvis))
    assert to.focal / there[2] == pytest.approx(crop.focal / pelvis[2])  # px per metre
    np.testing.assert_allclose(rebased(trans, pelvis, crop=crop, to=crop), trans)
