"""A conditional normalising flow on R^3 for every joint, computed for all joints in parallel.

p(pose) = prod_j p(x_j | x_parent(j)): a tree of RealNVPs (Dinh et al. 2017), one per joint, conditioned on the
coordinates of the parent or of all ancestors. The networks of all joints are stacked into batched matrices, so a
step is a dozen `baddbmm` instead of 55 x 4 small networks; sampling walks the tree by depth, not by joint.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from mocap_ray.priors.coordinates import Coordinates
from mocap_ray.priors.flow import Flow, FlowConfig
from mocap_ray.priors.prior import Layers, Weight, Width
from mocap_ray.priors.tails import normal_draw, student_scale


class JointFlowConfig(FlowConfig):
    """One small RealNVP per joint."""

    foreign: ClassVar[Mapping[str, str]] = {
        "n_layers": "Use model.K, the number of couplings; the network of each has three layers.",
        "cond_dim": "Use model.condition: parent or ancestors.",
    }

    kind: Literal["joint_flow"] = "joint_flow"
    broad_weight: Weight = 0.3
    """Heavy tails: share of the joints of samples that come from the broad density, and its weight."""
    hidden: Width = 128
    """Width of each coupling's network."""
    K: Layers = 4
    """Affine couplings per joint; they change axis y and axes x, z in turn."""
    condition: Literal["parent", "ancestors"] = "parent"
    """What a joint's flow is conditioned on: its nearest active ancestor, or all of them (padded with zeros)."""
    scale_limit: Annotated[float, Field(gt=0)] = 1.0
    """Log scales are this times tanh(./this): a coupling stretches by at most exp of it."""


