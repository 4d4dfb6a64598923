"""Layers of the rectified flow: times and conditions as vectors and tokens, and blocks that are modulated by them."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

from mocap_ray.generation.conditions import ABSENT, Conditions
from mocap_ray.generation.flow_options import FlowConfig
from mocap_ray.generation.keypoints import BODY25
from mocap_ray.generation.layers import Attention
from mocap_ray.generation.text import TEXT_WIDTH
from mocap_ray.motion.features import WIDTH

WAVES = 64
"""Sines and cosines of a number that becomes a vector, together."""
PATH_WIDTH = 5
"""Numbers of a frame of a path: place, step, and whether it is known."""


def waves(x: Float[Tensor, "*B"], *, longest: float = 10_000.0) -> Float[Tensor, "*B W"]:
    """Cosines and sines of a number at wavelengths from 2 pi to 2 pi `longest`, in geometric steps."""
    half = WAVES // 2
    rates = torch.exp(-math.log(longest) * torch.arange(half, device=x.device) / (half - 1))
    angles = x.float()[..., None] * rates
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class NumberEmbedding(nn.Module):
    """A number -> a vector, by its waves."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(nn.Linear(WAVES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, x: Shaped[Tensor, "*B"]) -> Float[Tensor, "*B w"]:
        """The vector of each number."""
        out: Tensor = self.mix(waves(x.float()))
        return out


class GlobalConditions(nn.Module):
    """Labels, length and caption -> one vector; what is absent adds nothing."""

    def __init__(self, config: FlowConfig, *, domains: int, styles: int, actions: int) -> None:
        super().__init__()
        rates, width = config.conditions, config.width
        tables = {
            "domain": (rates.domain, domains),
            "style": (rates.style, styles),
            "action": (rates.action, actions),
        }
        # A table without names could never be trained.
        self.tables = nn.ModuleDict(
            {name: nn.Embedding(count, width) for name, (rate, count) in tables.items() if rate and count}
        )
        self.length = NumberEmbedding(width) if rates.length else None
        self.text = nn.Linear(TEXT_WIDTH, width) if rates.text else None

    def forward(self, given: Conditions) -> Float[Tensor, "B w"] | float:
        """The sum of the vectors of what is known; 0 if the model has none of them."""
        total: Tensor | float = 0.0
        for name, table in self.tables.items():
            number = getattr(given, name)
            vector = table((number - 1).clamp_min(0))
            total = total + vector * (number != ABSENT)[:, None]
        if self.length is not None:
            total = total + self.length(given.length) * given.length_known[:, None]
        if self.text is not None:
            total = total + self.text(given.text) * given.text_known[:, None]
        return total


