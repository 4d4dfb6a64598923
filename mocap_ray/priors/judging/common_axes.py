"""The NLL over joints that several priors model, and that move in the held-out data.

Densities over different axes are not comparable, and an axis that a data set holds still says nothing about a prior of
another data set: an NLL per dimension over all axes would mix both into one number.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mocap_ray.priors.bound import ImportanceWeighted
from mocap_ray.priors.degeneracy import MAX_ATOM, MIN_VARIANCE, largest_atoms
from mocap_ray.priors.gaussian_prior import GaussianPrior
from mocap_ray.priors.joint_flow import JointFlow
from mocap_ray.priors.moments import chunks, moments
from mocap_ray.priors.prior import Prior
from mocap_ray.priors.rotations import canonical
from mocap_ray.skeleton import SMPLX_JOINTS

POSES = 2000
"""Poses of a bound that needs many samples for each."""
_ROWS = 16_384
"""Poses that are evaluated at a time."""


@dataclass(frozen=True, slots=True)
class CommonNLL:
    """The NLL over some of a prior's joints, the others integrated out.

    Attributes:
        joints: names of the joints.
        nll: nats per active dimension of these joints.
        gaussian_nll: of an independent Gaussian per axis, fitted to the training poses.
        active: number of active dimensions of these joints.
        bound: whether `nll` is an upper bound, from `importance` samples of the other joints per pose; else exact.
        poses: number of poses.
    """

    joints: tuple[str, ...]
    nll: float
    gaussian_nll: float
    active: int
    bound: bool
    importance: int
    poses: int


def axis_names(index: Sequence[int]) -> tuple[str, ...]:
    """Names such as `jaw.x` of axes 3 joint + axis."""
    return tuple(f"{SMPLX_JOINTS[k // 3]}.{'xyz'[k % 3]}" for k in index)


def still_axes(poses: Float[Tensor, "N 55 3"], index: Sequence[int]) -> dict[str, str]:
    """Axes among `index` that do not vary in the poses, or that repeat one exact value: `jaw.x` -> reason."""
    variance = moments(canonical(c) for c in chunks(poses))[1].diagonal(dim1=1, dim2=2).reshape(-1)
    atoms = largest_atoms(poses, sorted({k // 3 for k in index})).reshape(-1)
    found = {}
    for k, name in zip(index, axis_names(index), strict=True):
        if variance[k] < MIN_VARIANCE:
            found[name] = "constant"
        elif atoms[k] > MAX_ATOM:
            found[name] = f"one exact value in {float(atoms[k]):.0%} of the poses"
    return found


def common_joints(indices: Sequence[Sequence[int]], still: Collection[str] = ()) -> tuple[int, ...]:
    """Joints of which all priors model the same axes, none of them among `still`.

    Args:
        indices: the active axes of each prior, 3 joint + axis.
        still: names of axes, as in `still_axes`.

    >>> common_joints([[3, 4, 5, 6], [3, 4, 5, 6, 7]]), common_joints([[3, 4, 6]], ["left_hip.x"])
    ((1,), (2,))
    """
    axes = [{j: [k for k in index if k // 3 == j] for j in {k // 3 for k in index}} for index in indices]
    every = set.intersection(*(set(each) for each in axes))
    return tuple(
        j
        for j in sorted(every)
        if all(each[j] == axes[0][j] for each in axes) and not set(axis_names(axes[0][j])) & set(still)
    )


@torch.no_grad()
def common_nll(
    prior: Prior,
    joints: Sequence[int],
    *,
    train: Float[Tensor, "T 55 3"],
    held_out: Float[Tensor, "N 55 3"],
    importance: int,
    generator: torch.Generator,
) -> CommonNLL:
    """The NLL over some joints.

    It is exact for a Gaussian prior, and for a tree of flows if no visible joint is below a hidden one. For a VAE it
    is its bound. For all other cases, the hidden joints are integrated by importance sampling, which also gives a
    bound: -log of a mean of weights is too high on average (Jensen's inequality; Burda et al., 2016).

    Args:
        prior: in eval mode.
        joints: indices of active joints; at least one.
        train: poses that the proposals of the hidden joints and the Gaussian baseline are fitted to.
        held_out: at most `POSES` of them are used for a bound.
        importance: samples per pose of a bound.
        generator: random generator of the samples; on the CPU.
    """
    c = prior.coordinates
    visible = torch.zeros(55, dtype=torch.bool, device=c.mean.device)
    visible[list(joints)] = True
    index = [k for k in c.index_list if k // 3 in set(joints)]
    exact = is_exact(prior, visible)
    if not exact:
        held_out = held_out[:: math.ceil(len(held_out) / POSES)]
    per_pose = importance if not exact else 1
    values = []
    for piece in torch.split(held_out, max(1, _ROWS // per_pose)):
        if exact:
            values.append(-prior.log_prob(piece, visible=visible.expand(len(piece), 55)))
        elif isinstance(prior, ImportanceWeighted):
            values.append(-prior.log_prob(piece, visible=visible.expand(len(piece), 55), samples=importance))
        else:
            values.append(_integrated(prior, piece, visible, train, importance, generator))
    return CommonNLL(
        joints=tuple(SMPLX_JOINTS[j] for j in joints),
        nll=float(torch.cat(values).double().mean()) / len(index),
        gaussian_nll=gaussian_nll(index, train, held_out),
        active=len(index),
        bound=not exact,
        importance=0 if exact else importance,
        poses=len(held_out),
    )


def gaussian_nll(
    index: Sequence[int], train: Float[Tensor, "T 55 3"], held_out: Float[Tensor, "N 55 3"]
) -> float:
    """NLL per dimension of a Gaussian on rotation vectors: the same baseline for all priors of these axes.

    nan if an axis does not vary in the training poses.
    """
    x, y = (canonical(poses).flatten(1)[:, list(index)].double() for poses in (train, held_out))
    mean, variance = x.mean(0), x.var(0, correction=0)
    if not bool((variance > 0).all()):
        return math.nan
    return float(0.5 * ((y - mean) ** 2 / variance + (2 * math.pi * variance).log()).mean())


def is_exact(prior: Prior, visible: Bool[Tensor, "55"]) -> bool:
    """Whether `log_prob` with this mask is the exact marginal density of the visible joints."""
    joints, parents = prior.coordinates.active_joints, prior.coordinates.parents()
    if prior.bound:
        return False
    if isinstance(prior, GaussianPrior) or all(bool(visible[j]) for j in joints):
        return True
    closed = all(
        bool(visible[joints[up]]) for j, up in zip(joints, parents, strict=True) if visible[j] and up >= 0
    )
    return isinstance(prior, JointFlow) and closed


def _integrated(
    prior: Prior,
    poses: Float[Tensor, "n 55 3"],
    visible: Bool[Tensor, "55"],
    train: Float[Tensor, "T 55 3"],
    samples: int,
    generator: torch.Generator,
) -> Float[Tensor, "n"]:
    """-log (1/K) sum_k p(visible, hidden_k) / q(hidden_k) of each pose; hidden_k is drawn from `_Proposal`."""
    c = prior.coordinates
    hidden = ~visible[c.joint_of]
    x = c.encode(poses)[0]
    proposal = _Proposal(c.encode(train)[0], hidden)
    drawn, log_q = proposal.draw(x, samples, generator)  # [K, n, D] and [K, n]
    flat = drawn.flatten(0, 1)
    placed = c.decode(flat)
    log_p = prior.log_prob(placed)
    log_q = log_q.flatten() + c.log_volume(flat, hidden.expand_as(flat))
    # A draw beyond half a turn is another pose, whose density under the proposal is not log_q: it gets no weight.
    inside = (c.encode(placed)[0] - flat).abs().amax(1) < 1e-2
    weights = torch.where(inside, log_p - log_q, -torch.inf).reshape(samples, len(poses))
    return math.log(samples) - torch.logsumexp(weights.double(), 0)


class _Proposal:
    """Hidden coordinates given the visible ones, half from a Gaussian given them, half from one that ignores them.

    The second half keeps the weights bounded where the visible joints are unlike all training poses.
    """

    def __init__(self, x: Float[Tensor, "T D"], hidden: Bool[Tensor, "D"]) -> None:
        x = x.double()
        self.hidden, self.mean = hidden, x.mean(0)
        cov = torch.cov(x.T, correction=0)
        cov = cov + 0.01 * torch.diag(cov.diagonal())
        vv, hv, hh = cov[~hidden][:, ~hidden], cov[hidden][:, ~hidden], cov[hidden][:, hidden]
        self.weights = torch.linalg.solve(vv, hv.T).T
        # A little wider than the data: a proposal that is too narrow misses what the density allows.
        self.factors = [torch.linalg.cholesky(1.2 * part) for part in (hh - self.weights @ hv.T, hh)]

    def draw(
        self, x: Float[Tensor, "n D"], samples: int, generator: torch.Generator
    ) -> tuple[Float[Tensor, "K n D"], Float[Tensor, "K n"]]:
        """Coordinates with the hidden ones replaced, and log q of these."""
        off = x.double()[:, ~self.hidden] - self.mean[~self.hidden]
        middle = self.mean[self.hidden].expand(len(x), -1)
        centres = [middle + off @ self.weights.T, middle]
        laws = [
            torch.distributions.MultivariateNormal(centre, scale_tril=factor)
            for centre, factor in zip(centres, self.factors, strict=True)
        ]
        noise = torch.randn(samples, *middle.shape, generator=generator, dtype=torch.float64).to(
            middle.device
        )
        first = (samples + 1) // 2
        values = torch.cat(
            [
                centre + part @ factor.T
                for centre, factor, part in zip(
                    centres, self.factors, (noise[:first], noise[first:]), strict=True
                )
            ]
        )
        shares = torch.tensor([first, samples - first], dtype=torch.float64) / samples
        log_q = torch.stack([law.log_prob(values) for law in laws])  # type: ignore[no-untyped-call]
        log_q = torch.logsumexp(log_q + shares.log().to(log_q)[:, None, None], 0)
        drawn = x.expand(samples, *x.shape).clone()
        drawn[..., self.hidden] = values.to(x.dtype)
        return drawn, log_q.to(x.dtype)
