"""Priors that compute a lower bound of their density."""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mocap_ray.priors.prior import Prior


class ImportanceWeighted(Prior):
    """log p(x) >= E log (1/K) sum_k p(x, z_k) / q(z_k | x), z_k drawn from q(z | x).

    The larger K, the tighter the bound; K = 1 is the ELBO. Source: Burda et al., Importance Weighted Autoencoders,
    2016. Subclasses implement `log_density` for a given number of samples.
    """

    bound = True

    @abstractmethod
    def log_density(
        self,
        x: Float[Tensor, "B D"],
        visible: Bool[Tensor, "B D"] | None = None,
        *,
        samples: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "B"]:
        """The bound, in nats.

        Args:
            x: active coordinates.
            visible: mask of the coordinates that count; None: all.
            samples: K; None: the config's value.
            generator: random generator of the z_k; None: torch's default one.
        """

    def log_prob(
        self,
        poses: Tensor,
        visible: Bool[Tensor, "*B J"] | None = None,
        *,
        samples: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Bound [*B] on the log density: ELBO for one sample, IWAE for more (None: the config's value)."""
        x, mask, batch = self.coordinates.encode(poses, visible)
        return self._log_prob(x, mask, samples=samples, generator=generator).reshape(batch)
