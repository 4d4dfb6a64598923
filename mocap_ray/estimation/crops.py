"""From a box to the image that the network sees: 192 x 256 px, in one warp."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from mocap_ray.estimation.camera import HEIGHT, WIDTH

GROW = 1.2
"""A crop is so many times larger than the box of the detector."""


def crop_box(
    corners: Float[np.ndarray, "4"], *, width: int, height: int, grow: float = GROW
) -> Float[np.ndarray, "4"] | None:
    """Left, top, width and height of the crop of a box, px, in a ratio of 3 to 4; it may leave the image.

    The box is cut to the image, its short side is grown to the ratio, and both are multiplied, about its centre.

    Args:
        corners: left, top, right and bottom of the box.
        width, height: of the image.
        grow: factor on the sides.

    Returns:
        float32; None if nothing of the box is in the image.
    """
    box = np.asarray(corners, np.float64)
    left, top = max(0.0, box[0]), max(0.0, box[1])
    right = min(width - 1.0, left + max(0.0, box[2] - box[0] - 1))
    bottom = min(height - 1.0, top + max(0.0, box[3] - box[1] - 1))
    inside = box[2] > max(0.0, box[0]) and box[3] > max(0.0, box[1])
    if not (inside and right > left and bottom > top):
        return None
    w, h = right - left, bottom - top
    x, y = left + w / 2, top + h / 2
    if w * HEIGHT > h * WIDTH:
        h = w * HEIGHT / WIDTH
    else:
        w = h * WIDTH / HEIGHT
    w, h = w * grow, h * grow
    return np.asarray([x - w / 2, y - h / 2, w, h], np.float32)


def crop(image: UInt8[np.ndarray, "H W 3"], box: Float[np.ndarray, "4"]) -> UInt8[np.ndarray, "256 192 3"]:
    """A part of an image at the size of the network; black outside of the image.

    Args:
        image: RGB.
        box: result of `crop_box`.
    """
    warped: np.ndarray = cv2.warpAffine(
        image, affine(box), (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )
    return np.asarray(warped, np.uint8)


def affine(box: Float[np.ndarray, "4"]) -> Float[np.ndarray, "2 3"]:
    """From pixels of the image to those of the crop; the reference's crop has twice the size, and drops every other."""
    x, y, w, h = (float(v) for v in box)
    cx, cy = x + w / 2, y + h / 2
    source = np.asarray([[cx, cy], [cx, cy + h / 2], [cx + w / 2, cy]], np.float32)
    target = np.asarray([[WIDTH, HEIGHT], [WIDTH, 2 * HEIGHT], [2 * WIDTH, HEIGHT]], np.float32)
    found: np.ndarray = 0.5 * cv2.getAffineTransform(source, target)
    return found
