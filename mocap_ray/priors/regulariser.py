"""A trained pose prior as the regulariser of a fit (`body.fitting`)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mocap_ray.priors.prior import Prior

_EXCLUDED = 1e6
"""nats per rad^2 along axes that the prior excludes: a step leaves them alone."""
_NARROWEST = 0.05
"""Radians: no axis counts as narrower, where the curvature of a density says little about a step."""


@dataclass(frozen=True, eq=False)
class PriorRegulariser:
    """The energy, the projection and the typical curvature of a prior, for poses [F, 22, 3] of the body."""

    prior: Prior

    def __post_init__(self) -> None:
        self.prior.requires_grad_(False).eval()

    def energy(self, poses: Tensor) -> Tensor:
        """Nats [F], differentiable; joints of hands and face are hidden."""
        return self.prior.energy(poses)

    def project(self, poses: Tensor) -> Tensor:
        """Excluded axes at their constants; see `Prior.project`."""
        return self.prior.project(poses)

    def curvature(self) -> Tensor:
        """[22, 3] nats per rad^2, from the widths of the training split: those of a Gaussian."""
        c = self.prior.coordinates
        found = torch.zeros(55, 3).to(c.std)
        found[list(c.joints)] = _EXCLUDED
        found.view(-1)[list(c.index_list)] = 1 / c.std.clamp_min(_NARROWEST) ** 2
        return found[:22]
