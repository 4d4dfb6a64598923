"""The bones of a person and those of a body: joints moved onto a body's bones, or a body shaped to a person's."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64

from mocap_ray.body.model import BodyModel, ShapedBody
from mocap_ray.skeleton import BODY_JOINTS, BODY_PARENTS

_PARENTS = list(BODY_PARENTS[1:])
_LEGS = (4, 5, 7, 8)
"""Joints at the lower ends of thighs and shanks."""
_RIGID = (1, 2, 3, 12, 13, 14)
"""Joints whose parents, pelvis and chest, carry three bones."""
_BONE, _SHAPE = 0.005, 1.0
"""Standard deviations of a measured bone, metres, and of a shape coefficient."""


def bone_lengths(joints: Float[np.ndarray, "T 22 3"]) -> Float64[np.ndarray, "21"]:
    """Metres from parent to joint for joints 1 to 21, the median over time."""
    bones = np.asarray(joints[:, 1:] - joints[:, _PARENTS], np.float64)
    return np.asarray(np.median(np.linalg.norm(bones, axis=-1), axis=0))


def onto(joints: Float[np.ndarray, "T 22 3"], body: ShapedBody) -> Float64[np.ndarray, "T 22 3"]:
    """The same motion on the bones of a body.

    Bones keep their directions and get the body's lengths. The path of the pelvis is scaled as the legs are, so that
    feet which stand still go on standing still. This is what the profile humanml3d does to a clip, and undoes it.
    """
    p = np.asarray(joints, np.float64)
    lengths = np.linalg.norm(body.offsets[1:22], axis=-1)
    legs = [joint - 1 for joint in _LEGS]
    scale = lengths[legs].sum() / max(float(bone_lengths(p)[legs].sum()), 1e-9)
    out = np.empty_like(p)
    out[:, 0] = scale * p[:, 0]
    for joint, parent in enumerate(_PARENTS, start=1):
        bone = p[:, joint] - p[:, parent]
        size = np.linalg.norm(bone, axis=-1, keepdims=True)
        out[:, joint] = out[:, parent] + lengths[joint - 1] * bone / np.maximum(size, 1e-12)
    return out


def betas_of(
    joints: Float[np.ndarray, "T 22 3"], model: BodyModel, *, count: int = 10
) -> Float64[np.ndarray, "B"]:
    """Shape coefficients of the body whose bones are as long as those of a person.

    The most probable ones under a unit normal density, with bones measured to 5 mm: bones say much about height and
    limbs, and nothing about weight, whose coefficients stay near zero.

    Args:
        joints: in metres.
        model: of the person's family and gender.
        count: number of coefficients, at most.
    """
    count = min(count, model.shape_directions.shape[2])
    rest, directions = model.rest_joints[:22], model.shape_directions[:22, :, :count]
    bones, slopes = rest[1:] - rest[_PARENTS], directions[1:] - directions[_PARENTS]
    measured, betas = bone_lengths(joints), np.zeros(count)
    for _ in range(8):  # lengths are nearly linear in the shape
        bone = bones + slopes @ betas
        length = np.linalg.norm(bone, axis=-1)
        J = np.einsum("bi,bic->bc", bone / length[:, None], slopes)
        target = measured - length + J @ betas
        betas = np.linalg.solve(J.T @ J + (_BONE / _SHAPE) ** 2 * np.eye(count), J.T @ target)
    return betas


def own_body(joints: Float[np.ndarray, "T 22 3"]) -> ShapedBody:
    """A body of 22 joints with a person's own bones, for files that need no body model.

    Bones are as long as the median over time. At rest they point as in this project's own proportions; those at pelvis
    and chest, which are rigid, as they do on average in the motion.
    """
    import torch

    from mocap_ray.body.fitting.start import world_rotations
    from mocap_ray.body.proportions import Proportions, joint_positions

    p = np.asarray(joints, np.float64)
    at = joint_positions(Proportions())
    rest = np.stack([at[name] for name in BODY_JOINTS])
    offsets = rest.copy()
    offsets[1:] -= rest[_PARENTS]
    lengths = bone_lengths(p)[:, None]
    offsets[1:] *= lengths / np.linalg.norm(offsets[1:], axis=-1, keepdims=True)
    bones = np.zeros_like(p)
    bones[:, 1:] = p[:, 1:] - p[:, _PARENTS]
    for _ in range(2):
        world = world_rotations(
            torch.as_tensor(bones)[None],
            torch.as_tensor(offsets)[None],
            torch.ones(1, len(p), dtype=torch.bool),
            fps=20.0,
        )[0].numpy()
        for joint in _RIGID:
            mean = np.einsum("tij,ti->j", world[:, BODY_PARENTS[joint]], bones[:, joint])
            size = np.linalg.norm(mean)
            if size > 1e-9:
                offsets[joint] = lengths[joint - 1] * mean / size
    for joint, parent in enumerate(_PARENTS, start=1):
        rest[joint] = rest[parent] + offsets[joint]
    offsets[0] = rest[0]
    return ShapedBody(rest, offsets, np.array(BODY_PARENTS, dtype=np.int64))
