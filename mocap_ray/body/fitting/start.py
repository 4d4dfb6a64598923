"""Rotations of a body from the directions of its bones, in closed form: the start of a fit.

A bone determines two of the three angles of its joint. The third, the twist about the bone, comes from other bones:

- Pelvis and chest (`spine3`) have three bones each, which give the whole rotation (Kabsch, 1976). The twist between the
  two is shared by the joints of the spine.
- Knees and elbows are hinges. The plane in which a knee bends gives the twist of the hip, that of an elbow the twist of
  the shoulder. Both count by the square of the sine of the bend, since a straight limb has no plane.
- The direction of the foot gives the twist of a leg whose knee is nearly straight.
- Without any of these, a bone is turned from its rest by the smallest rotation.

Each cue is a vector in the plane across the bone. They are added and averaged over a moment of time: an arm that is
straight for a few frames keeps the twist of the frames around it, and the twist never jumps.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from mocap_ray.skeleton import BODY_PARENTS

if TYPE_CHECKING:
    from torch import Tensor

FOOT_CUE, NEUTRAL_CUE = 0.25, 0.05
"""Weights of the direction of the foot, and of the smallest rotation, where a bend at a right angle has 1."""
MOMENT = 0.2
"""Seconds: standard deviation of the average over time."""
ROUNDS = 3
"""Limbs are not quite straight at rest, so the plane of a bend depends a little on the twist."""


class Limb(NamedTuple):
    """A ball joint, the hinge below it, and what hangs on that.

    Attributes:
        ball, hinge, end: hip, knee and ankle, or shoulder, elbow and wrist.
        tip: the foot; None for an arm.
        axis: about which the hinge bends, in SMPL's rest pose.
    """

    ball: int
    hinge: int
    end: int
    tip: int | None
    axis: tuple[float, float, float]


LIMBS = (
    Limb(1, 4, 7, 10, (1.0, 0.0, 0.0)),
    Limb(2, 5, 8, 11, (1.0, 0.0, 0.0)),
    Limb(16, 18, 20, None, (0.0, -1.0, 0.0)),
    Limb(17, 19, 21, None, (0.0, 1.0, 0.0)),
)
_SWUNG = ((12, 15), (13, 16), (14, 17))
"""Joint, and the joint at the end of its only bone: neck and collars."""


def world_rotations(bones: Tensor, rest: Tensor, valid: Tensor, *, fps: float) -> Tensor:
    """Rotations of the 22 body joints to the world, [N, T, 22, 3, 3].

    Joints without a bone (head, wrists, feet) turn with their parents.

    Args:
        bones: [N, T, 22, 3] joint minus parent, metres; row 0 is not read. Bones of zero length keep their rest.
        rest: [N, 22, 3] the same at rest, facing +Z with Y up.
        valid: [N, T] whether a frame belongs to its clip.
        fps: frames per second.
    """
    import torch

    rest = rest[:, None]
    found: dict[int, Tensor] = {}
    for joint, children in ((0, [1, 2, 3]), (9, [12, 13, 14])):
        found[joint] = _rigid(rest[..., children, :], bones[..., children, :])
    found[3], found[6] = _spine(bones, rest, found[0], found[9])
    for joint, end in _SWUNG:
        found[joint] = swing(found[9], rest[..., end, :], bones[..., end, :])
    for limb in LIMBS:
        found |= _limb(limb, bones, rest, found[BODY_PARENTS[limb.ball]], valid, fps=fps)
    for joint in (10, 11, 15, 20, 21):
        found[joint] = found[BODY_PARENTS[joint]]
    return torch.stack([found[joint] for joint in range(22)], dim=-3)


def swing(R: Tensor, rest: Tensor, bone: Tensor) -> Tensor:
    """R [*B, 3, 3], turned by the smallest rotation that brings R `rest` to the direction of `bone`, both [*B, 3].

    Opposite directions are turned about any axis across; a bone without a length leaves R as it is.
    """
    import torch

    a = unit(_rotated(R, rest))
    b = torch.where(bone.square().sum(-1, keepdim=True) > 1e-12, unit(bone), a)
    middle = a + b
    across = unit(torch.linalg.cross(a, torch.roll(a, 1, -1) + torch.tensor([0.1, 0.2, 0.4]).to(a)))
    middle = torch.where(middle.square().sum(-1, keepdim=True) > 1e-6, unit(middle), across)
    # Half a turn about a, then half a turn about the middle of a and b.
    return _half_turn(middle) @ _half_turn(a) @ R


def unit(v: Tensor) -> Tensor:
    """Vectors of length one; zero for zero."""
    return v / v.square().sum(-1, keepdim=True).sqrt().clamp_min(1e-12)


def _half_turn(axis: Tensor) -> Tensor:
    import torch

    return 2 * axis[..., :, None] * axis[..., None, :] - torch.eye(3).to(axis)


def _rigid(rest: Tensor, bones: Tensor) -> Tensor:
    """The rotation [*B, 3, 3] that brings the bones of a joint [*B, K, 3] nearest to their directions."""
    import roma

    return roma.special_procrustes(bones.mT @ rest)  # type: ignore[no-any-return]


def _spine(bones: Tensor, rest: Tensor, pelvis: Tensor, chest: Tensor) -> tuple[Tensor, Tensor]:
    """The rotations of spine1 and spine2, with a third and two thirds of the twist from pelvis to chest."""
    low = swing(pelvis, rest[..., 6, :], bones[..., 6, :])
    high = swing(low, rest[..., 9, :], bones[..., 9, :])
    axis = unit(rest[..., 9, :])
    local = high.mT @ chest
    # The angle of a rotation about an axis, from its quaternion (Dobrowolski, 2015).
    antisymmetric = _vee(local - local.mT) / 2
    angle = 2 * ((antisymmetric * axis).sum(-1)).atan2((1 + _trace(local)) / 2)
    low = turned(low, unit(rest[..., 6, :]), angle / 3)
    high = swing(low, rest[..., 9, :], bones[..., 9, :])
    return low, turned(high, axis, angle / 3)


def _trace(R: Tensor) -> Tensor:
    return R.diagonal(dim1=-2, dim2=-1).sum(-1)


def _vee(A: Tensor) -> Tensor:
    import torch

    return torch.stack([A[..., 2, 1], A[..., 0, 2], A[..., 1, 0]], -1)


def turned(R: Tensor, axis: Tensor, angle: Tensor) -> Tensor:
    """R, turned first by an angle [*B] about a unit axis [*B, 3] of its own frame."""
    import roma

    return R @ roma.rotvec_to_rotmat(axis * angle[..., None])  # type: ignore[no-any-return]


def _limb(
    limb: Limb, bones: Tensor, rest: Tensor, parent: Tensor, valid: Tensor, *, fps: float
) -> dict[int, Tensor]:
    """The rotations of ball, hinge and, for a leg, the ankle."""
    import torch

    upper, lower = bones[..., limb.hinge, :], unit(bones[..., limb.end, :])
    along, below = unit(rest[..., limb.hinge, :]), unit(rest[..., limb.end, :])
    axis = torch.tensor(limb.axis).to(bones)
    axis = unit(axis - (axis * along).sum(-1, keepdim=True) * along)
    across = torch.linalg.cross(along, axis)
    start = swing(parent, rest[..., limb.hinge, :], upper)
    drift = _drift(parent.mT @ start, along, axis)
    twist = torch.zeros_like(drift)
    for _ in range(ROUNDS):
        hinge = _hinged(turned(start, along, twist), axis, below, lower)
        bend = _rotated(start.mT, torch.linalg.cross(_rotated(turned(start, along, twist), below), lower))
        bend = bend * bend.norm(dim=-1, keepdim=True)
        cue = torch.stack([(bend * axis).sum(-1) + NEUTRAL_CUE, (bend * across).sum(-1)], -1)
        if limb.tip is not None:
            toes = _rotated(hinge, rest[..., limb.tip, :])
            off, weight = _angle_about(lower, toes, bones[..., limb.tip, :])
            cue = cue + FOOT_CUE * weight[..., None] * _arrow(twist + off)
        # Averaged in a frame that moves with the bone and does not twist: that of `start` spins where the bone points
        # against its rest.
        angle, length = torch.atan2(cue[..., 1], cue[..., 0]), cue.norm(dim=-1)
        cue = _averaged(_arrow(angle - drift) * (length * valid)[..., None], MOMENT * fps)
        twist = torch.atan2(cue[..., 1], cue[..., 0]) + drift
    ball = turned(start, along, twist)
    hinge = _hinged(ball, axis, below, lower)
    found = {limb.ball: ball, limb.hinge: hinge}
    if limb.tip is not None:
        found[limb.end] = swing(hinge, rest[..., limb.tip, :], bones[..., limb.tip, :])
    return found


def _drift(local: Tensor, along: Tensor, axis: Tensor) -> Tensor:
    """How far [N, T] the smallest rotations of a bone have twisted since frame 0, against a frame that does not."""
    import torch

    bone = _rotated(local, along)
    carried = swing(local[:, :-1], along.expand_as(bone)[:, :-1], bone[:, 1:])
    off, _ = _angle_about(
        bone[:, 1:], _rotated(local[:, 1:], axis), _rotated(carried, axis.expand_as(bone)[:, :-1])
    )
    return torch.nn.functional.pad(off.cumsum(-1), (1, 0))


def _hinged(ball: Tensor, axis: Tensor, rest: Tensor, bone: Tensor) -> Tensor:
    """The rotation of a hinge that brings its bone from `rest` to `bone`: about its axis as far as possible.

    A hinge bends forward by up to 3/4 of a turn and backward by up to 1/4, so a heel at the thigh is no flip.
    """
    import torch

    bent, _ = _angle_about(axis, rest.expand_as(bone), _rotated(ball.mT, bone))
    bent = torch.where(bent < -math.pi / 2, bent + 2 * math.pi, bent)
    return swing(turned(ball, axis, bent), rest, bone)


def _rotated(R: Tensor, v: Tensor) -> Tensor:
    return (R @ v[..., None])[..., 0]


def _arrow(angle: Tensor) -> Tensor:
    import torch

    return torch.stack([angle.cos(), angle.sin()], -1)


def _angle_about(axis: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The angle [*B] about an axis from a to b, both [*B, 3], and how far b points away from the axis, 0 to 1."""
    import torch

    a = a - (a * axis).sum(-1, keepdim=True) * axis
    across = b - (b * axis).sum(-1, keepdim=True) * axis
    angle = torch.atan2((torch.linalg.cross(a, across) * axis).sum(-1), (a * across).sum(-1))
    return angle, across.norm(dim=-1) / b.norm(dim=-1).clamp_min(1e-12)


def _averaged(values: Tensor, frames: float) -> Tensor:
    """A Gaussian average over time of [N, T, 2] values that are zero outside of their clip, up to a factor."""
    import torch

    reach = max(1, math.ceil(3 * frames))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / frames) ** 2).to(values)
    N, T, C = values.shape
    flat = values.mT.reshape(N * C, 1, T)
    return torch.nn.functional.conv1d(flat, kernel[None, None], padding=reach).reshape(N, C, T).mT
