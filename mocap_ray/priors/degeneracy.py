"""Find axes on which a density could grow without bound, on the training split.

Three things make a likelihood unbounded and its value meaningless: an axis that does not vary (eyes, an absent
jaw); an axis with an atom, one exact value in many poses (hands or feet missing from a recording are at rest); and
axes of a joint that move only along one line or plane (a hinge that is not aligned with an axis). Densities exclude
all of these axes. The excluded axes of a hinge follow from the axes that are kept, so no part of the pose is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mocap_ray.priors.forms import J
from mocap_ray.priors.rotations import canonical
from mocap_ray.skeleton import SMPLX_JOINTS

MIN_VARIANCE = 1e-8
"""rad^2; an axis that varies less (a standard deviation of 0.006 degrees) counts as constant."""
MAX_ATOM = 0.05
"""Largest share of the poses with one exact value of an axis. Joint limits of a solver leave 1 or 2 % (AMASS's
knees); 46 % of the poses of CMU have their feet at exactly 0."""
ATOM_POSES = 20_000
"""Poses, spread evenly, that are searched for atoms: the share is known to 0.2 %."""
FEW = 10
"""Up to this many repetitions are not an atom, however few the poses."""


@dataclass(frozen=True, slots=True, eq=False)
class Degeneracy:
    """The axes that a density excludes.

    Attributes:
        active: [55, 3] mask of the axes that a density includes.
        reasons: excluded axes of chosen joints -> reason, such as `left_eye.x` -> `constant`.
        constants: [55, 3] rad; values of excluded axes; 0 for active axes and for joints not chosen.
        follow: [55, 3, 3]; a dependent axis is constants + follow @ (active axes), row by row.
    """

    active: Bool[Tensor, "55 3"]
    reasons: dict[str, str]
    constants: Float[Tensor, "55 3"]
    follow: Float[Tensor, "55 3 3"]


def find_degenerate(
    poses: Float[Tensor, "N 55 3"],
    mean: Float[Tensor, "55 3"],
    covariance: Float[Tensor, "55 3 3"],
    joints: Sequence[int],
) -> Degeneracy:
    """Find the degenerate axes of the chosen joints.

    Args:
        poses: rotation vectors of the training split, rad; only searched for atoms.
        mean, covariance: moments of all poses as canonical rotation vectors, float64.
        joints: indices of the chosen joints.
    """
    atoms = largest_atoms(poses, joints)
    active = torch.zeros(J, 3, dtype=torch.bool)
    constants = torch.zeros(J, 3, dtype=torch.float64)
    follow = torch.zeros(J, 3, 3, dtype=torch.float64)
    reasons: dict[str, str] = {}
    for j in joints:
        free = []
        for k in range(3):
            if covariance[j, k, k] < MIN_VARIANCE:
                reasons[_axis(j, k)] = "constant"
            elif atoms[j, k] > MAX_ATOM:
                reasons[_axis(j, k)] = f"one exact value in {float(atoms[j, k]):.0%} of the poses"
            else:
                free.append(k)
        kept = _independent(covariance[j], free)
        active[j, kept] = True
        constants[j] = torch.where(active[j], 0.0, mean[j])
        for k in sorted(set(free) - set(kept)):
            reasons[_axis(j, k)] = f"follows {' and '.join(_axis(j, i) for i in kept)}"
            weights = torch.linalg.solve(covariance[j][kept][:, kept], covariance[j][kept, k])
            follow[j, k, kept] = weights
            constants[j, k] = mean[j, k] - weights @ mean[j, kept]
    return Degeneracy(active, reasons, constants, follow)


def largest_atoms(poses: Float[Tensor, "N 55 3"], joints: Sequence[int] = range(J)) -> Float[Tensor, "55 3"]:
    """Share of the poses with the most frequent exact value of each axis; 0 if it repeats `FEW` times or less."""
    some = canonical(poses[:: max(1, len(poses) // ATOM_POSES)]).cpu()
    share = torch.zeros(J, 3, dtype=torch.float64)
    for j in joints:
        for k in range(3):
            most = int(torch.unique(some[:, j, k], return_counts=True)[1].max())
            share[j, k] = most / len(some) if most > FEW else 0.0
    return share


def grouped(reasons: Mapping[str, str]) -> dict[str, list[str]]:
    """Group axes by reason: the joint's name if the reason holds for all three of its axes, else `joint.axis`."""
    groups: dict[str, list[str]] = {}
    for axis, reason in reasons.items():
        joint = axis.partition(".")[0]
        all_axes = all(reasons.get(f"{joint}.{k}") == reason for k in "xyz")
        names = groups.setdefault(reason, [])
        if not all_axes or joint not in names:
            names.append(joint if all_axes else axis)
    return groups


def _independent(covariance: Float[Tensor, "3 3"], axes: Sequence[int]) -> list[int]:
    """The axes, by decreasing variance, that still vary given those before them (pivoted Cholesky)."""
    rest, kept, left = covariance.clone(), [], list(axes)
    while left:
        best = max(left, key=lambda k: float(rest[k, k]))
        if rest[best, best] < MIN_VARIANCE:
            break
        kept.append(best)
        left.remove(best)
        rest = rest - torch.outer(rest[:, best], rest[best]) / rest[best, best]
    return sorted(kept)


def _axis(joint: int, axis: int) -> str:
    return f"{SMPLX_JOINTS[joint]}.{'xyz'[axis]}"
