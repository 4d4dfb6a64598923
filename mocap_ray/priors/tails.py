"""Tails of the priors: how unlikely a pose may be at most, and how the energy grows towards it.

A model of human poses is sharp: people bend their elbows along lines. On people that it was not trained on, a few
poses lie beside these lines, and a density with Gaussian tails gives them thousands of nats, with gradients to match.
`PriorConfig.tails: heavy` changes three things, for all priors:

Floor      Whitening treats each direction of a joint as at least `floor_deg` wide, so that no unit of a model is a
           thousandth of a radian. `jitter` is a fraction of that unit, so a density is never trained to be narrower
           than `jitter * floor_deg` in any direction, also where a joint moves along a bent line.
Base       Flows map to a Student-t distribution with `dof` degrees of freedom, whose energy grows with the
           logarithm of the distance: its gradient falls as 1 / distance.
Broad      A broad density q_j of each joint j is mixed in with a fixed weight w: 0.99 t_j + 0.01 u_j, where t_j is a
           Student-t with the mean and covariance of the joint in training, and u_j is uniform over its rotations: Haar
           measure over SO(3) for three active axes, uniform over the disc of radius pi for two, over the interval
           (-pi, pi) for one. Where a model factorises over joints, each joint is a mixture (1 - w) p_j + w q_j, so
           that one odd joint does not cost the others. Other models are mixed as a whole, (1 - w) p + w prod_j q_j,
           and trained without it: a model does not learn from poses that the broad density explains.

The broad density is what a model falls back on for people whom it does not know, as an n-gram model of language backs
off to shorter contexts (Jelinek and Mercer, 1980). Its weight is not learned, since training poses have no use for it;
folds by subject chose it.

So every pose has a density of at least prod_j 0.01 w u_j, or w prod_j 0.01 u_j (`Prior.least_log_density`). Densities
integrate to one, samples include the tails, and `tails: gaussian` turns all three off.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mocap_ray.priors.rotations import log_haar

LOG_SO3 = math.log(8 * math.pi**2)
"""Log of the volume of SO(3) in the measure of `log_haar`."""
LOG_PLANE = (math.log(2 * math.pi), math.log(math.pi**3))
"""Logs of the length of (-pi, pi), and of the area of the disc of radius pi."""
LOG_2PI = math.log(2 * math.pi)


def mixed(log_p: Float[Tensor, "*B"], log_q: Float[Tensor, "*B"], log_weight: float) -> Float[Tensor, "*B"]:
    """log((1 - weight) p + weight q)."""
    return torch.logaddexp(log_p + math.log1p(-math.exp(log_weight)), log_q + log_weight)


def uniform_log_density(
    vectors: Float[Tensor, "n L 3"], axes: Int[Tensor, "L"], haar: Float[Tensor, "n L"] | None = None
) -> Float[Tensor, "n L"]:
    """Log density of uniformly distributed rotations, per rad^axes of rotation vectors.

    Args:
        vectors: canonical rotation vectors of each joint, rad; angles in [0, pi].
        axes: number of active axes of each joint.
        haar: `log_haar(vectors)`, if it is known.
    """
    plane = torch.tensor([-LOG_PLANE[0], -LOG_PLANE[1]], dtype=vectors.dtype, device=vectors.device)
    flat = plane[(axes - 1).clamp(max=1)]
    return torch.where(axes == 3, (log_haar(vectors) if haar is None else haar) - LOG_SO3, flat)


def least_uniform(axes: Int[Tensor, "L"]) -> float:
    """Sum over joints of the smallest `uniform_log_density`: three axes have it at the angle pi."""
    least = {1: -LOG_PLANE[0], 2: -LOG_PLANE[1], 3: 2 * math.log(2 / math.pi) - LOG_SO3}
    return sum(least[k] for k in axes.tolist())


def uniform_draw(
    n: int, active: Bool[Tensor, "L 3"], generator: torch.Generator | None
) -> Float[Tensor, "n L 3"]:
    """Rotation vectors of uniformly distributed rotations; zero on axes that are not active."""
    device = active.device if generator is None else generator.device
    # A direction that is uniform on the sphere of each dimension, times a length whose distribution is known.
    normal = torch.randn(n, *active.shape, generator=generator, device=device) * active.to(device)
    length = torch.rand(n, len(active), 1, generator=generator, device=device)
    axes = active.sum(1)[:, None].to(device)
    angle = torch.where(axes == 3, _haar_angle(length), math.pi * length ** (1 / axes))
    return (angle * torch.nn.functional.normalize(normal, dim=-1)).to(active.device)


def _haar_angle(share: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """Angles in [0, pi] below which Haar measure has this share: solves a - sin(a) = pi share, by bisection."""
    low, high = torch.zeros_like(share), torch.full_like(share, math.pi)
    for _ in range(40):
        middle = (low + high) / 2
        above = middle - torch.sin(middle) > math.pi * share
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return (low + high) / 2


def student_log_density(
    squared: Float[Tensor, "*B"], axes: Int[Tensor, "*#B"] | int, dof: int
) -> Float[Tensor, "*B"]:
    """Log density of a standard multivariate Student-t, from the squared length of its argument.

    Args:
        squared: |z|^2.
        axes: dimensions of z.
        dof: degrees of freedom.
    """
    d = torch.as_tensor(axes, dtype=squared.dtype, device=squared.device)
    constant = torch.lgamma((dof + d) / 2) - math.lgamma(dof / 2) - 0.5 * d * math.log(dof * math.pi)
    return constant - 0.5 * (dof + d) * torch.log1p(squared / dof)


def normal_draw(like: Tensor, n: int, generator: torch.Generator | None) -> Float[Tensor, "n D"]:
    """Standard normal [n, *like.shape[-1:]] in the dtype and on the device of `like`.

    Drawn on the device of the generator: one seed on the CPU gives the same samples for a model on any device.
    """
    device = like.device if generator is None else generator.device
    return torch.randn(n, like.shape[-1], generator=generator, dtype=like.dtype, device=device).to(
        like.device
    )


def student_scale(
    shape: tuple[int, ...], dof: int, generator: torch.Generator | None, like: Tensor
) -> Tensor:
    """sqrt(dof / chi^2 of dof), in the dtype and on the device of `like`: times a normal vector, a Student-t vector."""
    device = like.device if generator is None else generator.device
    squares = torch.randn(*shape, dof, generator=generator, dtype=like.dtype, device=device).square()
    return (dof / squares.sum(-1)).sqrt().to(like.device)
