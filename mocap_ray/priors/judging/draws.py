"""Samples of a prior for its figures."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mocap_ray.errors import UserError
from mocap_ray.priors.prior import Prior
from mocap_ray.wording import counted


def finite_samples(prior: Prior, count: int, generator: torch.Generator) -> Float[Tensor, "S 55 3"]:
    """Draw `count` samples, axis-angle in rad; those with non-finite values are left out.

    Raises:
        UserError: no sample has finite values.
    """
    drawn = prior.sample(count, generator)
    finite = drawn[torch.isfinite(drawn).flatten(1).all(1)]
    if not len(finite):
        raise UserError(
            f"{counted(count, 'sample')} drawn, none with finite values: the prior is broken. Train again."
        )
    return finite
