"""The range of motion of each joint, learned from data: swing and twist at given quantiles.

A rotation R of a joint is split into R = S T. T, the twist, is about the bone's rest direction b (towards the child);
S, the swing, is the smallest rotation that turns b to R b, so its axis is perpendicular to b. With the quaternion
(w, v) of R, T is the unit quaternion along (w, (v . b) b), and S = R T^-1 (Dobrowolski, Swing-twist decomposition in
Clifford algebra, 2015). The swing has two numbers: the rotation vector of S along two fixed axes perpendicular to b.

Where R turns b to -b, the twist is undefined; it is then 0, and the swing has any direction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import roma
import torch
from jaxtyping import Float
from torch import Tensor

from mocap_ray.errors import UserError
from mocap_ray.priors.judging.draws import finite_samples
from mocap_ray.priors.pictures import figure_body
from mocap_ray.priors.prior import Prior
from mocap_ray.skeleton import SMPLX_JOINTS
from mocap_ray.wording import counted

QUANTILES = (0.01, 0.99)
DRAWN = 10_000
"""Samples of a prior."""
MOST = 200_000
"""Training poses; more are drawn at random."""
SHOWN = 300
"""Swings of training poses that a page shows as dots."""
_CHILD = {"pelvis": "spine1", "spine3": "neck", "left_wrist": "left_middle1", "right_wrist": "right_middle1"}
"""The child that a bone points to where there are several."""


@dataclass(frozen=True, slots=True, eq=False)
class Bone:
    """The frame in which a joint's rotation is split.

    Attributes:
        towards: [3] unit vector b, in the rest pose (T-pose, Y up, facing +Z, left is +X).
        axes: [2, 3] the swing's axes, unit vectors perpendicular to b and to each other.
        names: for each swing axis the axis of the rest pose that it is closest to, `x`, `y` or `z`.
    """

    towards: Float[np.ndarray, "3"]
    axes: Float[np.ndarray, "2 3"]
    names: tuple[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Range:
    """Range of a joint in some poses, degrees.

    Attributes:
        swing: [2, 2] lower and upper quantile of the rotation about each swing axis.
        cone: upper quantile of the swing's angle.
        twist: [2] lower and upper quantile of the twist, counted from its circular mean, so that a range across half a
            turn stays one piece: its ends may lie beyond +-180.
        outline: [K, 2] corners of the region of swings that lie within the quantiles in each of 36 directions.
        cloud: [n, 2] some swings.
    """

    swing: Float[np.ndarray, "2 2"]
    cone: float
    twist: Float[np.ndarray, "2"]
    outline: Float[np.ndarray, "K 2"]
    cloud: Float[np.ndarray, "n 2"]

    def plain(self, bone: Bone) -> dict[str, Any]:
        """Plain JSON values, degrees."""
        swing = [
            {"axis": _rounded(axis, 6), "near": name, "range": _rounded(ends, 3)}
            for axis, name, ends in zip(bone.axes, bone.names, self.swing, strict=True)
        ]
        return {"swing": swing, "cone": round(self.cone, 3), "twist": _rounded(self.twist, 3)}


@dataclass(frozen=True, slots=True, eq=False)
class Limits:
    """Ranges of the joints of a prior.

    Attributes:
        quantiles: lower and upper.
        poses, samples: number of training poses and of samples of the prior.
        bones: joint -> its frame.
        data: joint -> its range in the training poses.
        prior: joint -> its range in the samples.
    """

    quantiles: tuple[float, float]
    poses: int
    samples: int
    bones: dict[str, Bone]
    data: dict[str, Range]
    prior: dict[str, Range]

    def summary(self) -> dict[str, Any]:
        """Plain JSON values: what `limits.json` contains."""
        return {
            "quantiles": list(self.quantiles),
            "unit": "degrees",
            "training_poses": self.poses,
            "samples": self.samples,
            "joints": {
                name: {
                    "bone": _rounded(bone.towards, 6),
                    "data": self.data[name].plain(bone),
                    "prior": self.prior[name].plain(bone),
                }
                for name, bone in self.bones.items()
            },
        }


def check_quantiles(quantiles: tuple[float, float]) -> None:
    """Raise UserError unless 0 <= lower < 0.5 < upper <= 1."""
    low, high = quantiles
    if not 0 <= low < 0.5 < high <= 1:
        raise UserError(
            f"quantiles {low:g} and {high:g}: expected a lower one from 0 to below 0.5 and an upper one from above "
            "0.5 to 1, such as 0.01 0.99."
        )


@torch.no_grad()
def limits_of(
    prior: Prior,
    train: Float[Tensor, "N 55 3"],
    *,
    quantiles: tuple[float, float] = QUANTILES,
    samples: int = DRAWN,
    seed: int = 0,
) -> Limits:
    """The ranges of all joints that a prior models, in its training poses and in its samples.

    The pelvis is left out: its rotation is that of the body in the world.

    Args:
        prior: in eval mode.
        train: the poses it was trained on, axis-angle.
        quantiles: lower and upper.
        samples: number of samples of the prior.
        seed: seed of all random draws.

    Raises:
        UserError: quantiles that are not on both sides of the median, no training pose, no joint, or a prior without a
            finite sample.
    """
    check_quantiles(quantiles)
    joints = [j for j in prior.coordinates.active_joints if j != 0]
    if not joints or not len(train):
        found = counted(len(train), "training pose") if joints else "a prior of the pelvis alone"
        raise UserError(
            f"Found {found}. Limits need training poses, and a prior of other joints than the pelvis."
        )
    generator = torch.Generator().manual_seed(seed)
    train = train[torch.randperm(len(train), generator=generator)[:MOST]]
    drawn = finite_samples(prior, samples, generator).cpu()
    bones = {SMPLX_JOINTS[j]: bone_of(j) for j in joints}
    data, learned = (
        {SMPLX_JOINTS[j]: range_of(poses[:, j], bones[SMPLX_JOINTS[j]], quantiles) for j in joints}
        for poses in (train.cpu(), drawn)
    )
    return Limits(quantiles, len(train), len(drawn), bones, data, learned)


def bone_of(joint: int) -> Bone:
    """The bone of a joint in the rest pose of the stand-in body, whose proportions are those of an adult.

    The bone points to the child (of the pelvis, spine3 and the wrists: spine1, neck and middle1), of a joint without a
    child away from the parent. The swing axes are x, y and z of the rest pose without the one closest to the bone, made
    perpendicular to it in this order.
    """
    body = figure_body()
    children = [k for k, up in enumerate(body.parents.tolist()) if up == joint]
    name = SMPLX_JOINTS[joint]
    if name in _CHILD:
        children = [SMPLX_JOINTS.index(_CHILD[name])]
    # The head's children are the jaw and the eyes: the bone points up, away from the neck.
    towards = body.offsets[children[0]] if children and name != "head" else body.offsets[joint]
    b = towards / np.linalg.norm(towards)
    kept = [k for k in range(3) if k != int(np.argmax(np.abs(b)))]
    axes: list[Float[np.ndarray, "3"]] = []
    for k in kept:
        axis = np.eye(3)[k]
        for other in (b, *axes):
            axis = axis - (axis @ other) * other
        axes.append(axis / np.linalg.norm(axis))
    return Bone(b, np.stack(axes), ("xyz"[kept[0]], "xyz"[kept[1]]))


def swing_twist(
    rotvecs: Float[Tensor, "N 3"], bone: Bone
) -> tuple[Float[np.ndarray, "N 2"], Float[np.ndarray, "N"]]:
    """Split rotations as the module's docstring says: swing about both axes, and twist in (-pi, pi], rad."""
    q = roma.rotvec_to_unitquat(rotvecs.double())  # x, y, z, w
    b = torch.as_tensor(bone.towards)
    along, w = q[:, :3] @ b, q[:, 3]
    twist = 2 * torch.atan2(along, w)
    twist = torch.where((along.abs() < 1e-9) & (w.abs() < 1e-9), 0.0, twist)
    twist = twist - 2 * math.pi * torch.ceil(twist / (2 * math.pi) - 0.5)
    swing = roma.rotvec_composition((rotvecs.double(), -twist[:, None] * b))
    return (swing @ torch.as_tensor(bone.axes).T).numpy(), twist.numpy()


