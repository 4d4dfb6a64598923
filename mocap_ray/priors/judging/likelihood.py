"""The likelihood of held-out poses: mean and tail, and the worst pose."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mocap_ray.priors.judging import metrics
from mocap_ray.priors.judging.common_axes import gaussian_nll
from mocap_ray.priors.judging.judgement import JudgeOptions, Likelihood
from mocap_ray.priors.judging.progress import Progress, part
from mocap_ray.priors.judging.tails import WorstPose, nlls, tail_of, worst_pose
from mocap_ray.priors.prior import Prior

_BATCH = 1024


def likelihood_of(
    prior: Prior,
    *,
    train: Float[Tensor, "T 55 3"],
    held_out: Float[Tensor, "N 55 3"],
    clips: Int[Tensor, "N"],
    rows: Sequence[int] | Int[Tensor, "N"],
    options: JudgeOptions,
    progress: Progress,
) -> tuple[Likelihood, WorstPose]:
    """Compute the NLL of every pose once, without gradients.

    Args:
        prior: in eval mode.
        train: training poses.
        held_out: held-out poses.
        clips: the clip of each of them.
        rows: the index that each of them has in the held-out split.
        options: how much to compute.
        progress: is called after each batch.
    """
    split = len(held_out) / (len(held_out) + len(train))
    nll, train_nll = (
        _per_pose(prior, poses, options.importance, part(progress, *ends))
        for poses, ends in ((held_out, (0.0, split)), (train, (split, 1.0)))
    )
    mean = float(nll.mean())
    worst = worst_pose(prior, held_out, nll)
    likelihood = Likelihood(
        nll=mean,
        bits=mean / math.log(2),
        error=metrics.clustered_error(nll, clips),
        train_nll=float(train_nll.mean()),
        gaussian_nll=gaussian_nll(prior.coordinates.index_list, train, held_out.to(train.device)),
        active=prior.coordinates.active,
        bound=prior.bound,
        importance=options.importance if prior.bound else 0,
        tail=tail_of(nll),
    )
    return likelihood, WorstPose(int(rows[worst.row]), worst.nll, worst.pose, worst.joints, worst.exact)


def _per_pose(
    prior: Prior, poses: Float[Tensor, "N 55 3"], importance: int, progress: Progress
) -> Float[Tensor, "N"]:
    """NLL per active dimension of each pose, float64, on the CPU."""
    device, values, done = prior.coordinates.mean.device, [], 0
    for piece in torch.split(poses, _BATCH):
        progress(done / len(poses), "likelihood")
        values.append(nlls(prior, piece.to(device), importance=importance).cpu())
        done += len(piece)
    return torch.cat(values).double() / prior.coordinates.active
