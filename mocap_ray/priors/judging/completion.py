"""Completion: hide some joints of a pose and recover them with the energy of a prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mocap_ray.priors.judging import metrics
from mocap_ray.priors.judging.progress import Progress, silent
from mocap_ray.priors.prior import Prior
from mocap_ray.skeleton import SMPLX_JOINTS


def _named(*names: str) -> tuple[int, ...]:
    return tuple(SMPLX_JOINTS.index(name) for name in names)


_SIDES = ("left", "right")
_FINGERS = ("index", "middle", "pinky", "ring", "thumb")
LIMBS: dict[str, tuple[tuple[int, ...], ...]] = {
    "an arm": tuple(_named(*(f"{s}_{n}" for n in ("collar", "shoulder", "elbow", "wrist"))) for s in _SIDES),
    "a leg": tuple(_named(*(f"{s}_{n}" for n in ("hip", "knee", "ankle"))) for s in _SIDES),
    "a finger": tuple(_named(*(f"{s}_{f}{k}" for k in (1, 2, 3))) for f in _FINGERS for s in _SIDES),
}
"""Hidden part -> its variants, which poses use in turn. Feet are excluded: they hardly move in AMASS."""
HALF = "half of the joints"
SHOWN = 4
"""Completed poses that are kept for display."""


@dataclass(frozen=True, slots=True)
class Completion:
    """How well hidden joints were recovered.

    Attributes:
        hidden: the hidden part.
        poses: number of poses.
        error_deg: mean geodesic error of the prior's completion over hidden joints.
        mean_pose_deg: the same error with the mean training pose as completion.
    """

    hidden: str
    poses: int
    error_deg: float
    mean_pose_deg: float


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """A few completed poses for display, evenly spaced among all, not hand-picked.

    Attributes:
        hidden: the hidden part.
        truth, found: [S, 55, 3] the pose, and the prior's completion.
        mean: [S, 55, 3] the pose with its hidden joints from the mean training pose.
        visible: [S, 55] mask of the joints that were not hidden.
        error_deg, mean_pose_deg: [S] mean geodesic error over the hidden joints.
    """

    hidden: str
    truth: Float[np.ndarray, "S 55 3"]
    found: Float[np.ndarray, "S 55 3"]
    mean: Float[np.ndarray, "S 55 3"]
    visible: Bool[np.ndarray, "S 55"]
    error_deg: Float[np.ndarray, "S"]
    mean_pose_deg: Float[np.ndarray, "S"]


def complete(
    prior: Prior,
    poses: Float[Tensor, "N 55 3"],
    visible: Bool[Tensor, "N 55"],
    *,
    start: Float[Tensor, "55 3"],
    steps: int = 200,
    step_size: float = 0.05,
    progress: Progress = silent,
) -> Float[Tensor, "N 55 3"]:
    """Fill in the hidden joints by minimising the energy of the whole pose; visible joints keep their bits.

    Runs Adam on the rotation vectors of the hidden joints, all poses in one batch, with a step size that decays to
    zero. It finds a local minimum near `start`, not the global one. Axes that the prior excludes are at their
    constants, or follow the others (`Prior.project`). The prior's parameters do not change.

    Args:
        prior: in eval mode.
        poses: axis-angle; hidden joints are not read.
        visible: mask of the joints to keep.
        start: initial values of the hidden joints, such as the mean pose.
        steps: number of optimiser steps.
        step_size: initial step size, rad.
        progress: is called after each step.
    """
    hidden = ~visible[..., None]
    free = start.expand_as(poses).clone().requires_grad_()
    optimiser = torch.optim.Adam([free], lr=step_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        energy = prior.energy(torch.where(hidden, free, poses)).sum()
        (free.grad,) = torch.autograd.grad(energy, [free])
        # A pose whose energy is not finite must not affect the others in the batch.
        free.grad.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
        optimiser.step()
        schedule.step()
        progress((step + 1) / steps, "completion")
    return torch.where(hidden, prior.project(free.detach()), poses)


def hide(
    task: str, *, count: int, joints: Sequence[int], generator: torch.Generator
) -> Bool[Tensor, "count 55"] | None:
    """Mask of the joints that stay visible in each of `count` poses; None if the task does not apply to `joints`.

    Args:
        task: a key of `LIMBS`, or `HALF`: a random half of the joints, rounded up, different in every pose.
        count: number of poses.
        joints: the joints that the prior models.
        generator: random generator of the halves.
    """
    visible = torch.ones(count, 55, dtype=torch.bool)
    modelled = torch.tensor(sorted(joints))
    half = (len(modelled) + 1) // 2
    if task == HALF:
        if len(modelled) < 2:
            return None
        order = torch.rand(count, len(modelled), generator=generator).argsort(dim=1)[:, :half]
        return visible.scatter(1, modelled[order], False)
    # Joints of a limb that never move in the data are not hidden.
    variants = [sorted(set(limb) & set(joints)) for limb in LIMBS[task]]
    variants = [v for v, limb in zip(variants, LIMBS[task], strict=True) if len(v) >= 0.7 * len(limb)]
    if not variants or len(variants[0]) == len(modelled):
        return None
    for row in range(count):
        visible[row, variants[row % len(variants)]] = False
    return visible


def completions(
    prior: Prior,
    poses: Float[Tensor, "N 55 3"],
    *,
    mean: Float[Tensor, "55 3"],
    generator: torch.Generator,
    steps: int = 200,
    progress: Progress = silent,
) -> tuple[list[Completion], list[Examples]]:
    """Run all tasks that apply to the prior's joints; also return some completed poses of each for display.

    All tasks run as one batch, in which each pose is optimised on its own: a step of a few poses takes as long as one
    of many.
    """
    masks = {
        task: mask.to(poses.device)
        for task in (*LIMBS, HALF)
        if (mask := hide(task, count=len(poses), joints=prior.coordinates.active_joints, generator=generator))
        is not None
    }
    if not masks:
        return [], []
    visible = torch.cat(list(masks.values()))
    every = poses.repeat(len(masks), 1, 1)
    filled = complete(prior, every, visible, start=mean, steps=steps, progress=progress)
    found, examples = [], []
    for (task, mask), done in zip(masks.items(), torch.split(filled, len(poses)), strict=True):
        trivial = torch.where(mask[..., None], poses, mean)
        errors = [metrics.hidden_error_deg(x, poses, ~mask) for x in (done, trivial)]
        found.append(Completion(task, len(poses), *errors))
        examples.append(_examples(task, poses, done, trivial, mask))
    return found, examples


def _examples(task: str, truth: Tensor, found: Tensor, mean: Tensor, visible: Tensor) -> Examples:
    # The stride is odd, so that the examples include limbs of both sides, which alternate.
    stride = max(1, (len(truth) // SHOWN - 1) | 1)
    rows = torch.arange(0, len(truth), stride, device=truth.device)[:SHOWN]
    truth, found, mean, visible = (x[rows] for x in (truth, found, mean, visible))
    hidden = ~visible
    errors = [(metrics.geodesic_deg(x, truth) * hidden).sum(-1) / hidden.sum(-1) for x in (found, mean)]
    arrays = [x.cpu().numpy() for x in (truth, found, mean, visible, *errors)]
    return Examples(task, *arrays)
