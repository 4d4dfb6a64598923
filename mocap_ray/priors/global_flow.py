"""A normalising flow over the whole pose.

RealNVP (Dinh et al. 2017) with ActNorm (Kingma & Dhariwal 2018): K blocks of ActNorm, coupling, ActNorm and a
fixed random permutation. By config the couplings are rational quadratic splines (Durkan et al. 2019, see `splines.py`),
which bend where affine ones only stretch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from mocap_ray.errors import UserError
from mocap_ray.priors import splines
from mocap_ray.priors.coordinates import Coordinates
from mocap_ray.priors.flow import Flow, FlowConfig
from mocap_ray.priors.prior import Layers, Weight, Width


class GlobalFlowConfig(FlowConfig):
    """A RealNVP on all active coordinates."""

    foreign: ClassVar[Mapping[str, str]] = {
        "n_layers": "Use model.K, the number of blocks; the network of each has three layers.",
        **dict.fromkeys(
            ("use_conditioning", "cond_dim", "condition_dim"),
            "This flow has no condition, it is a density of poses alone: leave it out. joint_flow conditions each "
            "joint on its parent.",
        ),
    }

    kind: Literal["global_flow"] = "global_flow"
    broad_weight: Weight = 0.05
    """Heavy tails: share of the samples that come from the broad density, and its weight."""
    hidden: Width = 512
    """Width of each coupling's network."""
    K: Layers = 6
    """Number of blocks."""
    coupling: Literal["affine", "spline"] = "affine"
    """Affine with tanh-bounded log scale, or monotonic rational quadratic splines."""
    bins: Annotated[int, Field(ge=2, le=256)] = 8
    """Bins of each spline."""
    spline_bound: Annotated[float, Field(gt=0)] = 5.0
    """Splines bend within +- this value; beyond it they are the identity."""
    use_actnorm: bool = True
    """A scale and shift per coordinate before and after each coupling."""
    scale_limit: Annotated[float, Field(gt=0)] = 1.0
    """Log scales of affine couplings are this times tanh(./this)."""
    permutation_seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of the fixed permutations, which are saved with the parameters."""


class ActNorm(nn.Module):
    """y = (x + shift) exp(log_scale).

    Initialised from statistics of the whole training split, not of the first batch as in the original paper: so
    nothing depends on the order of batches, and all workers start with equal parameters.
    """

    def __init__(self, mean: Float[Tensor, "D"], std: Float[Tensor, "D"]) -> None:
        super().__init__()
        self.shift = nn.Parameter(-mean)
        self.log_scale = nn.Parameter(-std.log())

    def forward(self, x: Float[Tensor, "B D"]) -> tuple[Float[Tensor, "B D"], Float[Tensor, ""]]:
        """Return y and log |dy/dx|."""
        return (x + self.shift) * torch.exp(self.log_scale), self.log_scale.sum()

    def inverse(self, y: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Return the x of a y."""
        return y * torch.exp(-self.log_scale) - self.shift


