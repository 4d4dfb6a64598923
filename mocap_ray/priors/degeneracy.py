"""Axes on which a density could grow without bound, found on the training split.

Three things make a likelihood unbounded, and its figure mean nothing: an axis that does not vary (eyes, an absent
jaw), an axis with an atom, one exact value in many poses (hands or feet that a recording lacks stand at rest), and
axes of a joint that move along one line or plane only (a hinge that lies across the axes). None of them counts in a
density. What a hinge's axis leaves out follows from the axes that are kept, so that nothing of the pose is lost.
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
"""rad^2; an axis that varies less (a standard deviation of 0.006 degrees) is taken for constant."""
MAX_ATOM = 0.05
"""Share of the poses that may hold one exact value of an axis. Joint limits of a solver leave 1 or 2 % (AMASS's
knees); 46 % of the poses of CMU have their feet at exactly 0."""
ATOM_POSES = 20_000
"""Poses, spread evenly, that are searched for atoms: the share is known to 0.2 %."""
FEW = 10
"""Repetitions that are no atom however few the poses."""


@dataclass(frozen=True, slots=True, eq=False)
class Degeneracy:
    """What a density leaves out.

    Attributes:
        active: [55, 3] axes that count.
        reasons: axes of chosen joints that do not -> why, such as `left_eye.x` -> `constant`.
        constants: [55, 3] rad; where axes that do not count stand, 0 for those that do and for joints not chosen.
        follow: [55, 3, 3]; an axis that follows is constants + follow @ (axes that count), row by row.
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
    """Look at the chosen joints, one by one.

    Args:
        poses: rotation vectors of the training split, rad; only searched for atoms.
        mean, covariance: of all of them, canonical, float64.
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
    """Share of the poses that hold the most frequent exact value of each axis; 0 where hardly any repeats."""
    some = canonical(poses[:: max(1, len(poses) // ATOM_POSES)]).cpu()
    share = torch.zeros(J, 3, dtype=torch.float64)
    for j in joints:
        for k in range(3):
            most = int(torch.unique(some[:, j, k], return_counts=True)[1].max())
            share[j, k] = most / len(some) if most > FEW else 0.0
    return share


def grouped(reasons: Mapping[str, str]) -> dict[str, list[str]]:
    """Reason -> what it holds for: a joint's name where it does for all three axes, else `joint.axis`."""
    found: dict[str, list[str]] = {}
    for axis, reason in reasons.items():
        joint = axis.partition(".")[0]
        whole = all(reasons.get(f"{joint}.{k}") == reason for k in "xyz")
        names = found.setdefault(reason, [])
        if not whole or joint not in names:
            names.append(joint if whole else axis)
    return found


def _independent(covariance: Float[Tensor, "3 3"], axes: Sequence[int]) -> list[int]:
    """The axes, by falling variance, that still vary where those before them are held (pivoted Cholesky)."""
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
