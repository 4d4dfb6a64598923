"""Dropout whose random numbers cost little on a CPU (floor 3)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

_LEVELS = 1 << 16


class Dropout(nn.Dropout):
    """The law of `nn.Dropout`, from 16 random bits a number on the CPU; other devices run torch's own kernel.

    torch draws a number of 53 bits for each of the layer's, one after the other: on a CPU that took nearly half of a
    step of `hand_vae`. One draw of 64 bits decides over four here. The probability is that of the nearest 65536th,
    and what is kept is scaled by that one's inverse, so that means stay right.
    """

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """In training each number is zero with probability `p`, else scaled up; in evaluation all stay."""
        dropped = round(self.p * _LEVELS)
        if not self.training or not dropped or dropped == _LEVELS or x.device.type != "cpu":
            return super().forward(x)
        words = torch.empty(math.ceil(x.numel() / 4), dtype=torch.int64).random_(-(2**63), None)
        bits = words.view(torch.int16)[: x.numel()].view(x.shape)
        kept = (bits >= dropped - _LEVELS // 2).to(x.dtype)
        return x * kept.mul_(_LEVELS / (_LEVELS - dropped))
