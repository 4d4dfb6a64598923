"""The detector that needs no download: upright figures, at any size of the image."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from mocap_ray.errors import UserError
from mocap_ray.estimation.detectors import Hog, find_detector
from mocap_ray.estimation.tracking import intersection_over_union


def silhouette(x: float, y: float, height: float, *, times: int = 1) -> np.ndarray:
    """Somebody who stands: x of the middle, y of the top, px of an image of 640 x 480, which is then enlarged."""
    image = Image.new("RGB", (640, 480), (205, 205, 205))
    pen, dark = ImageDraw.Draw(image), (40, 40, 45)

    def at(*points: float) -> list[tuple[float, float]]:
        return [(x + a * height, y + b * height) for a, b in zip(points[::2], points[1::2], strict=True)]

    pen.ellipse(at(-0.07, 0, 0.07, 0.15), fill=dark)
    pen.rounded_rectangle(at(-0.13, 0.16, 0.13, 0.53), radius=0.05 * height, fill=dark)
    legs = at(-0.12, 0.5, 0.12, 0.5, 0.12, 1, 0.03, 1, 0, 0.6, -0.03, 1, -0.12, 1)
    pen.polygon(legs, fill=dark)
    for side in (-1, 1):
        pen.line(at(side * 0.14, 0.2, side * 0.18, 0.55), fill=dark, width=max(2, int(0.06 * height)))
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(1)))
    return np.ascontiguousarray(pixels.repeat(times, 0).repeat(times, 1))


@pytest.mark.parametrize(("x", "y", "height", "times"), [
    (160, 40, 150, 1), (100, 20, 200, 1), (400, 100, 300, 1), (300, 80, 250, 3),
])  # fmt: skip
def test_somebody_who_stands_is_found_once(x: float, y: float, height: float, times: int) -> None:
    boxes, scores = Hog().detect(silhouette(x, y, height, times=times))
    assert boxes.shape == (1, 4)
    assert scores.shape == (1,)
    truth = times * np.array([[x - 0.2 * height, y, x + 0.2 * height, y + height]])
    assert intersection_over_union(boxes, truth)[0, 0] > 0.5


@pytest.mark.parametrize("size", [(480, 640), (50, 40), (1, 1)])
def test_nobody_is_found_in_nothing(size: tuple[int, int]) -> None:
    boxes, scores = Hog().detect(np.zeros((*size, 3), np.uint8))
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)


def test_a_detector_has_a_name() -> None:
    assert isinstance(find_detector("hog"), Hog)
    with pytest.raises(UserError, match="hog"):
        find_detector("yolo")
