"""The tail of a held-out NLL: a mean over poses can be owned by a few of them, which fitting loops then meet."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mocap_ray.priors.bound import ImportanceWeighted
from mocap_ray.priors.prior import Prior
from mocap_ray.skeleton import SMPLX_JOINTS


@dataclass(frozen=True, slots=True)
class Tail:
    """How the NLLs of single poses are distributed, nats per active dimension.

    The excess of a pose is max(0, nll - median): it does not change when a constant is added to all NLLs, so it also
    has a meaning where they are negative.

    Attributes:
        poses: number of poses.
        median, p99, worst: the middle one, the one that 1 % of the poses exceed, and the highest. All three are NLLs
            of poses, without interpolation.
        worst_share: share of the summed excess that the worst 1 % of the poses own (at least one pose), 0 to 1. It is
            0.07 if NLLs are normally distributed and 0.10 if they are exponentially distributed.
        others: mean of the other 99 %; nan for a single pose.
        broken: poses without a finite NLL; they count as infinitely unlikely.
    """

    poses: int
    median: float
    p99: float
    worst: float
    worst_share: float
    others: float
    broken: int


@dataclass(frozen=True, slots=True, eq=False)
class WorstPose:
    """The held-out pose with the highest NLL.

    Attributes:
        row: its index among the held-out poses.
        nll: nats per active dimension.
        pose: [55, 3] axis-angle.
        joints: active joint -> nats; see `joint_energies`.
        exact: whether the joints' energies add up to the energy of the pose.
    """

    row: int
    nll: float
    pose: Float[np.ndarray, "55 3"]
    joints: dict[str, float]
    exact: bool


def tail_of(nll: Float[Tensor, "N"]) -> Tail:
    """The tail of the NLLs of at least one pose.

    >>> tail_of(torch.tensor([-1.0, -1.0, -1.0, 5.0])).worst_share
    1.0
    """
    broken = int((~torch.isfinite(nll)).sum())
    values = _ordered(nll).sort().values
    count, worst = len(values), math.ceil(len(values) / 100)
    median = float(values[(count - 1) // 2])
    excess = (values - median).clamp_min(0.0)
    share = float(excess[-worst:].sum() / excess.sum()) if excess[-1] > 0 else 0.0
    return Tail(
        poses=count,
        median=median,
        p99=float(values[math.ceil(0.99 * count) - 1]),
        worst=float(values[-1]),
        worst_share=1.0 if math.isinf(values[-1]) else share,
        others=float(values[:-worst].mean()),
        broken=broken,
    )


def worst_pose(prior: Prior, poses: Float[Tensor, "N 55 3"], nll: Float[Tensor, "N"]) -> WorstPose:
    """The pose with the highest NLL, and the energy of each joint in it; the first one of equals."""
    row = int(_ordered(nll).argmax())
    pose = poses[row].to(prior.coordinates.mean.device)
    joints, exact = joint_energies(prior, pose)
    return WorstPose(row, float(nll[row]), pose.cpu().numpy(), joints, exact)


@torch.no_grad()
def joint_energies(prior: Prior, pose: Float[Tensor, "55 3"]) -> tuple[dict[str, float], bool]:
    """Nats of each active joint in a pose, and whether they add up to the energy of the pose.

    They do where a prior factorises over joints: the energy of a joint is then -log p(joint | its ancestors). For
    other priors, it is how much the energy of the pose decreases when the joint alone is set to the training mean,
    and these numbers have no particular sum.
    """
    joints = prior.coordinates.active_joints
    names = [SMPLX_JOINTS[j] for j in joints]
    if prior.factorised:
        # Parents come before their children, so that each row adds one joint whose ancestors are visible.
        visible = torch.zeros(len(joints) + 1, 55, dtype=torch.bool, device=pose.device)
        for k, joint in enumerate(joints):
            visible[k + 1 :, joint] = True
        energies = -prior.log_prob(pose.expand(len(visible), 55, 3), visible=visible)
        return dict(zip(names, energies.diff().tolist(), strict=True)), True
    mean = prior.coordinates.decode(prior.coordinates.fill[None])[0]
    poses = pose.repeat(len(joints) + 1, 1, 1)
    for k, joint in enumerate(joints):
        poses[k + 1, joint] = mean[joint]
    energies = nlls(prior, poses)
    return dict(zip(names, (energies[0] - energies[1:]).tolist(), strict=True)), False


@torch.no_grad()
def nlls(prior: Prior, poses: Float[Tensor, "n 55 3"], *, importance: int = 64) -> Float[Tensor, "n"]:
    """-log p of poses, nats; for priors that only have bounds the importance-weighted one (Burda et al., 2016)."""
    if isinstance(prior, ImportanceWeighted):
        return -prior.log_prob(poses, samples=importance)
    return -prior.log_prob(poses)


def _ordered(nll: Float[Tensor, "N"]) -> Float[Tensor, "N"]:
    """In float64, with NaN as the highest: a density that cannot be computed is not a good one."""
    return torch.where(torch.isnan(nll), torch.inf, nll.double())
