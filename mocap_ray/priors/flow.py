"""Normalizing flows: an invertible map from poses to noise, and the density that follows from it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from mocap_ray.priors.prior import Prior, PriorConfig
from mocap_ray.priors.tails import LOG_2PI, normal_draw, student_log_density, student_scale


class FlowConfig(PriorConfig):
    """Options of all flows."""

    dof: Annotated[int, Field(ge=1, le=1000)] | None = 4
    """Heavy tails: degrees of freedom of the Student-t distribution that the flow maps to; null: a normal one."""


class Flow(Prior):
    """log p(x) = log b(z) + log |det dz/dx|, with z = f(x) and a base density b: Student-t, or N(0, I).

    x [B, D] are active coordinates, z [B, D] is noise. Subclasses implement `transform` and `inverse`; the base density
    and sampling are the same for all flows. Source: Papamakarios et al., Normalizing Flows for Probabilistic Modeling
    and Inference, 2021.

    Hidden joints: a flow has no marginals in closed form. Hidden joints are set to the training mean, so the result
    is log p(visible, hidden = mean). Among poses with the same mask, this is the conditional density
    p(visible | hidden = mean) up to a constant: its gradient is that of a density, but values are not comparable
    between masks. To complete a pose, optimise the hidden joints with the full density instead. A flow that
    factorises over joints drops their terms instead.
    """

    config: FlowConfig

    @abstractmethod
    def transform(self, x: Float[Tensor, "B D"]) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B"]]:
        """Map coordinates to noise; also return log |det dz/dx|."""

    @abstractmethod
    def inverse(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Map noise to coordinates: the inverse of `transform`."""

    def log_density(
        self, x: Float[Tensor, "B D"], visible: Bool[Tensor, "B D"] | None = None
    ) -> Float[Tensor, "B"]:
        """Log density in nats, by the change of variables; see the class for hidden joints."""
        if visible is not None:
            x = torch.where(visible, x, self.coordinates.fill)
        z, log_det = self.transform(x)
        return log_det + self.base_log_density(z.square(), 1).sum(-1)

    def base_log_density(
        self, squared: Float[Tensor, "*B"], axes: Int[Tensor, "*#B"] | int
    ) -> Float[Tensor, "*B"]:
        """Log density of noise vectors of `axes` dimensions, from their squared lengths."""
        if self.dof is None:
            return -0.5 * (squared + axes * LOG_2PI)
        return student_log_density(squared, axes, self.dof)

    @property
    def dof(self) -> int | None:
        """Degrees of freedom of the base density; None: normal."""
        return self.config.dof if self.config.tails == "heavy" else None

    def draw(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n D"]:
        """Map noise through the inverse."""
        return self.inverse(self.noise(n, generator))

    def noise(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "n D"]:
        """Samples of the base density, independent in each coordinate."""
        z = normal_draw(self.coordinates.mean, n, generator)
        return z if self.dof is None else z * student_scale(tuple(z.shape), self.dof, generator, z)
