"""Statistics of the training split: means, covariances and mean rotations of each joint, in float64."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import roma
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mocap_ray.priors.forms import J

CHUNK = 1 << 16
"""Poses that are converted to float64 at a time."""


def chunks(poses: Float[Tensor, "N 55 3"]) -> Iterator[Tensor]:
    """Yield the poses in float64, chunk by chunk."""
    for start in range(0, len(poses), CHUNK):
        yield poses[start : start + CHUNK].double()


def moments(parts: Iterable[Tensor]) -> tuple[Float[Tensor, "55 3"], Float[Tensor, "55 3 3"]]:
    """Mean and maximum likelihood covariance of each joint, merged chunk by chunk (Chan et al. 1979)."""
    n, mean, squares = 0, torch.zeros(J, 3, dtype=torch.float64), torch.zeros(J, 3, 3, dtype=torch.float64)
    for chunk in parts:
        m, chunk_mean = len(chunk), chunk.mean(0).cpu()
        centred, delta = chunk - chunk_mean.to(chunk.device), chunk_mean - mean
        squares += torch.einsum("nji,njk->jik", centred, centred).cpu()
        squares += delta[:, :, None] * delta[:, None, :] * (n * m / (n + m))
        mean = mean + delta * (m / (n + m))
        n += m
    return mean, squares / n


def factors_of(covariance: Float[Tensor, "55 3 3"], active: Bool[Tensor, "55 3"]) -> Float[Tensor, "L 3 3"]:
    """Cholesky factors of the active axes of each joint that has any; the identity on its other axes."""
    joints = active.any(1)
    both = active[joints][:, :, None] & active[joints][:, None, :]
    blocks = torch.where(both, covariance[joints], torch.eye(3, dtype=torch.float64))
    factors: Tensor = torch.linalg.cholesky(blocks)
    return factors


def mean_rotations(poses: Tensor) -> Float[Tensor, "55 3"]:
    """Chordal means as rotation vectors: the rotation nearest to the mean matrix of each joint."""
    total = torch.zeros(J, 3, 3, dtype=torch.float64)
    for chunk in chunks(poses):
        total += roma.rotvec_to_rotmat(chunk).sum(0).cpu()
    centre: Tensor = roma.rotmat_to_rotvec(roma.special_procrustes(total / len(poses)))
    return centre
