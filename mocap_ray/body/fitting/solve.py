"""Gauss-Newton steps that bring the joints of a body to given positions, with a pose prior as regulariser.

The energy of a frame, in nats, is

    |joints - targets|^2 / (2 spread^2)  +  weight * prior.energy(pose)  +  |turns to the neighbours|^2 / (2 jump^2)

where the translation is eliminated: both sets of joints are centred. Steps are taken in the tangent space of the local
rotations. The curvature of the joints is exact to first order and couples all joints of a frame; that of the prior
and of the neighbours is diagonal, so that all frames of all clips are solved in one batch. A step that raises the
energy of a frame is taken back there, and the next one is shorter (Levenberg-Marquardt).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np

from mocap_ray.body.torch_joints import chained
from mocap_ray.skeleton import BODY_PARENTS

if TYPE_CHECKING:
    from torch import Tensor

PARENTS = np.array(BODY_PARENTS, dtype=np.int64)
MOVING = sorted(set(BODY_PARENTS[1:]))
"""Joints whose rotation moves another joint; head, wrists and feet are known to the prior alone."""
_CHUNK = 4096
"""Frames whose equations are set up together: 60 MB."""
_ROUNDING = 2e-6
_LONGEST = 0.5
"""Radians that a joint moves at most in a step."""


@runtime_checkable
class Regulariser(Protocol):
    """What a fit needs of a pose prior; `priors.regulariser` makes one of any trained prior."""

    def energy(self, poses: Tensor) -> Tensor:
        """Nats [F] of rotation vectors [F, 22, 3], differentiable."""
        ...

    def project(self, poses: Tensor) -> Tensor:
        """Rotation vectors [F, 22, 3] with excluded axes at their constants."""
        ...

    def curvature(self) -> Tensor:
        """[22, 3] typical second derivative of the energy along each axis, nats per rad^2.

        Zero for joints that it does not know, and very large for axes that it excludes.
        """
        ...


@dataclass(frozen=True, slots=True)
class FitOptions:
    """How rotations are fitted to joints.

    Attributes:
        steps: Gauss-Newton steps.
        spread_mm: how far joints may lie from their targets, mm: smaller values trust the targets more than the prior.
        prior_weight: of the energy of the prior.
        jump_deg: how far a joint turns from one frame to the next, beyond what the targets say, degrees.
    """

    steps: int = 5
    spread_mm: float = 3.0
    prior_weight: float = 1.0
    jump_deg: float = 20.0


class Problem(NamedTuple):
    """The frames of all clips of a batch, one after the other.

    Attributes:
        targets: [F, 22, 3] metres.
        offsets: [F, 22, 3] joint minus parent of each frame's body at rest, row 0 zero.
        follows: [F - 1] whether frame k + 1 is the next frame of the clip of frame k.
    """

    targets: Tensor
    offsets: Tensor
    follows: Tensor


class _State(NamedTuple):
    energy: Tensor  # [F]
    slope: Tensor  # [F, 22, 3] of prior and neighbours, by local tangents
    residual: Tensor  # [F, 22, 3] metres, centred
    positions: Tensor  # [F, 22, 3]
    turns: Tensor  # [F, 22, 3, 3]


def solve(
    start: Tensor, problem: Problem, options: FitOptions, *, prior: Regulariser | None = None
) -> tuple[Tensor, Tensor]:
    """Local rotations [F, 22, 3, 3] near `start` that minimise the energy above, and joints [F, 22, 3] of them.

    The joints are those of a pelvis at the origin.
    """
    import torch

    local = start if prior is None else _projected(start, prior)
    damping = local.new_full((len(local),), 1.0)
    state = _evaluate(local, problem, options, prior)
    for _ in range(options.steps):
        step = _step(local, state, problem, options, prior, damping)
        moved = local @ _exp(step)
        moved = moved if prior is None else _projected(moved, prior)
        new = _evaluate(moved, problem, options, prior)
        better = new.energy <= state.energy + 1e-3
        local = torch.where(better[:, None, None, None], moved, local)
        state = _State(*(torch.where(_like(better, a), a, b) for a, b in zip(new, state, strict=True)))
        damping = torch.where(better, damping * 0.3, damping * 10).clamp_min(1.0)
    return local, state.positions


def centred(points: Tensor) -> Tensor:
    """Points [F, 22, 3] minus their mean."""
    return points - points.mean(-2, keepdim=True)


def _like(mask: Tensor, other: Tensor) -> Tensor:
    return mask.reshape(-1, *(1,) * (other.ndim - 1))


def _exp(vectors: Tensor) -> Tensor:
    import roma

    return roma.rotvec_to_rotmat(vectors)  # type: ignore[no-any-return]


def _log(R: Tensor) -> Tensor:
    import roma

    return roma.rotmat_to_rotvec(R)  # type: ignore[no-any-return]


def _projected(local: Tensor, prior: Regulariser) -> Tensor:
    """The rotations that the prior allows; those that it does not change keep their bits."""
    import torch

    vectors = _log(local)
    allowed = prior.project(vectors).to(vectors)
    same = (allowed - vectors).abs().amax(-1) < 1e-4
    return torch.where(same[..., None, None], local, _exp(allowed))


def _evaluate(local: Tensor, problem: Problem, options: FitOptions, prior: Regulariser | None) -> _State:
    import torch

    positions, turns = chained(local, problem.offsets, PARENTS)
    residual = centred(positions) - centred(problem.targets)
    energy = residual.square().sum((1, 2)) / (2 * (options.spread_mm / 1000) ** 2)
    slope = torch.zeros_like(residual)
    pull = 1 / np.radians(options.jump_deg) ** 2
    jumps = _log(local[:-1].mT @ local[1:]) * problem.follows[:, None, None] * pull
    slope[1:] += jumps
    slope[:-1] -= jumps
    if prior is not None and options.prior_weight > 0:
        with torch.enable_grad():
            tangent = torch.zeros_like(residual, requires_grad=True)
            nats = prior.energy(prior.project(_log(local.detach() @ _exp(tangent)))).to(energy)
            (grad,) = torch.autograd.grad(nats.sum(), tangent)
        slope += options.prior_weight * grad
        energy = energy + options.prior_weight * nats.detach()
    return _State(energy, slope, residual, positions, turns)


def _step(
    local: Tensor,
    state: _State,
    problem: Problem,
    options: FitOptions,
    prior: Regulariser | None,
    damping: Tensor,
) -> Tensor:
    """The tangents [F, 22, 3] of a damped Gauss-Newton step."""
    import torch

    links = torch.zeros_like(state.energy)
    links[1:] += problem.follows
    links[:-1] += problem.follows
    isotropic = damping + 2 * links / np.radians(options.jump_deg) ** 2
    curvature = isotropic[:, None, None].expand_as(state.slope)
    if prior is not None:
        curvature = curvature + options.prior_weight * prior.curvature().to(state.slope)
    step = -state.slope / curvature  # of the joints that move no other
    for part in _chunks(len(local)):
        step[part, MOVING] = _coupled(
            state.positions[part],
            state.turns[part, MOVING],
            residual=state.residual[part],
            slope=state.slope[part, MOVING],
            curvature=curvature[part, MOVING],
            precision=1 / (options.spread_mm / 1000) ** 2,
        )
    length = step.norm(dim=-1, keepdim=True)
    return step * (_LONGEST / length.clamp_min(_LONGEST))  # type: ignore[no-any-return]


def _chunks(frames: int) -> Iterator[slice]:
    for first in range(0, frames, _CHUNK):
        yield slice(first, first + _CHUNK)


def _coupled(
    positions: Tensor, turns: Tensor, *, residual: Tensor, slope: Tensor, curvature: Tensor, precision: float
) -> Tensor:
    """The tangents [F, K, 3] of the K joints that move others.

    Joint k, below j, moves by w x (p_k - p_j) for a turn w of joint j in the world. So the curvature follows from the
    products of these arms, without the matrix of derivatives.
    """
    import torch

    K = len(MOVING)
    arms = (positions[:, :, None] - positions[:, None, MOVING]) * _below().to(positions)[..., None]
    arms = (arms - arms.mean(1, keepdim=True)).transpose(2, 3).reshape(len(arms), 22, 3 * K)
    products = (arms.mT @ arms).reshape(-1, 3, K, 3, K)
    H = -precision * products.transpose(1, 3)
    squared = precision * products.diagonal(dim1=1, dim2=3).sum(-1)
    for axis in range(3):
        H[:, axis, :, axis] += squared
    # The other terms are diagonal in the frames of the joints.
    own = ((turns * curvature[..., None, :]) @ turns.mT).permute(0, 2, 3, 1)
    H.diagonal(dim1=2, dim2=4).add_(own)
    pull = (arms.mT @ residual).reshape(-1, 3, K, 3)
    x, y, z = pull.unbind(1)
    g = precision * torch.stack([y[..., 2] - z[..., 1], z[..., 0] - x[..., 2], x[..., 1] - y[..., 0]], -1)
    g = (g + (turns @ slope[..., None])[..., 0]).mT.reshape(-1, 3 * K, 1)
    H = H.reshape(-1, 3 * K, 3 * K)
    # In single precision the sums above are right to about 1e-7 of the largest of them.
    H.diagonal(dim1=1, dim2=2).add_(_ROUNDING * H.diagonal(dim1=1, dim2=2).amax(-1, keepdim=True))
    factor, failed = torch.linalg.cholesky_ex(H)
    world = -torch.cholesky_solve(g, factor).reshape(-1, 3, K).mT
    world = torch.where(_like(failed == 0, world), world, 0.0)
    return (turns.mT @ world[..., None])[..., 0]


def _below() -> Tensor:
    """[22, K] one where a joint moves with another."""
    import torch

    below = torch.zeros(len(PARENTS), len(MOVING))
    for k in range(1, len(PARENTS)):
        up = int(PARENTS[k])
        while up >= 0:
            below[k, MOVING.index(up)] = 1.0
            up = int(PARENTS[up])
    return below
