"""The broad density of each joint, which heavy tails mix into a prior; `tails.py` says why.

q_j = 0.99 t_j + 0.01 u_j: a Student-t with the mean and covariance of the joint in training, and uniform rotations.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from mocap_ray.priors.coordinates import Coordinates, Measures
from mocap_ray.priors.tails import (
    least_uniform,
    mixed,
    normal_draw,
    student_log_density,
    student_scale,
    uniform_draw,
)

DOF = 3
"""Degrees of freedom of the Student-t."""
UNIFORM_SHARE = 0.01
"""Weight of the uniform rotations."""


def broad_log_density(c: Coordinates, x: Float[Tensor, "n D"], measures: Measures) -> Float[Tensor, "n L"]:
    """Log density of each active joint, nats per rad of rotation vectors.

    Args:
        c: coordinates of the prior.
        x: active coordinates.
        measures: `c.measures(x)`.
    """
    z = (x - c.mean) / c.std if c.standardise == "none" else x
    student = student_log_density(c.by_joint(z.square()), c.axes, DOF)
    if c.standardise == "none":
        student = student - c.by_joint(c.std.log()[None])
    return mixed(student + measures.log_volume, measures.log_uniform, math.log(UNIFORM_SHARE))


def broad_draw(c: Coordinates, n: int, generator: torch.Generator | None) -> Float[Tensor, "n D"]:
    """Samples of all joints, each independent of the others, in active coordinates."""
    L = len(c.active_joints)
    far = coins(n, L, UNIFORM_SHARE, generator).to(c.mean.device)[:, c.position_of]
    active = torch.zeros(3 * L, dtype=torch.bool, device=c.within.device)
    active[c.within] = True
    uniform = c.of_vectors(uniform_draw(n, active.reshape(L, 3), generator).to(c.mean))
    z = normal_draw(c.mean, n, generator) * student_scale((n, L), DOF, generator, c.mean)[:, c.position_of]
    near = z * c.std + c.mean if c.standardise == "none" else z
    return torch.where(far, uniform, near)


def least_log_density(c: Coordinates) -> float:
    """Sum over the active joints of the least log density, nats, of a joint."""
    return len(c.active_joints) * math.log(UNIFORM_SHARE) + least_uniform(c.axes)


def coins(n: int, joints: int, share: float, generator: torch.Generator | None) -> Tensor:
    """Independent choices [n, joints], true with the probability `share`; on the device of the generator."""
    device = "cpu" if generator is None else generator.device
    return torch.rand(n, joints, generator=generator, device=device) < share
