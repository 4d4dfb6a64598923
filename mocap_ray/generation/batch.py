"""A batch of windows of features, and how it is stored in the rows of a training.

A row is one array [1 + L, 263]: its first line is a header (the numbers of `HEADER`), the others are the frames of the
window, then zeros. So windows pass through loaders, buffers and processes as plain rows of a fixed shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

HEADER = ("length", "start", "domain", "style", "clip")
"""The first columns of a header line: frames of the window, its first frame in the clip, number of the domain, of the
style, and of the clip in the index of the data set. Whole numbers; float32 holds them exactly up to 2^24."""


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Windows of features, not normalised, padded with zeros to the same length.

    Attributes:
        features: [B, L, 263].
        length: number of real frames of each window, 1 to L.
        domain: number of the domain, see `labels.Labels`.
        style: number of the style; 0: unknown.
        clip: number of the clip in the index of the data set.
    """

    features: Float[Tensor, "B L 263"]
    length: Int[Tensor, "B"]
    domain: Int[Tensor, "B"]
    style: Int[Tensor, "B"]
    clip: Int[Tensor, "B"]

    @property
    def mask(self) -> Bool[Tensor, "B L"]:
        """True for real frames, False for padding."""
        return frame_mask(self.length, self.features.shape[1])

    def __len__(self) -> int:
        return len(self.features)


def frame_mask(length: Int[Tensor, "B"], frames: int) -> Bool[Tensor, "B L"]:
    """True for the first `length` of `frames` frames.

    >>> frame_mask(torch.tensor([1, 3]), 3).tolist()
    [[True, False, False], [True, True, True]]
    """
    return torch.arange(frames, device=length.device) < length[:, None]


def unpack(rows: Float[Tensor, "B R 263"]) -> Windows:
    """The windows of rows [B, 1 + L, 263]."""
    header = rows[:, 0, : len(HEADER)].long()
    return Windows(rows[:, 1:], header[:, 0], header[:, 2], header[:, 3], header[:, 4])
