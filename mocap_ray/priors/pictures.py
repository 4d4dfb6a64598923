"""Pictures of poses without a body model: samples of priors as stick figures and hands.

Joints come from the proportions of the stand-in body, so no model file is needed and the pictures carry no licence.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from markupsafe import Markup

from mocap_ray.body.model import ShapedBody
from mocap_ray.body.proportions import GENDER_PROPORTIONS, joint_positions
from mocap_ray.drawing import figures, pixels
from mocap_ray.drawing.hands import FINGERS, SIDES
from mocap_ray.drawing.hands import hands as both_hands
from mocap_ray.priors.prior import Prior
from mocap_ray.skeleton import PARENTS, SMPLX_JOINTS

_TIPS = tuple(f"{side}_{finger}" for side, *_ in SIDES for finger in FINGERS)


@lru_cache(maxsize=1)
def figure_body() -> ShapedBody:
    """The neutral stand-in with the 55 joints of SMPL-X and, after them, ten fingertips, left hand first."""
    at = joint_positions(GENDER_PROPORTIONS["neutral"])
    rest = np.array([at[name] for name in (*SMPLX_JOINTS, *(f"{tip}4" for tip in _TIPS))])
    parents = np.array([*PARENTS["smplx"], *(SMPLX_JOINTS.index(f"{tip}3") for tip in _TIPS)], dtype=np.int64)
    offsets = rest.copy()
    offsets[1:] -= rest[parents[1:]]
    return ShapedBody(rest, offsets, parents)


def posed_joints(poses: Float[np.ndarray, "N 55 3"]) -> Float[np.ndarray, "N 65 3"]:
    """Joints of the stand-in, metres, fingertips last."""
    padded = np.concatenate([poses, np.zeros((len(poses), len(_TIPS), 3), poses.dtype)], axis=1)
    return figure_body().joints(padded, np.zeros((len(poses), 3)), count=65)


def body_figures(
    poses: Float[np.ndarray, "N 55 3"], *, labels: Sequence[str], standalone: bool = False
) -> list[Markup]:
    """Draw each pose as a stick figure in an SVG of its own."""
    return figures.figures(posed_joints(poses)[:, :22], labels=labels, standalone=standalone)


def hand_figures(
    poses: Float[np.ndarray, "N 55 3"], *, labels: Sequence[str], standalone: bool = False
) -> list[Markup]:
    """Draw both hands of each pose in one SVG: side by side, backs up, fingers pointing away from the viewer."""
    hands = poses.copy()
    hands[:, :25] = 0.0
    joints = posed_joints(hands)
    style = figures.style() if standalone else ""
    return [both_hands(pose, label=label, style=style) for pose, label in zip(joints, labels, strict=True)]


def completed_figures(
    poses: Float[np.ndarray, "N K 55 3"],
    *,
    visible: Bool[np.ndarray, "N 55"],
    labels: Sequence[Sequence[str]],
    hands: bool,
) -> list[list[Markup]]:
    """Draw K pictures for each of N poses: the pose itself with its hidden joints pale, then its completions.

    Completions, as bodies or as pairs of hands, have dots where the bones of the pose itself lie elsewhere.
    """
    count = poses.shape[1]
    if not hands:
        joints = posed_joints(poses.reshape(-1, 55, 3))[:, :22]
        return figures.variants(
            joints.reshape(-1, count, 22, 3), hidden=~visible[:, :22], labels=labels, standalone=False
        )
    only_hands = poses.copy()
    only_hands[..., :25, :] = 0.0
    joints = posed_joints(only_hands.reshape(-1, 55, 3)).reshape(-1, count, 65, 3)
    return [
        [
            both_hands(row[k], label=label, pale=~seen if k == 0 else None, over=row[0] if k else None)
            for k, label in enumerate(texts)
        ]
        for row, seen, texts in zip(joints, visible, labels, strict=True)
    ]


def sample_sheet(prior: Prior, *, count: int = 8) -> UInt8[np.ndarray, "H W 3"]:
    """Samples of a prior side by side as an RGB picture, for trackers that show pictures.

    The noise is the same on each call, so the pictures show how samples change during training. A prior of hands
    alone is drawn as hands. The mode of the prior (train or eval) is restored.
    """
    training = prior.training
    prior.eval()
    with torch.no_grad():
        poses = prior.sample(count, torch.Generator().manual_seed(0)).float().cpu().numpy()
    prior.train(training)
    return sheet(poses, hands=all(j >= 25 for j in prior.coordinates.active_joints))


def sheet(poses: Float[np.ndarray, "N 55 3"], *, hands: bool = False) -> UInt8[np.ndarray, "H W 3"]:
    """Stick figures side by side, seen from the front; or left hands above right ones, seen from above.

    A pose with non-finite values gives an empty panel.
    """
    joints = posed_joints(np.nan_to_num(poses))
    joints[~np.isfinite(poses).all(axis=(1, 2))] = np.nan
    return pixels.sheet(joints, hands=hands)
