"""Sparse 2-D keypoints in the order of OpenPose's BODY-25, seen by pinhole cameras.

SMPL's 22 joints have the limbs and the big toes of BODY-25; the pelvis is the middle of the hips and the neck that of
the shoulders, as BODY-25 defines them. The nose, eyes, ears, small toes and heels have confidence 0.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

BODY25 = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "pelvis", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye",
    "left_eye", "right_ear", "left_ear", "left_big_toe", "left_small_toe", "left_heel", "right_big_toe",
    "right_small_toe", "right_heel",
)  # fmt: skip
"""Names of BODY-25 (Cao et al. 2019, arXiv:1812.08008)."""
NECK, PELVIS = 1, 8
OF_SMPL = {2: 17, 3: 19, 4: 21, 5: 16, 6: 18, 7: 20, 9: 2, 10: 5, 11: 8, 12: 1, 13: 4, 14: 7, 19: 10, 22: 11}
"""Keypoint -> the joint of SMPL's 22 that it is."""
VIEWS = 5
"""Frames of a motion that have keypoints, in training."""
DISTANCE = (3.0, 6.0)
"""Distance of a camera from the pelvis, metres."""
ELEVATION = math.radians(20)
"""Largest angle of a camera above or below the horizontal."""
NEAREST = 0.3
"""Least depth of a joint, metres."""


def body25(joints: Float[Tensor, "*B 22 3"]) -> tuple[Float[Tensor, "*B 25 3"], Float[Tensor, "25"]]:
    """The keypoints in space, and the confidence of each: 1, or 0 for those that SMPL's joints do not have."""
    points = joints.new_zeros(*joints.shape[:-2], len(BODY25), 3)
    confidence = joints.new_zeros(len(BODY25))
    points[..., list(OF_SMPL), :] = joints[..., list(OF_SMPL.values()), :]
    points[..., PELVIS, :] = joints[..., [1, 2], :].mean(-2)
    points[..., NECK, :] = joints[..., [16, 17], :].mean(-2)
    confidence[[*OF_SMPL, PELVIS, NECK]] = 1.0
    return points, confidence


def projected(
    points: Float[Tensor, "*B K 3"],
    *,
    azimuth: Float[Tensor, "*B"],
    elevation: Float[Tensor, "*B"],
    distance: Float[Tensor, "*B"],
) -> Float[Tensor, "*B K 2"]:
    """Where a pinhole camera of focal length 1 that looks at the pelvis sees points; x to its right, y down.

    Args:
        points: metres, Y up.
        azimuth: of the camera around Y, from +Z towards +X, rad.
        elevation: of the camera above the horizontal, rad.
        distance: from the pelvis, metres.
    """
    x, y, z = (points - points[..., PELVIS : PELVIS + 1, :]).unbind(-1)
    sa, ca, se, ce = (f(angle)[..., None] for angle in (azimuth, elevation) for f in (torch.sin, torch.cos))
    toward = sa * x + ca * z  # horizontally towards the camera
    depth = (distance[..., None] - ce * toward - se * y).clamp_min(NEAREST)
    right = ca * x - sa * z
    up = ce * y - se * toward
    return torch.stack([right / depth, -up / depth], dim=-1)


def in_box(points: Float[Tensor, "*B K 2"], confidence: Float[Tensor, "*B K"]) -> Float[Tensor, "*B K 3"]:
    """Points relative to the middle of their bounding box, divided by half its longer side; zeros where unseen."""
    seen = confidence[..., None] > 0
    low = torch.where(seen, points, torch.inf).amin(-2, keepdim=True)
    high = torch.where(seen, points, -torch.inf).amax(-2, keepdim=True)
    half = (0.5 * (high - low)).amax(-1, keepdim=True).clamp_min(1e-6)
    placed = torch.where(seen, (points - 0.5 * (low + high)) / half, 0.0)
    placed = torch.where(seen.any(-2, keepdim=True), placed, 0.0)
    return torch.cat([placed, confidence[..., None]], dim=-1)


def random_views(joints: Float[Tensor, "B P 22 3"]) -> Float[Tensor, "B P 25 3"]:
    """Keypoints of frames, each motion seen by a random camera of its own: any azimuth, from `DISTANCE`.

    Args:
        joints: metres, Y up.
    """
    B, P = joints.shape[:2]
    points, confidence = body25(joints)
    azimuth, elevation, distance = torch.rand(3, B, 1, device=joints.device).expand(3, B, P)
    flat = projected(
        points,
        azimuth=2 * math.pi * azimuth,
        elevation=ELEVATION * (2 * elevation - 1),
        distance=DISTANCE[0] + (DISTANCE[1] - DISTANCE[0]) * distance,
    )
    return in_box(flat, confidence.expand(B, P, len(BODY25)))
