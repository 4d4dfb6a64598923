"""The cameras of the estimator: the virtual one of a crop, and one common to a shot.

The network sees every crop through a camera with 5000 px focal length for 192 x 256 px, far away, so the depth mostly
says how large a person is in the crop. Frames: X right, Y down, Z away from the camera; metres and pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

FOCAL = 5000.0
"""Focal length of the virtual camera, px of the network's image."""
HEIGHT, WIDTH = 256, 192
"""The image that the virtual camera is defined for, px."""
MOST_DEPTH = FOCAL * 2.5 / math.sqrt(HEIGHT * WIDTH)
"""Upper bound of the depth, metres: where a person of 2.5 m covers one pixel in the geometric mean of the sides."""


def translation(camera: Float[Tensor, "B 3"]) -> Float[Tensor, "B 3"]:
    """Translation of the SMPL-X model in the frame of the virtual camera, metres; its depth is in (0, 56.4).

    Args:
        camera: x, y and the logit of the depth, as the head gives them.
    """
    return torch.cat([camera[:, :2], MOST_DEPTH * torch.sigmoid(camera[:, 2:])], dim=1)


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera without distortion.

    Attributes:
        focal: px, the same in both directions.
        x, y: principal point, px.
    """

    focal: float
    x: float
    y: float

    def project(self, points: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, "*B 2"]:
        """Pixels of points in the camera's frame, which lie in front of it."""
        pixels: np.ndarray = points[..., :2] / points[..., 2:] * self.focal + np.asarray([self.x, self.y])
        return pixels.astype(points.dtype)


def crop_camera(x: float, y: float, width: float, height: float) -> Camera:
    """The virtual camera of a crop, in pixels of the original image.

    Args:
        x, y: upper left corner of the crop in the image, px.
        width, height: of the crop, px, in a ratio of 3 to 4.
    """
    if not math.isclose(width / WIDTH, height / HEIGHT, rel_tol=1e-3):
        raise ValueError(f"a crop of {width:g} x {height:g} px. Expected a ratio of {WIDTH} to {HEIGHT}.")
    return Camera(FOCAL * height / HEIGHT, x + width / 2, y + height / 2)


def rebased(
    translation: Float[np.ndarray, "3"], pelvis: Float[np.ndarray, "3"], *, crop: Camera, to: Camera
) -> Float[np.ndarray, "3"]:
    """The translation with which another camera sees the person where, and as large as, the crop's camera does.

    Exact at the pelvis; elsewhere as good as a body is flat compared with its distance (weak perspective).

    Args:
        translation: of the SMPL-X model in the frame of the crop's camera, metres.
        pelvis: the pelvis in the same frame: the translation and the pelvis of the shaped model.
        crop: the virtual camera of the crop.
        to: the common camera.
    """
    depth = pelvis[2] * to.focal / crop.focal
    pixel = crop.project(pelvis)
    at = np.asarray([(pixel[0] - to.x) * depth / to.focal, (pixel[1] - to.y) * depth / to.focal, depth])
    moved: np.ndarray = translation + (at - pelvis)
    return moved.astype(translation.dtype)