def range_of(rotvecs: Float[Tensor, "N 3"], bone: Bone, quantiles: tuple[float, float]) -> Range:
    """The range of a joint in at least one pose."""
    swing, twist = (np.degrees(x) for x in swing_twist(rotvecs, bone))
    turns = np.radians(twist)
    middle = math.degrees(math.atan2(np.sin(turns).mean(), np.cos(turns).mean()))
    off = (twist - middle + 180.0) % 360.0 - 180.0
    stride = max(1, len(swing) // SHOWN)
    return Range(
        swing=np.quantile(swing, quantiles, axis=0).T,
        cone=float(np.quantile(np.linalg.norm(swing, axis=1), quantiles[1])),
        twist=middle + np.quantile(off, quantiles),
        outline=outline(swing, quantiles),
        cloud=swing[::stride][:SHOWN],
    )


def outline(
    points: Float[np.ndarray, "N 2"], quantiles: tuple[float, float], *, directions: int = 36
) -> Float[np.ndarray, "K 2"]:
    """Corners of the region that no line of these directions cuts off by more than a quantile; it is convex.

    Empty if quantiles close to the median leave no such region.
    """
    angles = np.pi * np.arange(directions // 2) / (directions // 2)
    far = 2 * float(np.abs(points).max()) + 1.0
    corners = far * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    for u in np.stack([np.cos(angles), np.sin(angles)], axis=1):
        low, high = np.quantile(points @ u, quantiles)
        corners = _clipped(_clipped(corners, u, high), -u, -low)
    return corners


def _clipped(
    corners: Float[np.ndarray, "K 2"], u: Float[np.ndarray, "2"], most: float
) -> Float[np.ndarray, "M 2"]:
    """The part of a convex polygon in which p . u <= most (Sutherland and Hodgman, 1974)."""
    kept: list[Float[np.ndarray, "2"]] = []
    over = corners @ u - most
    for k in range(len(corners)):
        n = (k + 1) % len(corners)
        if over[k] <= 0:
            kept.append(corners[k])
        if (over[k] < 0 < over[n]) or (over[n] < 0 < over[k]):
            kept.append(corners[k] + (corners[n] - corners[k]) * over[k] / (over[k] - over[n]))
    return np.array(kept).reshape(-1, 2)


def _rounded(values: Float[np.ndarray, "_"] | Sequence[float], digits: int) -> list[float]:
    return [round(float(v), digits) for v in values]
