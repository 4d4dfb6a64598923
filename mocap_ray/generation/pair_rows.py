"""How a pair of noise and latents is stored in the rows of a training.

A row is one array [1 + 2 K, W]: its first line is a header (the numbers of `HEADER`), then K lines of noise and K of
latents, padded with zeros. Labels are numbers, counted from 1; 0 is absent.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

HEADER = ("frames", "domain", "style", "action", "text")
"""The first columns of a header line; `text` is the number of the caption in `pairs.Pairs.texts`."""


def unpacked(rows: Float[Tensor, "B R W"], width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers of `HEADER` [B, 5], noise and latents [B, K, D] of rows."""
    K = (rows.shape[1] - 1) // 2
    header = rows[:, 0, : len(HEADER)].long()
    return header, rows[:, 1 : 1 + K, :width], rows[:, 1 + K :, :width]
