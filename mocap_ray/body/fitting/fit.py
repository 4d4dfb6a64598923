"""Poses of the SMPL family for clips of 22 joints, many clips at a time.

    fitted = fit([joints], [body], fps=20.0)            # joints [T, 22, 3] metres, Y up
    body.joints(fitted[0].poses, fitted[0].trans)       # [T, 22, 3], a millimetre away

SMPLify (Bogo et al., 2016) and what followed it search each clip by hundreds of steps of Adam or L-BFGS from the mean
pose. Here the closed form of `start.py` already puts every bone in its direction; a few Gauss-Newton steps
(`solve.py`) settle what the bones leave open.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float32

from mocap_ray.body.fitting.solve import FitOptions, Problem, Regulariser, centred, solve
from mocap_ray.body.fitting.start import world_rotations
from mocap_ray.body.model import ShapedBody
from mocap_ray.skeleton import BODY_PARENTS

if TYPE_CHECKING:
    import torch
    from torch import Tensor

FRAMES = 8192
"""Frames of a batch, with padding; more are no faster on a CPU."""


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """The poses of a clip.

    Attributes:
        poses: [T, 22, 3] rotation vectors, rad, angle in [0, pi]; the pelvis first.
        trans: [T, 3] metres; the pelvis lies at `trans` plus the rest pelvis of the body.
        error_mm: mean distance between the joints of the body and those that were given, mm.
    """

    poses: Float32[np.ndarray, "T 22 3"]
    trans: Float32[np.ndarray, "T 3"]
    error_mm: float


def fit(
    clips: Sequence[Float[np.ndarray, "_ 22 3"]],
    bodies: Sequence[ShapedBody],
    *,
    fps: float,
    prior: Regulariser | None = None,
    options: FitOptions | None = None,
    device: str | torch.device = "cpu",
) -> list[Fitted]:
    """Fit poses to clips of any lengths; a clip gets the same poses alone as among others, to 1e-3 rad.

    Args:
        clips: [T, 22, 3] metres, Y up, T at least 1.
        bodies: of each clip. Joints of another skeleton are moved onto the body's bones first, by `onto`.
        fps: frames per second.
        prior: makes poses plausible where joints say nothing, such as twists and the head.
        options: see `FitOptions`.
        device: where the work is done.

    Raises:
        ValueError: a clip has another shape, no frames or values that are not finite, or there is not one body for
            each clip.
    """
    import torch

    if len(bodies) != len(clips):
        raise ValueError(f"{len(bodies)} bodies for {len(clips)} clips. Expected one for each.")
    for k, clip in enumerate(clips):
        if clip.ndim != 3 or clip.shape[1:] != (22, 3) or not len(clip) or not np.isfinite(clip).all():
            what = (
                "values that are not finite"
                if clip.shape[1:] == (22, 3) and len(clip)
                else f"shape {clip.shape}"
            )
            raise ValueError(f"clip {k}: {what}. Expected finite joints [T, 22, 3] in metres, T at least 1.")
    found: list[Fitted | None] = [None] * len(clips)
    for batch in _batches([len(clip) for clip in clips]):
        joints = torch.zeros(len(batch), max(len(clips[k]) for k in batch), 22, 3)
        for row, k in enumerate(batch):
            joints[row, : len(clips[k])] = torch.as_tensor(np.asarray(clips[k], np.float32))
        lengths = torch.tensor([len(clips[k]) for k in batch])
        offsets = torch.as_tensor(np.stack([bodies[k].offsets[:22] for k in batch]), dtype=torch.float32)
        poses, pelvis, error = fit_batch(
            joints.to(device), lengths.to(device), offsets.to(device), fps=fps, prior=prior, options=options
        )
        for row, k in enumerate(batch):
            frames = slice(0, len(clips[k]))
            trans = pelvis[row, frames].cpu().numpy() - bodies[k].rest[0].astype(np.float32)
            found[k] = Fitted(
                poses[row, frames].cpu().numpy(), trans, 1000 * float(error[row, frames].mean())
            )
    return [fitted for fitted in found if fitted is not None]


def fit_batch(
    joints: Tensor,
    lengths: Tensor,
    offsets: Tensor,
    *,
    fps: float,
    prior: Regulariser | None = None,
    options: FitOptions | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Fit one padded batch on its device, without gradients.

    Args:
        joints: [N, T, 22, 3] metres, Y up; frames from a clip's length on are not read.
        lengths: [N] frames of each clip.
        offsets: [N, 22, 3] joint minus parent of each clip's body at rest.
        fps: frames per second.
        prior: see `fit`.
        options: see `FitOptions`.

    Returns:
        Rotation vectors [N, T, 22, 3] with angles in [0, pi], positions of the pelvis [N, T, 3], and the mean distance
        between fitted and given joints in each frame [N, T], metres; all zero in the padding.
    """
    import roma
    import torch

    with torch.no_grad():
        valid = torch.arange(joints.shape[1], device=joints.device) < lengths[:, None]
        joints = torch.where(valid[..., None, None], joints, 0.0)
        parents = list(BODY_PARENTS[1:])
        bones = torch.zeros_like(joints)
        bones[:, :, 1:] = joints[:, :, 1:] - joints[:, :, parents]
        world = world_rotations(bones, offsets, valid, fps=fps)
        local = world.clone()
        local[:, :, 1:] = world[:, :, parents].mT @ world[:, :, 1:]
        clip = valid.nonzero()[:, 0]
        own = offsets[clip]
        own[:, 0] = 0.0
        problem = Problem(joints[valid], own, clip[1:] == clip[:-1])
        turned, at = solve(local[valid], problem, options or FitOptions(), prior=prior)
        apart = centred(at) - centred(problem.targets)
        poses, pelvis, error = (
            torch.zeros_like(joints),
            torch.zeros_like(joints[:, :, 0]),
            joints.new_zeros(valid.shape),
        )
        poses[valid] = roma.rotmat_to_rotvec(turned)
        pelvis[valid] = (problem.targets - at).mean(1)
        error[valid] = apart.norm(dim=-1).mean(-1)
    return poses, pelvis, error


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Clips of similar length together, at most `FRAMES` padded frames a batch."""
    batch: list[int] = []
    for k in np.argsort(lengths, kind="stable").tolist():
        if batch and (len(batch) + 1) * lengths[k] > FRAMES:
            yield batch
            batch = []
        batch.append(k)
    if batch:
        yield batch
