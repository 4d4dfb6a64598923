"""Joints in torch, differentiable, for optimisation loops: the kinematics of `ShapedBody.joints`.

`ShapedBody.joints` is compiled for many frames and has no gradient; this function walks the tree level by level
(10 levels for a body, 13 with hands), so that a step of an optimiser costs a few dozen small operations.
Loper et al., SMPL, 2015, section 3: joints are moved by their ancestors' rotations alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from mocap_ray.body.model import ShapedBody
from mocap_ray.wording import counted

if TYPE_CHECKING:
    import torch


def torch_joints(
    body: ShapedBody, poses: torch.Tensor, *, trans: torch.Tensor | None = None, count: int = 22
) -> torch.Tensor:
    """Joint positions [*B, count, 3], metres, with gradients to `poses` and `trans`.

    Gradients are finite at every rotation, also at zero and pi. Uses the dtype and the device of `poses`.

    Args:
        body: a shaped body of any family.
        poses: axis-angle [*B, K, 3] in rad, or rotation matrices [*B, K, 3, 3]; K at least `count`.
        trans: [*B, 3] metres, or anything that broadcasts to it; None: the pelvis stays where the body has it.
        count: number of joints, from the first; only their rotations are read.

    Raises:
        ValueError: poses have another shape or are not floats, or more joints are requested than the body or the
            poses have.
    """
    import roma
    import torch

    matrices = poses.ndim >= 4 and poses.shape[-2:] == (3, 3)
    if not poses.is_floating_point() or poses.ndim < 2 or poses.shape[-1] != 3:
        raise ValueError(
            f"poses: {poses.dtype} of shape {tuple(poses.shape)}. Expected floats: axis-angle [..., joints, 3] or "
            "matrices [..., joints, 3, 3]."
        )
    given = poses.shape[-3 if matrices else -2]
    if not 1 <= count <= min(given, len(body.rest)):
        raise ValueError(
            f"{counted(count, 'joint')} requested; the poses have {given}, the body has {len(body.rest)}."
        )
    local = poses[..., :count, :, :] if matrices else roma.rotvec_to_rotmat(poses[..., :count, :])
    offsets = torch.as_tensor(body.offsets[:count], dtype=poses.dtype, device=poses.device)
    found, _ = chained(local, offsets, np.asarray(body.parents[:count], dtype=np.int64))
    return found if trans is None else found + trans[..., None, :]


def chained(
    local: torch.Tensor, offsets: torch.Tensor, parents: Int[np.ndarray, "J"]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions [*B, J, 3] and rotations to the world [*B, J, 3, 3] of a tree of joints.

    Args:
        local: [*B, J, 3, 3] rotations to the parent.
        offsets: [J, 3] joint minus parent at rest, metres, or [*B, J, 3] where each has a body of its own; row 0 is the
            position of the root.
        parents: [J] smaller than the joint's own index; -1 for the root.
    """
    import torch

    levels = tree_levels(parents)
    place = torch.zeros(len(parents), dtype=torch.long)  # position of each joint in the order of the levels
    place[torch.as_tensor(np.concatenate(levels))] = torch.arange(len(parents))
    turn, at = local[..., :1, :, :], offsets[..., :1, :].expand(*local.shape[:-3], 1, 3)
    positions, turns = [at], [turn]
    above = 0  # joints above the previous level
    for level in levels[1:]:
        above_parents = place[torch.as_tensor(parents[level])] - above
        above += turn.shape[-3]
        joints, above_parents = (
            torch.as_tensor(level, device=local.device),
            above_parents.to(local.device),
        )
        turn, at = turn[..., above_parents, :, :], at[..., above_parents, :]
        at = at + (turn @ offsets[..., joints, :, None])[..., 0]
        turn = turn @ local[..., joints, :, :]
        positions.append(at)
        turns.append(turn)
    order = place.to(local.device)
    return torch.cat(positions, dim=-2)[..., order, :], torch.cat(turns, dim=-3)[..., order, :, :]


def tree_levels(parents: Int[np.ndarray, "J"]) -> list[Int[np.ndarray, "_"]]:
    """Joints grouped by depth, each level in ascending order; parents come before their children.

    >>> [level.tolist() for level in tree_levels(np.array([-1, 0, 0, 1]))]
    [[0], [1, 2], [3]]
    """
    depth = np.zeros(len(parents), dtype=np.int64)
    for joint in range(1, len(parents)):
        depth[joint] = depth[parents[joint]] + 1
    return [np.flatnonzero(depth == k) for k in range(int(depth.max()) + 1)]
