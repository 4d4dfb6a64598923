"""From box to crop, as the reference cuts them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mocap_ray.estimation.crops import affine, crop, crop_box


def test_crops_are_those_of_the_reference(shared: Path) -> None:
    """Of its crops every eighth pixel is stored, which is every fourth at the size of the network."""
    with np.load(shared / "estimator" / "fixture_data.npz") as file:
        boxes, expected = file["crop_in_xywh"], file["crop_img_sub8"]
        cut = file["crop_bbox"]
    path = shared / "estimator" / "hd_data" / "img" / "synbody" / "seq" / "a.png"
    image = np.asarray(Image.open(path).convert("RGB"))
    height, width = image.shape[:2]
    for (x, y, w, h), part, pixels in zip(boxes, cut, expected, strict=True):
        box = crop_box(np.array([x, y, x + w, y + h]), width=width, height=height)
        assert box is not None
        np.testing.assert_array_equal(box, part)
        exact = cv2.warpAffine(image.astype(np.float32), affine(box), (192, 256))
        np.testing.assert_array_equal(exact[::4, ::4], pixels)
        assert np.abs(crop(image, box)[::4, ::4] - pixels).max() <= 0.5  # rounded to uint8


@pytest.mark.parametrize("corners", [
    [-50, 10, -5, 90], [400, 10, 500, 90], [10, 10, 10, 90], [10, 50, 40, 20], [10, -90, 60, -5],
])  # fmt: skip
def test_a_box_without_pixels_has_no_crop(corners: list[float]) -> None:
    assert crop_box(np.array(corners, float), width=320, height=200) is None


def test_a_crop_keeps_the_shape_of_people() -> None:
    box = crop_box(np.array([100.0, 50.0, 140.0, 150.0]), width=320, height=200)
    assert box is not None
    assert box[2] / box[3] == pytest.approx(0.75)
    image = np.zeros((200, 320, 3), np.uint8)
    image[50:150, 100:140] = 255
    seen = crop(image, box)
    assert seen.shape == (256, 192, 3)
    rows, columns = np.flatnonzero(seen[:, 96, 0] > 127), np.flatnonzero(seen[128, :, 0] > 127)
    assert len(rows) / len(columns) == pytest.approx(100 / 40, rel=0.03)
