"""The 137 keypoints that a training compares: which joints of SMPL-X they are, their frames, their projection."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mocap_ray.estimation.camera import FOCAL, HEIGHT, WIDTH

# Of the 144 joints of smplx: 55 of the skeleton, 21 vertices (nose, eyes, ears, feet, finger tips), 68 of the face.
_BODY = (0, 1, 2, 4, 5, 7, 8, 12, *range(16, 22), *range(60, 66), 59, 58, 57, 56, 55)
_LEFT_BASES, _RIGHT_BASES = (37, 25, 28, 34, 31), (52, 40, 43, 49, 46)  # thumb, index, middle, ring, pinky
_LEFT_TIP, _RIGHT_TIP = 66, 71
_FACE = (22, 15, 57, 56, *range(76, 144))  # jaw, head, left eye, right eye, landmarks


def _fingers(bases: tuple[int, ...], tip: int) -> tuple[int, ...]:
    return tuple(joint for k, base in enumerate(bases) for joint in (base, base + 1, base + 2, tip + k))


KEYPOINTS = (*_BODY, *_fingers(_LEFT_BASES, _LEFT_TIP), *_fingers(_RIGHT_BASES, _RIGHT_TIP), *_FACE)
"""Index of each keypoint among the 144 joints of smplx; estimates and labels use the same order, also of the eyes."""
BODY, LEFT_HAND, RIGHT_HAND, FACE = slice(0, 25), slice(25, 45), slice(45, 65), slice(65, 137)
PELVIS, NECK, LEFT_WRIST, RIGHT_WRIST = 0, 7, 12, 13
HEAT_MAP = (12, 16)
"""Columns and rows of the grid in whose cells a training measures pixels."""


def keypoints(joints: Float[Tensor, "*B 144 3"]) -> Float[Tensor, "*B 137 3"]:
    """The keypoints among the joints that smplx gives."""
    return joints[..., list(KEYPOINTS), :]


def to_heat_map(points: Float[Tensor, "*B N 3"]) -> Float[Tensor, "*B N 2"]:
    """Points in the frame of the virtual camera as cells of the heat map, from the upper left corner of the crop."""
    size = points.new_tensor([WIDTH, HEIGHT])
    pixels = points[..., :2] / (points[..., 2:] + 1e-4) * FOCAL + size / 2
    return pixels / size * points.new_tensor(HEAT_MAP)


def from_pelvis(points: Float[Tensor, "*B 137 3"]) -> Float[Tensor, "*B 137 3"]:
    """Keypoints relative to the pelvis."""
    return points - points[..., [PELVIS], :]


def from_part_roots(points: Float[Tensor, "*B 137 3"]) -> Float[Tensor, "*B 137 3"]:
    """Hands relative to their wrists, the face relative to the neck, the body relative to the pelvis."""
    parts = ((BODY, PELVIS), (LEFT_HAND, LEFT_WRIST), (RIGHT_HAND, RIGHT_WRIST), (FACE, NECK))
    return torch.cat([points[..., part, :] - points[..., [root], :] for part, root in parts], dim=-2)
