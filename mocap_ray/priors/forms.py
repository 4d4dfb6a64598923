"""The forms of poses that priors accept, and names for groups of joints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import roma
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mocap_ray.dataset.single.instances import PARTS
from mocap_ray.errors import UserError
from mocap_ray.priors.rotations import canonical, matrix_from_6d
from mocap_ray.skeleton import SMPLX_JOINTS, TO_SMPLX

JointChoice = Literal["all", "body", "hands"] | Sequence[str]

J = 55
BODY = tuple(range(1, 22))
HANDS = tuple(range(25, 55))
FORMS: dict[int, tuple[int, ...]] = {
    55: TO_SMPLX["smplx"],
    53: (*range(23), *range(25, 55)),
    52: TO_SMPLX["smplh"],
    30: HANDS,
    22: (0, *BODY),
    21: BODY,
}
"""Number of joints of a pose -> their indices among the 55."""
AT_REST = (52, 53, 55)
"""Numbers of joints whose missing ones (jaw, eyes) are at rest, as in the data set; otherwise they are hidden."""


def joint_indices(joints: JointChoice) -> tuple[int, ...]:
    """Indices among the 55 of `all`, `body` (21, without the pelvis), `hands` (30), or names.

    Raises:
        UserError: an unknown name, a name twice, or no name.
    """
    if isinstance(joints, str):
        groups = {"all": tuple(range(J)), "body": BODY, "hands": HANDS}
        if joints not in groups:
            raise UserError(f"joints {joints!r}: expected all, body, hands, or a list of joint names.")
        return groups[joints]
    unknown = [name for name in joints if name not in SMPLX_JOINTS]
    if unknown:
        raise UserError(f"joints: {', '.join(unknown)} unknown. Expected names of {', '.join(SMPLX_JOINTS)}.")
    if not joints or len(set(joints)) < len(joints):
        raise UserError("joints: expected a list of at least one joint name, without repetition.")
    return tuple(sorted(SMPLX_JOINTS.index(name) for name in joints))


def parts_of(joints: JointChoice) -> tuple[str, ...]:
    """The parts of a pose that these joints are in; a pose has to give them to be trained on or judged."""
    chosen = set(joint_indices(joints))
    return tuple(name for name, part in PARTS.items() if not chosen.isdisjoint(range(part.start, part.stop)))


def form_of(poses: Tensor) -> tuple[Literal["rotvec", "matrix", "6d"], int]:
    """The form of poses and their number of joints. Raises ValueError for any other shape."""
    shape = poses.shape
    if not poses.is_floating_point():
        raise ValueError(f"poses are {poses.dtype}; expected floating point.")
    if len(shape) >= 2 and shape[-1] == 6 and shape[-2] in FORMS:
        return "6d", shape[-2]
    if len(shape) >= 3 and shape[-2:] == (3, 3) and shape[-3] in FORMS:
        return "matrix", shape[-3]
    if len(shape) >= 2 and shape[-1] == 3 and shape[-2] in FORMS:
        return "rotvec", shape[-2]
    raise ValueError(
        f"poses of shape {list(shape)}: expected [..., J, 3] axis-angle, [..., J, 3, 3] matrices or [..., J, 6], "
        f"with J one of {', '.join(map(str, FORMS))}."
    )


def rotvecs_of(poses: Tensor, *, dtype: torch.dtype) -> Float[Tensor, "*B 55 3"]:
    """Convert poses of any form to canonical rotation vectors of 55 joints; missing joints become zero.

    Raises:
        ValueError: see `form_of`.
    """
    kind, count = form_of(poses)
    poses = poses.to(dtype)
    if kind == "6d":
        poses = matrix_from_6d(poses)
    vectors = canonical(poses) if kind == "rotvec" else roma.rotmat_to_rotvec(poses)
    if count == J:
        return vectors
    full = vectors.new_zeros(*vectors.shape[:-2], J, 3)
    places = torch.tensor(FORMS[count], device=vectors.device)
    return full.index_copy(-2, places, vectors)


def full_mask(count: int, visible: Bool[Tensor, "*B J"] | None = None) -> Bool[Tensor, "*B 55"]:
    """Mask over all 55 joints, from a mask over the `count` joints of a pose (None: all of them are visible).

    Raises:
        ValueError: `visible` has another number of joints.
    """
    if visible is None:
        visible = torch.ones(count, dtype=torch.bool)
    if visible.shape[-1] != count:
        raise ValueError(f"visible has {visible.shape[-1]} joints; the poses have {count}.")
    shape = (*visible.shape[:-1], J)
    mask = torch.full(shape, count in AT_REST, dtype=torch.bool, device=visible.device)
    mask[..., list(FORMS[count])] = visible
    return mask