class Coupling(nn.Module):
    """Transforms every second coordinate, given the others: [B, D] -> [B, D], log |det|."""

    def __init__(self, D: int, *, parity: int, config: GlobalFlowConfig) -> None:
        super().__init__()
        self.parity, self.config = parity, config
        self.changed = len(range(1 - parity, D, 2))
        per = 2 if config.coupling == "affine" else 3 * config.bins - 1
        last = nn.Linear(config.hidden, per * self.changed)
        # Zero: the flow starts as the identity.
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.net = nn.Sequential(
            nn.Linear(D - self.changed, config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, config.hidden),
            nn.ReLU(),
            last,
        )

    def forward(self, x: Float[Tensor, "B D"]) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B"]]:
        """Map x towards noise."""
        kept, moved = x[:, self.parity :: 2], x[:, 1 - self.parity :: 2]
        numbers = self._numbers(kept)
        if self.config.coupling == "spline":
            moved, log_slopes = splines.call(numbers, moved, bound=self.config.spline_bound)
            return self._weave(kept, moved), log_slopes.sum(-1)
        log_scale, shift = self._affine(numbers)
        return self._weave(kept, moved * torch.exp(log_scale) + shift), log_scale.sum(-1)

    def inverse(self, y: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Invert `forward`."""
        kept, moved = y[:, self.parity :: 2], y[:, 1 - self.parity :: 2]
        numbers = self._numbers(kept)
        if self.config.coupling == "spline":
            return self._weave(kept, splines.inverse(numbers, moved, bound=self.config.spline_bound))
        log_scale, shift = self._affine(numbers)
        return self._weave(kept, (moved - shift) * torch.exp(-log_scale))

    def _numbers(self, kept: Tensor) -> Float[Tensor, "B m per"]:
        out: Tensor = self.net(kept)
        return out.to(kept.dtype).reshape(len(kept), self.changed, out.shape[1] // self.changed)

    def _affine(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        limit = self.config.scale_limit
        return limit * torch.tanh(numbers[..., 0] / limit), numbers[..., 1]

    def _weave(self, kept: Tensor, moved: Tensor) -> Float[Tensor, "B D"]:
        D = kept.shape[1] + moved.shape[1]
        out = kept.new_empty(len(kept), D)
        out[:, self.parity :: 2] = kept
        out[:, 1 - self.parity :: 2] = moved
        return out


class Block(nn.Module):
    """ActNorm, coupling, ActNorm, permutation."""

    order: Tensor
    back: Tensor

    def __init__(
        self, config: GlobalFlowConfig, *, parity: int, order: Tensor, mean: Tensor, std: Tensor
    ) -> None:
        super().__init__()
        D = len(order)
        one = torch.ones(D)
        self.before = ActNorm(mean.clone(), std.clone()) if config.use_actnorm else None
        self.coupling = Coupling(D, parity=parity, config=config)
        self.after = ActNorm(torch.zeros(D), one) if config.use_actnorm else None
        self.register_buffer("order", order)

    def forward(self, x: Tensor) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B"]]:
        """Towards noise, with log |det|."""
        total: Tensor = x.new_zeros(len(x))
        if self.before is not None:
            x, log_det = self.before(x)
            total = total + log_det
        x, log_det = self.coupling(x)
        total = total + log_det
        if self.after is not None:
            x, log_det = self.after(x)
            total = total + log_det
        return x[:, self.order], total

    def inverse(self, z: Tensor) -> Float[Tensor, "B D"]:
        """Invert `forward`."""
        y = z[:, torch.argsort(self.order)]
        if self.after is not None:
            y = self.after.inverse(y)
        y = self.coupling.inverse(y)
        return self.before.inverse(y) if self.before is not None else y


class GlobalFlow(Flow):
    """The flow over all active coordinates."""

    def __init__(self, config: GlobalFlowConfig, coordinates: Coordinates) -> None:
        super().__init__(config, coordinates)
        D = coordinates.active
        if D < 2:
            raise UserError("global_flow: one active dimension; couplings need two. Use gaussian_prior.")
        generator = torch.Generator().manual_seed(config.permutation_seed)
        zero, one = torch.zeros(D), torch.ones(D)
        scaled = coordinates.standardise != "none"
        self.blocks = nn.ModuleList(
            Block(
                config,
                parity=k % 2,
                order=torch.randperm(D, generator=generator, device=generator.device),
                mean=zero if scaled or k else coordinates.mean,
                std=one if scaled or k else coordinates.std,
            )
            for k in range(config.K)
        )

    def transform(self, x: Float[Tensor, "B D"]) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B"]]:
        """Map coordinates to noise; also return log |det dz/dx|."""
        total = x.new_zeros(len(x))
        for block in self.blocks:
            x, log_det = block(x)
            total = total + log_det
        return x, total

    def inverse(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Map noise to coordinates: the inverse of `transform`."""
        for block in reversed(list(self.blocks)):
            assert isinstance(block, Block)
            z = block.inverse(z)
        return z
