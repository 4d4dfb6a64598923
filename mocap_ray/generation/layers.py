"""Layers of motion models: conditions, attention with and without rotary positions, convolutions over masked time."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional


class Condition(nn.Module):
    """Domain and style of a window -> one vector."""

    def __init__(self, *, domains: int, styles: int, domain_width: int, style_width: int, width: int) -> None:
        super().__init__()
        self.domain = nn.Embedding(domains, domain_width)
        self.style = nn.Embedding(styles, style_width)
        self.mix = nn.Sequential(
            nn.Linear(domain_width + style_width, width), nn.SiLU(), nn.Linear(width, width)
        )

    def forward(self, domain: Int[Tensor, "B"], style: Int[Tensor, "B"]) -> Float[Tensor, "B c"]:
        """The vector of each window."""
        mixed: Tensor = self.mix(torch.cat([self.domain(domain), self.style(style)], dim=-1))
        return mixed


class ModulatedNorm(nn.Module):
    """Layer normalisation without parameters of its own; scale and shift come from the condition (AdaLN)."""

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(condition, 2 * width)

    def forward(self, x: Float[Tensor, "B T w"], condition: Float[Tensor, "B c"]) -> Float[Tensor, "B T w"]:
        """(1 + scale) * norm(x) + shift."""
        scale, shift = self.modulation(condition)[:, None].chunk(2, dim=-1)
        return torch.addcmul(shift, self.norm(x), 1 + scale)


class Attention(nn.Module):
    """Self-attention over the real positions, by `scaled_dot_product_attention`."""

    def __init__(self, width: int, heads: int, *, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        nn.init.xavier_uniform_(self.qkv.weight)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)

    def forward(
        self, x: Float[Tensor, "B T w"], mask: Bool[Tensor, "B T"], turns: Float[Tensor, "T h"] | None = None
    ) -> Float[Tensor, "B T w"]:
        """Each position attends to the real ones.

        Args:
            x: the positions.
            mask: which of them are real; at least one of each window.
            turns: angles of `rotary_angles`; None: positions are known from `x` alone.
        """
        B, T, width = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if turns is not None:
            q, k = turned(q, turns), turned(k, turns)
        mixed = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask[:, None, None], dropout_p=self.dropout if self.training else 0.0
        )
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(B, T, width))
        return out


def rotary_angles(positions: int, size: int, *, device: torch.device) -> Float[Tensor, "T h"]:
    """The angle of each position and pair of numbers (RoPE, Su et al. 2021, arXiv:2104.09864), rad.

    Args:
        positions: number of positions.
        size: numbers of a head, even.
        device: device of the result.
    """
    rates = 10_000.0 ** (-torch.arange(0, size, 2, device=device, dtype=torch.float32) / size)
    return torch.arange(positions, device=device, dtype=torch.float32)[:, None] * rates


def turned(x: Float[Tensor, "B H T d"], angles: Float[Tensor, "T h"]) -> Float[Tensor, "B H T d"]:
    """Turn each pair (k, k + d / 2) of the numbers of a head by the angle of its position."""
    c, s = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * c - b * s, b * c + a * s], dim=-1)


class Block(nn.Module):
    """A pre-norm transformer block whose norms are modulated by the condition."""

    def __init__(self, width: int, heads: int, *, feedforward: int, condition: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = ModulatedNorm(width, condition), ModulatedNorm(width, condition)
        self.attention = Attention(width, heads, dropout=dropout)
        self.feedforward = nn.Sequential(
            nn.Linear(width, feedforward),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(feedforward, width),
        )
        self.drop = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "B T w"],
        condition: Float[Tensor, "B c"],
        mask: Bool[Tensor, "B T"],
        turns: Float[Tensor, "T h"] | None = None,
    ) -> Float[Tensor, "B T w"]:
        """Attention, then the feed-forward network, each added to its input."""
        x = x + self.drop(self.attention(self.norm1(x, condition), mask, turns))
        out: Tensor = x + self.drop(self.feedforward(self.norm2(x, condition)))
        return out


class TimeMix(nn.Module):
    """A residual convolution over neighbouring frames; padding counts as zeros, however long it is."""

    def __init__(self, width: int, *, kernel: int = 5) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.near = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.mix = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Float[Tensor, "B T w"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T w"]:
        """The frames, each mixed with its neighbours."""
        real = mask[..., None]
        near = self.near((self.norm(x) * real).transpose(1, 2)).transpose(1, 2)
        out: Tensor = x + self.mix(near) * real
        return out


def pooled(x: Float[Tensor, "B T w"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B w"]:
    """The mean over the real positions; 0 without any."""
    real = mask[..., None].to(x.dtype)
    return (x * real).sum(1) / real.sum(1).clamp_min(1)
