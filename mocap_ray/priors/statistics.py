"""Statistics of the training split: which axes of a pose are active, their scale and their charts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mocap_ray.errors import UserError
from mocap_ray.priors.degeneracy import MIN_VARIANCE, Degeneracy, find_degenerate, grouped
from mocap_ray.priors.forms import J, JointChoice, joint_indices
from mocap_ray.priors.moments import chunks, factors_of, mean_rotations, moments
from mocap_ray.priors.rotations import canonical, turned
from mocap_ray.wording import counted


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """Everything that `Coordinates` needs besides the choice of a chart and a scale.

    Attributes:
        joints: indices of the chosen joints among the 55.
        active: the active axes, 3 joint + axis, in ascending order.
        degenerate: excluded axes of chosen joints -> reason: `jaw.x` -> `constant`, ...
        constants: [55, 3] rad; values of the excluded axes, see `Degeneracy`.
        follow: [55, 3, 3] how degenerate axes follow from the active ones of their joint, see `Degeneracy`.
        mean, std: [D] moments of the active axes in the chart, rad; `std` includes the floor, as `factor` does.
        factor: [L, 3, 3] Cholesky factors of the active joints' covariances, rad.
        centre: [55, 3] rotation vectors of the mean rotations; 0: no chart.
    """

    joints: tuple[int, ...]
    active: tuple[int, ...]
    degenerate: dict[str, str]
    constants: Float[Tensor, "55 3"]
    follow: Float[Tensor, "55 3 3"]
    mean: Float[Tensor, "D"]
    std: Float[Tensor, "D"]
    factor: Float[Tensor, "L 3 3"]
    centre: Float[Tensor, "55 3"]

    @classmethod
    def of(
        cls, poses: Float[Tensor, "N 55 3"], *, joints: JointChoice, tangent: bool, floor_deg: float = 0.0
    ) -> Statistics:
        """Compute the statistics of poses, in float64 and in chunks.

        Args:
            poses: rotation vectors, rad.
            joints: see `joint_indices`.
            tangent: whether joints get a chart at their mean rotation.
            floor_deg: width that is added in quadrature to that of each direction, degrees.

        Raises:
            UserError: fewer than two poses, a number that is not finite, or nothing that varies.
        """
        chosen = joint_indices(joints)
        if len(poses) < 2:
            raise UserError(f"{counted(len(poses), 'pose')}: statistics need at least two.")
        mean, covariance = moments(canonical(c) for c in chunks(poses))
        if not bool(torch.isfinite(covariance).all()):
            raise UserError("The poses hold values that are not finite. Expected rotation vectors in rad.")
        found = find_degenerate(poses, mean, covariance, chosen)
        if not bool(found.active.any()):
            raise UserError(nothing_varies(found.reasons, joints, count=len(poses)))
        centre = torch.zeros(J, 3, dtype=torch.float64)
        if tangent:
            centre, mean, covariance = _charted(poses, found, mean, covariance)
        covariance = covariance + math.radians(floor_deg) ** 2 * torch.eye(3, dtype=torch.float64)
        index = found.active.reshape(-1).nonzero().squeeze(1)
        return cls(
            joints=chosen,
            active=tuple(index.tolist()),
            degenerate=found.reasons,
            constants=found.constants,
            follow=found.follow,
            mean=mean.reshape(-1)[index],
            std=covariance.diagonal(dim1=1, dim2=2).reshape(-1)[index].sqrt(),
            factor=factors_of(covariance, found.active),
            centre=centre,
        )


def _charted(
    poses: Float[Tensor, "N 55 3"],
    found: Degeneracy,
    mean: Float[Tensor, "55 3"],
    covariance: Float[Tensor, "55 3 3"],
) -> tuple[Float[Tensor, "55 3"], Float[Tensor, "55 3"], Float[Tensor, "55 3 3"]]:
    """Centres, means and covariances in the charts; joints with a degenerate axis get no chart."""
    charted = found.active.all(1, keepdim=True)
    zero = torch.zeros_like(mean)
    centre = torch.where(charted, mean_rotations(poses), zero).float().double()  # as it is stored
    chart_mean, chart_covariance = moments(turned(-centre.to(c.device), c) for c in chunks(poses))
    # A chart bends lines: by rounding, a covariance of full rank may become singular in it.
    charted = charted & (torch.linalg.eigvalsh(chart_covariance)[:, :1] >= MIN_VARIANCE)
    return (
        torch.where(charted, centre, zero),
        torch.where(charted, chart_mean, mean),
        torch.where(charted[:, :, None], chart_covariance, covariance),
    )


def nothing_varies(reasons: Mapping[str, str], joints: JointChoice, *, count: int) -> str:
    """The sentence if no axis of the joints can be modelled; `reasons` as in `Degeneracy`."""
    names = joints if isinstance(joints, str) else ", ".join(joints)
    why = ", ".join(f"{reason} ({counted(len(what), 'joint')})" for reason, what in grouped(reasons).items())
    return (
        f"joints: {names}: nothing to learn in the {counted(count, 'training pose')}: {why}. The "
        "recordings may lack these joints, or keep them still. Choose other joints with data.joints, or "
        "recordings that move them with data.dataset."
    )
