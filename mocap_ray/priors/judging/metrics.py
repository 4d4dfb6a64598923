"""Metrics on poses and energies as plain functions, independent of any model.

Poses are axis-angle [N, J, 3] in rad. Distances are geodesic: the angle of the rotation between two rotations,
in degrees, mean over joints where two poses are compared.
"""

from __future__ import annotations

import roma
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_CHUNK = 2_000_000  # angles at a time in all-pairs distances: 8 MB of float32, which fit into the cache


def geodesic_deg(a: Float[Tensor, "*B J 3"], b: Float[Tensor, "*B J 3"]) -> Float[Tensor, "*B J"]:
    """Angle in degrees, 0 to 180, between the rotations of two poses, joint by joint; exact near 0 too."""
    angle: Tensor = roma.rotvec_geodesic_distance(a, b)
    return torch.rad2deg(angle)


def geodesic_noise(
    poses: Float[Tensor, "N J 3"],
    *,
    degrees: float,
    joints: Int[Tensor, "K"] | None = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "N J 3"]:
    """Poses with the joints turned by exactly `degrees` about axes drawn evenly over the sphere.

    Args:
        poses: axis-angle.
        degrees: geodesic distance of each turned joint from its original rotation.
        joints: indices of the joints to turn; None: all.
        generator: random generator of the axes; on the CPU, so that all devices draw the same.
    """
    axes = torch.randn(poses.shape, generator=generator, dtype=torch.float64).to(poses)
    turn = torch.deg2rad(torch.tensor(degrees)).to(poses) * torch.nn.functional.normalize(axes, dim=-1)
    turned: Tensor = roma.rotvec_composition((poses, turn))
    if joints is None:
        return turned
    out = poses.clone()
    out[:, joints] = turned[:, joints]
    return out


def auroc(real: Float[Tensor, "N"], perturbed: Float[Tensor, "M"]) -> float:
    """Probability that a perturbed pose has the higher energy; ties count half: 0.5 is chance, 1 is perfect.

    Energies that are not finite count as the highest.

    >>> auroc(torch.tensor([0.0, 1.0]), torch.tensor([2.0, 0.5]))
    0.75
    """
    from scipy.stats import mannwhitneyu  # slow to import, and only judging needs it

    low, high = (
        x.double().cpu().nan_to_num(nan=torch.inf, posinf=torch.inf).numpy() for x in (real, perturbed)
    )
    # U counts the pairs; `asymptotic` only concerns its p-value, which is not used.
    return float(mannwhitneyu(high, low, method="asymptotic").statistic / (len(low) * len(high)))


def pairwise_deg(a: Float[Tensor, "N J 3"], b: Float[Tensor, "M J 3"]) -> Float[Tensor, "N M"]:
    """Mean over joints of the geodesic distance in degrees, for all pairs of poses."""
    p = roma.rotvec_to_unitquat(a).transpose(0, 1).contiguous()  # [J, N, 4]
    q = roma.rotvec_to_unitquat(b).transpose(0, 1).transpose(1, 2).contiguous()  # [J, 4, M]
    rows = max(1, _CHUNK // max(1, len(b)))
    out = a.new_zeros(len(a), len(b))
    for start in range(0, len(a), rows):
        piece = slice(start, start + rows)
        for joint in range(a.shape[1]):
            cosine = (p[joint, piece] @ q[joint]).abs_().clamp_(max=1.0)
            out[piece] += torch.acos(cosine)
    return torch.rad2deg(2.0 * out / max(1, a.shape[1]))


def nearest_deg(a: Float[Tensor, "N J 3"], b: Float[Tensor, "M J 3"]) -> Float[Tensor, "N"]:
    """Distance of each pose of `a` to the nearest of `b`, degrees."""
    return pairwise_deg(a, b).min(dim=1).values


def diversity_deg(poses: Float[Tensor, "N J 3"]) -> float:
    """Mean distance of two different poses of a set, degrees; 0 for fewer than two."""
    n = len(poses)
    return float(pairwise_deg(poses, poses).fill_diagonal_(0.0).sum() / (n * (n - 1))) if n > 1 else 0.0


def mean_pose(poses: Float[Tensor, "N J 3"]) -> Float[Tensor, "J 3"]:
    """Mean rotation of each joint: the one with the least mean squared chordal distance to all.

    The eigenvector of the sum of q q^T with the largest eigenvalue (Markley et al., Averaging Quaternions, 2007).
    """
    q = roma.rotvec_to_unitquat(poses.double())
    vectors = torch.linalg.eigh(torch.einsum("njk,njl->jkl", q, q)).eigenvectors[..., -1]
    mean: Tensor = roma.unitquat_to_rotvec(vectors)
    return mean.to(poses)


def marginal_distance_deg(a: Float[Tensor, "N J 3"], b: Float[Tensor, "M J 3"]) -> Float[Tensor, "J"]:
    """Wasserstein-1 distance of each joint's three axis-angle components, mean over the three, degrees.

    Computed from 200 quantiles of each, so that single outliers do not count. scipy.stats.wasserstein_distance keeps
    outliers: on Gaussians of 1,000 and 5,000 poses it returns up to 0.03 degrees (of 1.2) less, in 1.3 times the time.
    """
    share = (torch.arange(200, dtype=torch.float64) + 0.5) / 200
    quantiles = [torch.quantile(x.double().cpu(), share, dim=0) for x in (a, b)]
    return torch.rad2deg((quantiles[0] - quantiles[1]).abs().mean(dim=(0, -1)))


def clustered_error(values: Float[Tensor, "N"], clusters: Int[Tensor, "N"]) -> float:
    """Standard error of the mean of values that are correlated within clusters (frames of one clip).

    nan with fewer than two clusters.
    """
    _, place = torch.unique(clusters, return_inverse=True)
    count = int(place.max()) + 1 if len(place) else 0
    if count < 2:
        return float("nan")
    off = (values - values.mean()).double()
    sums = torch.zeros(count, dtype=torch.float64).index_add_(0, place.cpu(), off.cpu())
    return float((sums.square().sum() * count / (count - 1)).sqrt() / len(values))


def hidden_error_deg(
    found: Float[Tensor, "N J 3"], truth: Float[Tensor, "N J 3"], hidden: Bool[Tensor, "N J"]
) -> float:
    """Mean geodesic error over the hidden joints, degrees."""
    return float(geodesic_deg(found, truth)[hidden].mean())
