"""The baseline: an independent Gaussian for each active axis."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mocap_ray.errors import UserError
from mocap_ray.priors.coordinates import Coordinates
from mocap_ray.priors.prior import ClosedForm, Prior, PriorConfig, Weight
from mocap_ray.priors.tails import LOG_2PI, normal_draw
from mocap_ray.wording import counted


class GaussianConfig(PriorConfig):
    """A mean and a variance per axis; no options of its own."""

    kind: Literal["gaussian_prior"] = "gaussian_prior"
    broad_weight: Weight = 0.3
    """Heavy tails: share of the joints of samples that come from the broad density, and its weight."""


class GaussianPrior(Prior, ClosedForm):
    """log p(x) = -1/2 sum_d ((x_d - mean_d)^2 exp(-log_variance_d) + log_variance_d + log 2 pi).

    Two parameters per active axis: 330 with 55 joints. It starts at the mean and variance of the training split,
    the maximum likelihood solution, so there is nothing to train; `fit_closed_form` computes the solution for
    any poses. Hidden joints: the exact marginal.
    """

    factorised = True

    def __init__(self, config: GaussianConfig, coordinates: Coordinates) -> None:
        super().__init__(config, coordinates)
        raw = coordinates.standardise == "none"
        spread = 2 * coordinates.std.log() if raw else torch.zeros_like(coordinates.std)
        self.mean = nn.Parameter(coordinates.fill.clone())
        self.log_variance = nn.Parameter(spread.clone())

    def log_density(
        self, x: Float[Tensor, "B D"], visible: Bool[Tensor, "B D"] | None = None
    ) -> Float[Tensor, "B"]:
        """Sum of the log densities of the visible axes."""
        return self._terms(x, visible).sum(-1)

    def joint_log_densities(
        self, x: Float[Tensor, "B D"], visible: Bool[Tensor, "B D"] | None = None
    ) -> Float[Tensor, "B L"]:
        """Sums over the axes of each joint."""
        return self.coordinates.by_joint(self._terms(x, visible))

    def _terms(self, x: Float[Tensor, "B D"], visible: Bool[Tensor, "B D"] | None) -> Float[Tensor, "B D"]:
        z2 = (x - self.mean) ** 2 * torch.exp(-self.log_variance)
        terms = -0.5 * (z2 + self.log_variance + LOG_2PI)
        return terms if visible is None else torch.where(visible, terms, 0.0)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n D"]:
        """Sample each axis independently."""
        return self.mean + torch.exp(0.5 * self.log_variance) * normal_draw(self.mean, n, generator)

    @torch.no_grad()
    def fit_closed_form(self, poses: Tensor) -> None:
        """Set the mean and variance of these poses (any form, any batch shape), computed in float64.

        This is the maximum of the likelihood of the Gaussians, without the broad density of the tails.

        Raises:
            UserError: an active axis does not vary in the poses, so the likelihood has no maximum.
        """
        x = self.coordinates.encode(poses)[0].double()
        variance = x.var(0, correction=0)
        if len(x) < 2 or not bool((variance > 0).all()):
            raise UserError(
                f"{counted(len(x), 'pose')} in which an active axis is constant: no maximum likelihood. "
                "Expected poses in which every active axis varies."
            )
        self.mean.copy_(x.mean(0))
        self.log_variance.copy_(variance.log())
