"""Normalizing flows: an invertible map from poses to noise, and the density that follows from it."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mocap_ray.priors.prior import Prior, noise

LOG_2PI = math.log(2 * math.pi)


class Flow(Prior):
    """log p(x) = log N(z; 0, I) + log |det dz/dx|, with z = f(x).

    x [B, D] are active coordinates, z [B, D] is noise. Subclasses implement `transform` and `inverse`; the base density
    and sampling are the same for all flows. Source: Papamakarios et al., Normalizing Flows for Probabilistic Modeling
    and Inference, 2021.

    Hidden joints: a flow has no marginals in closed form. Hidden joints are set to the training mean, so the result
    is log p(visible, hidden = mean). Among poses with the same mask, this is the conditional density
    p(visible | hidden = mean) up to a constant: its gradient is that of a density, but values are not comparable
    between masks. To complete a pose, optimise the hidden joints with the full density instead. A flow that
    factorises over joints can do better; see `_change_of_variables`.
    """

    @abstractmethod
    def transform(self, x: Float[Tensor, "B D"]) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B"]]:
        """Map coordinates to noise; also return log |det dz/dx|."""

    @abstractmethod
    def inverse(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Map noise to coordinates: the inverse of `transform`."""

    def _change_of_variables(
        self, x: Float[Tensor, "B D"], visible: Bool[Tensor, "B D"] | None
    ) -> Float[Tensor, "B"]:
        """Log density of x, whose hidden coordinates are already set to the training mean.

        A flow whose log determinant is a sum over joints overrides this and drops the terms of hidden joints.
        """
        z, log_det = self.transform(x)
        return log_det - 0.5 * (z * z + LOG_2PI).sum(-1)

    def log_density(
        self, x: Float[Tensor, "B D"], visible: Bool[Tensor, "B D"] | None = None
    ) -> Float[Tensor, "B"]:
        """Log density in nats, by the change of variables; see the class for hidden joints."""
        if visible is not None:
            x = torch.where(visible, x, self.coordinates.fill)
        return self._change_of_variables(x, visible)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n D"]:
        """Map standard normal noise through the inverse."""
        return self.inverse(noise(self.coordinates.mean, n, generator))