class StackedLinear(nn.Module):
    """J linear layers side by side: [J, B, inputs] -> [J, B, outputs]; initialised as `nn.Linear`, or zero."""

    def __init__(self, joints: int, inputs: int, outputs: int, *, zero: bool = False) -> None:
        super().__init__()
        bound = 0.0 if zero else 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(joints, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(joints, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Float[Tensor, "L B i"], rows: Tensor | None = None) -> Float[Tensor, "L B o"]:
        """All joints, or those of `rows` (long [L])."""
        if rows is None:
            return torch.baddbmm(self.bias, x, self.weight)
        return torch.baddbmm(self.bias[rows], x, self.weight[rows])


class StackedCoupling(nn.Module):
    """An affine coupling per joint: the `kept` axes and the condition determine scale and shift of the others."""

    def __init__(self, joints: int, *, kept: int, condition: int, hidden: int, limit: float) -> None:
        super().__init__()
        self.limit = limit
        self.first = StackedLinear(joints, kept + condition, hidden)
        self.second = StackedLinear(joints, hidden, hidden)
        # Zero: the flow starts as the identity, a standard normal of the coordinates.
        self.last = StackedLinear(joints, hidden, 2 * (3 - kept), zero=True)

    def forward(
        self, kept: Float[Tensor, "L B k"], condition: Float[Tensor, "L B c"], rows: Tensor | None = None
    ) -> tuple[Float[Tensor, "L B m"], Float[Tensor, "L B m"]]:
        """Log scale and shift of the axes that are not kept."""
        h = torch.relu(self.first(torch.cat([kept, condition], -1), rows))
        h = torch.relu(self.second(h, rows))
        log_scale, shift = self.last(h, rows).to(kept.dtype).chunk(2, -1)
        return self.limit * torch.tanh(log_scale / self.limit), shift


class JointFlow(Flow):
    """The tree of flows.

    An axis that is constant while its joint's others vary is left alone: scale 1, shift 0, no density.

    Hidden joints: their terms are dropped. That is the exact marginal where all descendants of a hidden joint are
    hidden too (a hand, an arm from the collar on, the head). A visible joint below a hidden one is conditioned on the
    training mean of the hidden one, which approximates p(x_j | parent unknown) by p(x_j | parent at its mean).
    """

    factorised = True

    condition_of: Tensor
    place: Tensor
    live: Tensor

    def __init__(self, config: JointFlowConfig, coordinates: Coordinates) -> None:
        super().__init__(config, coordinates)
        parents = coordinates.parents()
        J, D = len(parents), coordinates.active
        ancestors = [_ancestors(j, parents, only_parent=config.condition == "parent") for j in range(J)]
        width = max(1, *map(len, ancestors))
        # Row J of the padded poses is zero: the condition of a root.
        self.register_buffer(
            "condition_of", torch.tensor([a + [J] * (width - len(a)) for a in ancestors]), persistent=False
        )
        dimension_of = {k: d for d, k in enumerate(coordinates.index_list)}
        place = [[dimension_of.get(3 * j + k, D) for k in range(3)] for j in coordinates.active_joints]
        self.register_buffer("place", torch.tensor(place), persistent=False)
        self.register_buffer("live", (self.place < D)[:, None, :], persistent=False)
        self.whole = 3 * J == D
        self.levels = _levels(parents)
        self.couplings = nn.ModuleList(
            StackedCoupling(
                J,
                kept=2 if k % 2 == 0 else 1,
                condition=3 * width,
                hidden=config.hidden,
                limit=config.scale_limit,
            )
            for k in range(config.K)
        )

    def transform(self, x: Float[Tensor, "B D"]) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B"]]:
        """Map coordinates to noise; also return log |det dz/dx|."""
        z, log_scales = self._to_noise(self._spread(x))
        return self._gather(z), log_scales.sum((0, 2))

    def inverse(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Map noise to coordinates, level by level down the tree."""
        return self._gather(self._from_noise(self._spread(z)))

    def log_density(
        self, x: Float[Tensor, "B D"], visible: Bool[Tensor, "B D"] | None = None
    ) -> Float[Tensor, "B"]:
        """Sum of `joint_log_densities`."""
        return self.joint_log_densities(x, visible).sum(-1)

    def joint_log_densities(
        self, x: Float[Tensor, "B D"], visible: Bool[Tensor, "B D"] | None = None
    ) -> Float[Tensor, "B L"]:
        """Log p(x_j | condition of j) of each visible joint; zero for the hidden ones."""
        c = self.coordinates
        if visible is not None:
            x = torch.where(visible, x, c.fill)
        z, log_scales = self._to_noise(self._spread(x))
        # An axis without density has z = 0 and log scale 0.
        terms = log_scales.sum(-1) + self.base_log_density(z.square().sum(-1), c.axes[:, None])
        return terms.mT if visible is None else torch.where(c.joint_mask(visible), terms.mT, 0.0)

    def noise(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "n D"]:
        """Samples of the base density: a vector for each joint, whose axes have their scale in common."""
        z = normal_draw(self.coordinates.mean, n, generator)
        if self.dof is None:
            return z
        scale = student_scale((n, len(self.coordinates.active_joints)), self.dof, generator, z)
        return z * scale[:, self.coordinates.position_of]

    def draw_around(
        self,
        given: Bool[Tensor, "n D"],
        values: Float[Tensor, "n D"],
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "n D"]:
        """Samples in which some joints have given values, and those below them follow."""
        z = self._spread(self.noise(len(given), generator))
        return self._gather(self._from_noise(z, given=self._spread(given), values=self._spread(values)))

    def _to_noise(self, x: Float[Tensor, "J B 3"]) -> tuple[Float[Tensor, "J B 3"], Float[Tensor, "J B 3"]]:
        """Map poses to standard normal noise; also return the log scale of each axis, whose sum is the log det."""
        condition = self._condition(x, slice(None))
        outer, inner = x[..., 0::2], x[..., 1:2]
        s_outer, s_inner = torch.zeros_like(outer), torch.zeros_like(inner)
        for k, coupling in enumerate(self.couplings):
            if k % 2 == 0:
                s, t = self._masked(coupling(outer, condition), slice(None), inner=True)
                inner, s_inner = inner * torch.exp(s) + t, s_inner + s
            else:
                s, t = self._masked(coupling(inner, condition), slice(None), inner=False)
                outer, s_outer = outer * torch.exp(s) + t, s_outer + s
        return _weave(outer, inner), _weave(s_outer, s_inner)

    def _from_noise(
        self, z: Float[Tensor, "J B 3"], *, given: Tensor | None = None, values: Tensor | None = None
    ) -> Float[Tensor, "J B 3"]:
        """The inverse of `_to_noise`: level by level down the tree, around given values."""
        x = torch.zeros_like(z)
        for level in self.levels:
            rows = torch.tensor(level, device=z.device)
            condition = self._condition(x, rows)
            outer, inner = z[rows][..., 0::2], z[rows][..., 1:2]
            for k in reversed(range(len(self.couplings))):
                if k % 2 == 0:
                    s, t = self._masked(self.couplings[k](outer, condition, rows), rows, inner=True)
                    inner = (inner - t) * torch.exp(-s)
                else:
                    s, t = self._masked(self.couplings[k](inner, condition, rows), rows, inner=False)
                    outer = (outer - t) * torch.exp(-s)
            found = _weave(outer, inner)
            if given is not None and values is not None:
                found = torch.where(given[rows], values[rows], found)
            x = x.index_copy(0, rows, found)
        return x

    def _spread(self, x: Tensor) -> Tensor:
        """[B, D] -> [J, B, 3]; zero (False) for constant axes."""
        if not self.whole:
            x = torch.cat([x, x.new_zeros(len(x), 1)], 1)[:, self.place.reshape(-1)]
        return x.reshape(len(x), x.shape[1] // 3, 3).transpose(0, 1)

    def _gather(self, x: Float[Tensor, "J B 3"]) -> Float[Tensor, "B D"]:
        flat = x.transpose(0, 1).flatten(1)
        return flat if self.whole else flat[:, self.live.reshape(-1)]

    def _condition(self, x: Float[Tensor, "J B 3"], rows: Tensor | slice) -> Float[Tensor, "L B c"]:
        padded = torch.cat([x, torch.zeros_like(x[:1])])
        gathered = padded[self.condition_of[rows]]
        return gathered.transpose(1, 2).flatten(2)

    def _masked(
        self, scale_shift: tuple[Tensor, Tensor], rows: Tensor | slice, *, inner: bool
    ) -> tuple[Tensor, Tensor]:
        """Set scale and shift of constant axes to zero."""
        if self.whole:
            return scale_shift
        live = self.live[rows][..., 1:2] if inner else self.live[rows][..., 0::2]
        s, t = scale_shift
        return torch.where(live, s, 0.0), torch.where(live, t, 0.0)


def _weave(outer: Float[Tensor, "L B 2"], inner: Float[Tensor, "L B 1"]) -> Float[Tensor, "L B 3"]:
    return torch.cat([outer[..., :1], inner, outer[..., 1:]], -1)


def _ancestors(joint: int, parents: tuple[int, ...], *, only_parent: bool) -> list[int]:
    """Ancestors, nearest first; with `only_parent` the nearest alone."""
    found = []
    up = parents[joint]
    while up >= 0:
        found.append(up)
        up = parents[up]
    return found[:1] if only_parent else found


def _levels(parents: tuple[int, ...]) -> list[list[int]]:
    """Joints by their depth in the tree."""
    depth: list[int] = []
    for up in parents:
        depth.append(0 if up < 0 else depth[up] + 1)
    return [[j for j, d in enumerate(depth) if d == level] for level in range(max(depth) + 1)]