class AlignedConditions(nn.Module):
    """Given frames and paths -> a vector for each latent, which is added to it; unknown frames add nothing."""

    def __init__(self, config: FlowConfig, *, compression: int, fps: float) -> None:
        super().__init__()
        self.compression, self.fps = compression, fps
        rates = config.conditions
        self.frames = nn.Linear(compression * (WIDTH + 1), config.width, bias=False) if rates.frames else None
        self.path = nn.Linear(compression * PATH_WIDTH, config.width, bias=False) if rates.path else None

    def forward(self, given: Conditions, frames: Float[Tensor, "B T 263"]) -> Float[Tensor, "B K w"] | float:
        """The sum of both; 0 if the model has none of them.

        Args:
            given: the conditions.
            frames: its given frames, normalised.
        """
        total: Tensor | float = 0.0
        if self.frames is not None:
            known = given.frames_known[..., None]
            total = total + self.frames(
                self._folded(torch.cat([torch.where(known, frames, 0.0), known], dim=-1))
            )
        if self.path is not None:
            known = given.path_known
            both = functional.pad(known[:, 1:] & known[:, :-1], (0, 1))
            step = functional.pad(self.fps * given.path.diff(dim=1), (0, 0, 0, 1))
            place, step = (
                torch.where(known[..., None], given.path, 0.0),
                torch.where(both[..., None], step, 0.0),
            )
            total = total + self.path(self._folded(torch.cat([place, step, known[..., None]], dim=-1)))
        return total

    def _folded(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B K D"]:
        """The frames of each latent as one vector."""
        x = functional.pad(x, (0, 0, 0, -x.shape[1] % self.compression))
        return x.reshape(len(x), -1, self.compression * x.shape[2])


class TokenConditions(nn.Module):
    """A caption and keypoints -> tokens to attend to, after one that is always there."""

    def __init__(self, config: FlowConfig, *, compression: int) -> None:
        super().__init__()
        rates, width = config.conditions, config.width
        self.compression = compression
        self.always = nn.Parameter(0.02 * torch.randn(width))
        self.text = nn.Linear(TEXT_WIDTH, width) if rates.text else None
        self.keypoints = self.place = None
        if rates.keypoints:
            self.keypoints = nn.Sequential(
                nn.Linear(3 * len(BODY25), width), nn.SiLU(), nn.Linear(width, width)
            )
            self.place = NumberEmbedding(width)

    def forward(self, given: Conditions) -> tuple[Float[Tensor, "B N w"], Bool[Tensor, "B N"]]:
        """The tokens, and which of them are there."""
        B = len(given.length)
        parts = [self.always.expand(B, 1, -1)]
        real = [torch.ones_like(given.length_known)[:, None]]
        if self.text is not None:
            parts.append(self.text(given.text)[:, None])
            real.append(given.text_known[:, None])
        if self.keypoints is not None and self.place is not None and given.keypoints.shape[1]:
            at = given.keypoints_at
            parts.append(self.keypoints(given.keypoints.flatten(2)) + self.place(at / self.compression))
            real.append(at >= 0)
        return torch.cat([part.to(parts[-1].dtype) for part in parts], dim=1), torch.cat(real, dim=1)


class CrossAttention(nn.Module):
    """Each position attends to the tokens that are there; starts at zero."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.kv, self.out = (
            nn.Linear(width, width),
            nn.Linear(width, 2 * width),
            nn.Linear(width, width),
        )
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(
        self, x: Float[Tensor, "B K w"], tokens: Float[Tensor, "B N w"], real: Bool[Tensor, "B N"]
    ) -> Float[Tensor, "B K w"]:
        """What the positions read from the tokens."""
        B, K, width = x.shape
        q = self.q(x).view(B, K, self.heads, -1).transpose(1, 2)
        k, v = self.kv(tokens).view(B, tokens.shape[1], 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=real[:, None, None])
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(B, K, width))
        return out


class FlowBlock(nn.Module):
    """A transformer block with AdaLN-zero (Peebles and Xie 2023, arXiv:2212.09748) and cross-attention.

    Scale, shift and gate of both parts come from the condition; the gates start at zero, so each block starts as the
    identity.
    """

    def __init__(self, config: FlowConfig, *, cross: bool) -> None:
        super().__init__()
        width = config.width
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.attention = Attention(width, config.heads, dropout=config.dropout)
        self.cross = CrossAttention(width, config.heads) if cross else None
        self.feedforward = nn.Sequential(
            nn.Linear(width, config.feedforward),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.feedforward, width),
        )
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(
        self,
        x: Float[Tensor, "B K w"],
        condition: Float[Tensor, "B w"],
        mask: Bool[Tensor, "B K"],
        turns: Float[Tensor, "K h"],
        tokens: tuple[Tensor, Tensor] | None,
    ) -> Float[Tensor, "B K w"]:
        """Self-attention, cross-attention, then the feed-forward network, each added to its input."""
        scale1, shift1, gate1, scale2, shift2, gate2 = self.modulation(condition)[:, None].chunk(6, dim=-1)
        x = x + gate1 * self.attention(torch.addcmul(shift1, self.norm(x), 1 + scale1), mask, turns)
        if self.cross is not None and tokens is not None:
            x = x + self.cross(self.norm(x), *tokens)
        out: Tensor = x + gate2 * self.feedforward(torch.addcmul(shift2, self.norm(x), 1 + scale2))
        return out
