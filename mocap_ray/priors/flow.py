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
    """log p(x | c) = log N(z; 0, I) + log |det dz/dx|, with z = f(x; c).

    x [B, D] are active coordinates, z [B, D] is noise, c [B, condition_dim] is an optional condition. Subclasses
    implement `_call` and `_inverse`; conditions, the base density and sampling are the same for all flows. Source:
    Papamakarios et al., Normalizing Flows for Probabilistic Modeling and Inference, 2021.

    Hidden joints: a flow has no marginals in closed form. Hidden joints are set to the training mean, so the result
    is log p(visible, hidden = mean). Among poses with the same mask, this is the conditional density
    p(visible | hidden = mean) up to a constant: its gradient is that of a density, but values are not comparable
    between masks. To complete a pose, optimise the hidden joints with the full density instead. A flow that
    factorises over joints can do better; see `_change_of_variables`.

    Attributes:
        condition_dim: length of the condition; 0: the flow takes none. A condition that is not passed is zero.
    """

    condition_dim: int = 0

    @abstractmethod
    def _call(
        self, x: Float[Tensor, "B D"], condition: Float[Tensor, "B c"]
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B"]]:
        """Implement `transform`; the shape of the condition is already checked."""

    @abstractmethod
    def _inverse(self, z: Float[Tensor, "B D"], condition: Float[Tensor, "B c"]) -> Float[Tensor, "B D"]:
        """Implement `inverse`; the shape of the condition is already checked."""

    def _change_of_variables(
        self,
        x: Float[Tensor, "B D"],
        condition: Float[Tensor, "B c"],
        visible: Bool[Tensor, "B D"] | None,
    ) -> Float[Tensor, "B"]:
        """Log density of x, whose hidden coordinates are already set to the training mean.

        A flow whose log determinant is a sum over joints overrides this and drops the terms of hidden joints.
        """
        z, log_det = self._call(x, condition)
        return log_det - 0.5 * (z * z + LOG_2PI).sum(-1)

    def transform(
        self, x: Float[Tensor, "B D"], condition: Float[Tensor, "B c"] | None = None
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B"]]:
        """Map coordinates to noise; also return log |det dz/dx|.

        Raises:
            ValueError: a condition of another shape.
        """
        return self._call(x, self._checked(condition, rows=len(x)))

    def inverse(
        self, z: Float[Tensor, "B D"], condition: Float[Tensor, "B c"] | None = None
    ) -> Float[Tensor, "B D"]:
        """Map noise to coordinates: the inverse of `transform` with the same condition."""
        return self._inverse(z, self._checked(condition, rows=len(z)))

    def log_density(
        self,
        x: Float[Tensor, "B D"],
        visible: Bool[Tensor, "B D"] | None = None,
        condition: Float[Tensor, "B c"] | None = None,
    ) -> Float[Tensor, "B"]:
        """Log density in nats, by the change of variables; see the class for hidden joints."""
        if visible is not None:
            x = torch.where(visible, x, self.coordinates.fill)
        return self._change_of_variables(x, self._checked(condition, rows=len(x)), visible)

    def draw(
        self, n: int, generator: torch.Generator | None = None, condition: Float[Tensor, "n c"] | None = None
    ) -> Float[Tensor, "n D"]:
        """Map standard normal noise through the inverse."""
        return self.inverse(noise(self.coordinates.mean, n, generator), condition)

    def log_prob(
        self,
        poses: Tensor,
        visible: Bool[Tensor, "*B J"] | None = None,
        condition: Float[Tensor, "*#B c"] | None = None,
    ) -> Tensor:
        """Log density [*B] as for every prior, with an optional condition that is broadcast over the batch."""
        x, mask, batch = self.coordinates.encode(poses, visible)
        if condition is not None:
            condition = condition.to(x.dtype).expand(*batch, -1).reshape(len(x), condition.shape[-1])
        return (self.log_density(x, mask, condition) + self.coordinates.log_volume(x, mask)).reshape(batch)

    def energy(
        self,
        poses: Tensor,
        visible: Bool[Tensor, "*B J"] | None = None,
        condition: Float[Tensor, "*#B c"] | None = None,
    ) -> Tensor:
        """Negative `log_prob` [*B], differentiable."""
        return -self.log_prob(poses, visible, condition)

    @torch.no_grad()
    def sample(
        self, n: int, generator: torch.Generator | None = None, condition: Float[Tensor, "n c"] | None = None
    ) -> Float[Tensor, "n 55 3"]:
        """Sample poses as from every prior, with an optional condition for each."""
        return self.coordinates.decode(self.draw(n, generator, condition))

    def _checked(self, condition: Tensor | None, *, rows: int) -> Float[Tensor, "B c"]:
        """The condition, or zeros if it is None. Raises ValueError for another shape."""
        if condition is None:
            return self.coordinates.mean.new_zeros(rows, self.condition_dim)
        if condition.shape == (rows, self.condition_dim):
            return condition
        if not self.condition_dim:
            raise ValueError(
                f"condition of shape {list(condition.shape)}: this {self.config.kind} takes no condition. "
                "Call it without one, or train a global_flow with model.condition_dim."
            )
        raise ValueError(
            f"condition of shape {list(condition.shape)}: expected [{rows}, {self.condition_dim}] "
            "(model.condition_dim)."
        )
