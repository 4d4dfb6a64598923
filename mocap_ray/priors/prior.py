"""What every pose prior offers, whatever it is made of.

A prior is a density over the active numbers of a pose: the joints that its config names, less the degenerate
dimensions that the training split showed. Losses and scores are per active dimension, in nats, so that they
can be compared between data sets with and without hands. Densities are with respect to Lebesgue measure on
canonical rotation vectors (rad), whatever coordinates a model works in, so that they compare between models.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Annotated, ClassVar, TypedDict

import torch
from jaxtyping import Bool, Float
from pydantic import Field, JsonValue
from torch import Tensor, nn

from mocap_ray.options import MAY_CHANGE
from mocap_ray.priors.coordinates import Coordinates, Description, Representation, Standardise
from mocap_ray.priors.rotations import noisy_rotations
from mocap_ray.training.options import ModelOptions


class PriorConfig(ModelOptions):
    """What every model lets one choose; each adds its `kind`."""

    representation: Representation = "rotvec"
    """`rotvec`: rotation vectors; `tangent`: log(R_mean^T R), the chart at each joint's mean rotation."""
    standardise: Standardise = "axis"
    """`axis`: in units of the training split's mean and standard deviation; `joint`: whitened by each joint's
    covariance, so that the thin directions of a joint count like the wide ones; `none`: rad."""
    noise_deg: Annotated[float, Field(ge=0, le=90), MAY_CHANGE] = 0.0
    """Geodesic noise on training poses: each rotation is turned about a random axis, with this standard deviation per
    axis. It smooths the density, the same for all joints: it drowns directions that are thinner."""
    jitter: Annotated[float, Field(ge=0), MAY_CHANGE] = 0.0
    """Gaussian noise on training coordinates, in their units: 0.1 of each deviation where they are standardised. It
    smooths wide and thin directions alike: few subjects want some, else flows learn their poses by heart."""


class PriorDescription(TypedDict):
    """What `mocap_ray.load_prior` needs besides the tensors, as plain JSON values."""

    model: dict[str, JsonValue]
    coordinates: Description


class Prior(nn.Module, ABC):
    """A learned density of human poses.

    Poses come as axis-angle [*B, J, 3] (rad), matrices [*B, J, 3, 3] or 6-D [*B, J, 6] (first two columns of the
    matrix, column by column), with J = 55 (SMPL-X), 53 (no eyes), 52 (SMPL+H) or 21 (body without pelvis); see
    `Coordinates.rotvecs`.

    Attributes:
        config: the model section that built it.
        coordinates: which numbers of a pose it sees, and how they are scaled; fitted on the training split.
        bound: whether `log_prob` is a lower bound (see `ImportanceWeighted`) and not exact.
    """

    bound: ClassVar[bool] = False

    config: PriorConfig
    coordinates: Coordinates

    def __init__(self, config: PriorConfig, coordinates: Coordinates) -> None:
        super().__init__()
        self.config = config
        self.coordinates = coordinates

    @abstractmethod
    def log_density(
        self, x: Float[Tensor, "B D"], visible: Bool[Tensor, "B D"] | None = None
    ) -> Float[Tensor, "B"]:
        """Log density, in nats, with respect to active coordinates; of the visible ones where it can be said."""

    @abstractmethod
    def draw(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n D"]:
        """Samples in active coordinates."""

    def log_prob(self, poses: Tensor, visible: Bool[Tensor, "*B J"] | None = None) -> Tensor:
        """Log density [*B] in nats, per rad^D of rotation vectors; gradients are finite, also at angles 0 and pi.

        Args:
            poses: any of the forms above.
            visible: joints that count; hidden ones contribute nothing (see each model for what that means).
        """
        x, seen, batch = self.coordinates.encode(poses, visible)
        return (self.log_density(x, seen) + self.coordinates.log_volume(x, seen)).reshape(batch)

    def energy(self, poses: Tensor, visible: Bool[Tensor, "*B J"] | None = None) -> Tensor:
        """Negative log density [*B], differentiable: what an optimisation loop minimises."""
        return -self.log_prob(poses, visible)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n 55 3"]:
        """Poses as axis-angle, angle in [0, pi]; joints and dimensions that are not active at their constants."""
        return self.coordinates.decode(self.draw(n, generator))

    def loss(self, batch: Float[Tensor, "B 55 3"], *, epoch: float = 0.0) -> tuple[Tensor, dict[str, Tensor]]:
        """Training loss, nats per active dimension, and scalars worth a curve (`nll`, `kl`, ...).

        Args:
            batch: axis-angle, rad.
            epoch: epochs done before this step, with the part of the present one: for what warms up.
        """
        x, seen, _ = self.coordinates.encode(self.noisy(batch))
        x = self.jittered(x)
        log_prob = self.log_density(x, seen) + self.coordinates.log_volume(x, seen)
        nll = -log_prob.mean() / self.coordinates.active
        return nll, {"nll": nll.detach()}

    def noisy(self, batch: Float[Tensor, "B 55 3"]) -> Float[Tensor, "B 55 3"]:
        """The batch with geodesic noise, in training and where the config asks for it."""
        if not self.training or not self.config.noise_deg:
            return batch
        return noisy_rotations(batch, spread=math.radians(self.config.noise_deg))

    def jittered(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Coordinates with noise, in training and where the config asks for it."""
        if not self.training or not self.config.jitter:
            return x
        return x + self.config.jitter * torch.randn_like(x)

    def export(self) -> PriorDescription:
        """What `mocap_ray.load_prior` needs besides the tensors: plain JSON values."""
        return {"model": self.config.model_dump(mode="json"), "coordinates": self.coordinates.describe()}


class ClosedForm(ABC):
    """A prior that has its maximum likelihood without gradient steps (`training.closed_form`)."""

    @abstractmethod
    def fit_closed_form(self, poses: Tensor) -> None:
        """Set the parameters to the maximum likelihood of these poses (any form, any batch shape).

        Raises:
            UserError: the likelihood of these poses has no maximum.
        """


def noise(like: Tensor, n: int, generator: torch.Generator | None) -> Float[Tensor, "n D"]:
    """Standard normal [n, *like.shape[-1:]] in the dtype and on the device of `like`.

    Drawn where the generator lives: one seed on the CPU gives the same samples for a model on any device.
    """
    device = like.device if generator is None else generator.device
    return torch.randn(n, like.shape[-1], generator=generator, dtype=like.dtype, device=device).to(
        like.device
    )
