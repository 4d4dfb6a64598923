"""The evaluator: features of motion for Fréchet distances and diversity, learned without labels or with styles.

A small network of convolutions over time reads a window. Its features are trained by two losses: the two halves of a
window should be nearer to each other than to the halves of other clips (InfoNCE, van den Oord et al. 2018,
arXiv:1807.03748), and the style, where it is known, should be a linear function of the features. Figures that
were measured with it are comparable only with those of the same evaluator, so they state the hash of its weights.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from mocap_ray.generation import losses
from mocap_ray.generation.batch import frame_mask, unpack
from mocap_ray.generation.description import MotionFacts
from mocap_ray.generation.layers import TimeMix, pooled
from mocap_ray.generation.options import EvaluatorConfig
from mocap_ray.motion.features import WIDTH

LIMIT = 10.0
"""Largest normalised feature, in standard deviations: columns that hardly vary must not decide alone."""


LARGE = 1e4
"""Subtracted from the logit of what is no counterexample."""


class MotionEvaluator(nn.Module):
    """Windows of features -> feature vectors.

    Attributes:
        config: the section `model` that built it.
        facts: the data that it was trained on.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: EvaluatorConfig, facts: MotionFacts) -> None:
        super().__init__()
        self.config, self.facts = config, facts
        self.to_frames = nn.Linear(WIDTH, config.width)
        self.mixes = nn.ModuleList(TimeMix(config.width) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.width)
        self.to_features = nn.Sequential(
            nn.Linear(config.width, config.width), nn.GELU(), nn.Linear(config.width, config.features)
        )
        self.style_head = nn.Linear(config.features, facts.labels.style_count)
        self.register_buffer("mean", torch.zeros(WIDTH))
        self.register_buffer("std", torch.ones(WIDTH))

    def features(self, motion: Float[Tensor, "B T 263"], length: Int[Tensor, "B"]) -> Float[Tensor, "B F"]:
        """The feature vector of each window; what lies beyond the length is not used."""
        return self._features(motion, frame_mask(length, motion.shape[1]))

    def _features(self, motion: Float[Tensor, "B T 263"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B F"]:
        x = ((motion - self.mean) / self.std).clamp(-LIMIT, LIMIT)
        h = self.to_frames(torch.where(mask[..., None], x, 0.0))
        for k, mix in enumerate(self.mixes):
            h = mix(h, mask)
            if k + 1 < len(self.mixes):
                h, mask = _halved(h, mask)
        out: Tensor = self.to_features(pooled(self.norm(h), mask))
        return out.float()

    def loss(
        self, batch: Float[Tensor, "B R 263"], *, epoch: float = 0.0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The contrastive loss of the halves of windows, and the cross-entropy of the style.

        Args:
            batch: rows of `batch.unpack`.
            epoch: not used.
        """
        windows = unpack(batch)
        frames = windows.features.shape[1]
        half = windows.length.clamp_min(2) // 2
        first = frame_mask(half, frames)
        second = windows.mask & ~first
        ends = torch.cat([self._features(windows.features, m) for m in (first, second)])
        enough = windows.length >= 2
        contrast = contrastive(
            functional.normalize(ends, dim=-1), windows.clip, enough, temperature=self.config.temperature
        )
        logits = self.style_head(self.features(windows.features, windows.length))
        style = losses.style_loss(logits, windows.style)
        known = windows.style != 0
        right = ((logits.argmax(-1) == windows.style) & known).sum() / known.sum().clamp_min(1)
        scalars = {"contrast": contrast.detach(), "style": style.detach(), "style_accuracy": right.detach()}
        return contrast + self.config.style * style, scalars


def _halved(h: Float[Tensor, "B T w"], mask: Bool[Tensor, "B T"]) -> tuple[Tensor, Tensor]:
    """Means of the real frames of each pair."""
    if h.shape[1] % 2:
        h, mask = functional.pad(h, (0, 0, 0, 1)), functional.pad(mask, (0, 1))
    pairs = mask.reshape(len(mask), -1, 2)
    count = pairs.sum(-1, keepdim=True)
    total = torch.where(pairs[..., None], h.reshape(len(h), -1, 2, h.shape[2]), 0.0).sum(2)
    return total / count.clamp_min(1), pairs.any(-1)


def contrastive(
    ends: Float[Tensor, "N F"], clip: Int[Tensor, "B"], enough: Bool[Tensor, "B"], *, temperature: float
) -> Float[Tensor, ""]:
    """How badly each half of a window finds its other half among the halves of other clips, nats (InfoNCE).

    Args:
        ends: unit vectors of the first halves, then those of the second.
        clip: number of the clip of each window; other windows of the same clip are no counterexamples.
        enough: whether the window has two halves.
        temperature: divides the cosines.
    """
    count = len(clip)
    logits = ends @ ends.mT / temperature
    clips = clip.repeat(2)
    target = torch.arange(2 * count, device=ends.device).roll(count)
    other = torch.arange(2 * count, device=ends.device)[:, None] != target
    usable = enough.repeat(2)
    # A large number, not infinity: a row without any counterexample would have no gradient.
    logits = logits.masked_fill(((clips[:, None] == clips) & other) | ~usable, -LARGE)
    each = functional.cross_entropy(logits, target, reduction="none")
    return torch.where(usable, each, 0.0).sum() / usable.sum().clamp_min(1)
