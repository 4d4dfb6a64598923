"""The motion VAE of FlowMimic's description, written as one would write it first: the baseline of `bench/motion.py`.

Attention by `nn.MultiheadAttention` with its weights, float32, each loss term read with `.item()` in each step, windows
cut one by one. It has the modules of `generation/coders.py:ReferenceCoder`, and the same number of parameters.
"""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor, nn

SMOOTH = [(0, 4), (67, 193), (193, 259)]


class Norm(nn.Module):
    """LayerNorm, scaled and shifted by the condition."""

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.to_both = nn.Linear(condition, 2 * width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(1 + scale) h + shift."""
        scale, shift = self.to_both(condition).unsqueeze(1).chunk(2, -1)
        return self.norm(x) * (1 + scale) + shift


class Layer(nn.Module):
    """Attention and feed-forward network."""

    def __init__(self, width: int, heads: int, hidden: int, condition: int, dropout: float) -> None:
        super().__init__()
        self.first, self.second = Norm(width, condition), Norm(width, condition)
        self.attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.hidden = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, condition: Tensor, padding: Tensor) -> Tensor:
        """One block."""
        h = self.first(x, condition)
        h, _ = self.attention(h, h, h, key_padding_mask=padding)
        x = x + self.dropout(h)
        return x + self.dropout(self.hidden(self.second(x, condition)))


class PlainVAE(nn.Module):
    """The whole model."""

    def __init__(
        self, *, width: int, blocks: int, heads: int, hidden: int, latent: int, domains: int, styles: int,
        positions: int = 256, condition: int = 256, dropout: float = 0.1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.domain, self.style = nn.Embedding(domains, 16), nn.Embedding(styles, 32)
        self.condition = nn.Sequential(nn.Linear(48, condition), nn.SiLU(), nn.Linear(condition, condition))
        self.inputs, self.from_latent = nn.Linear(263, width), nn.Linear(latent, width)
        self.place1 = nn.Parameter(torch.zeros(1, positions, width))
        self.place2 = nn.Parameter(torch.zeros(1, positions, width))
        make = lambda: Layer(width, heads, hidden, condition, dropout)  # noqa: E731
        self.encoder = nn.ModuleList([make() for _ in range(blocks)])
        self.decoder = nn.ModuleList([make() for _ in range(blocks)])
        self.mean, self.log_variance = nn.Linear(width, latent), nn.Linear(width, latent)
        self.outputs = nn.Linear(width, 263)
        self.guess = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, styles))

    def forward(
        self, x: Tensor, domain: Tensor, style: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Reconstruction, mean, log variance, logits of the style."""
        c = self.condition(torch.cat([self.domain(domain), self.style(style)], -1))
        h = self.inputs(x) + self.place1[:, : x.shape[1]]
        for block in self.encoder:
            h = block(h, c, ~mask)
        mean, log_variance = self.mean(h), self.log_variance(h)
        m = mask.unsqueeze(-1).float()
        logits = self.guess((h * m).sum(1) / m.sum(1).clamp(min=1))
        z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        h = self.from_latent(z) + self.place2[:, : x.shape[1]]
        for block in self.decoder:
            h = block(h, c, ~mask)
        return self.outputs(h), mean, log_variance, logits


def mean_of(values: Tensor, mask: Tensor) -> Tensor:
    """The masked mean."""
    return (values * mask.unsqueeze(-1).float()).sum() / (mask.sum().clamp(min=1) * values.shape[-1])


def step(
    model: PlainVAE, optimiser: torch.optim.Optimizer, batch: tuple[Tensor, ...], *, kl_weight: float
) -> dict[str, float]:
    """One step of training; returns the terms."""
    x, domain, style, mask = batch
    told = torch.where(torch.rand(len(style)) < 0.1, torch.zeros_like(style), style)
    out, mean, log_variance, logits = model(x, domain, told, mask)
    l1 = nn.functional.smooth_l1_loss
    continuous = mean_of(l1(out[..., :259], x[..., :259], reduction="none"), mask)
    root = mean_of(l1(out[..., :4], x[..., :4], reduction="none"), mask)
    contacts = mean_of(
        nn.functional.binary_cross_entropy_with_logits(out[..., 259:], x[..., 259:], reduction="none"), mask
    )
    kl = mean_of(-0.5 * (1 + log_variance - mean.pow(2) - log_variance.exp()), mask)
    a = torch.cat([out[..., i:j] for i, j in SMOOTH], -1)
    b = torch.cat([x[..., i:j] for i, j in SMOOTH], -1)
    da, db = a[:, 1:] - a[:, :-1], b[:, 1:] - b[:, :-1]
    velocity = mean_of(l1(da, db, reduction="none"), mask[:, 1:])
    acceleration = mean_of(l1(da[:, 1:] - da[:, :-1], db[:, 1:] - db[:, :-1], reduction="none"), mask[:, 2:])
    known = style != 0
    guess = nn.functional.cross_entropy(logits[known], style[known]) if known.any() else logits.sum() * 0
    loss = continuous + 5 * contacts + 2 * root + kl_weight * kl
    loss = loss + 0.05 * velocity + 0.02 * acceleration + 0.1 * guess
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    terms = {
        "loss": loss, "continuous": continuous, "contacts": contacts, "root": root, "kl": kl,
        "velocity": velocity, "acceleration": acceleration, "style": guess,
    }  # fmt: skip
    return {name: term.item() for name, term in terms.items()}


def batches(
    clips: list[tuple[np.ndarray, int, int]],
    mean: np.ndarray,
    std: np.ndarray,
    *,
    size: int,
    length: int = 120,
) -> list[tuple[Tensor, ...]]:
    """One epoch: a random window of each clip, normalised, padded, with domain and style."""
    order = random.sample(range(len(clips)), len(clips))
    found = []
    for first in range(0, len(order), size):
        windows, domains, styles, masks = [], [], [], []
        for k in order[first : first + size]:
            features, domain, style = clips[k]
            start = random.randint(0, max(0, len(features) - length))
            window = (features[start : start + length] - mean) / std
            mask = np.zeros(length, bool)
            mask[: len(window)] = True
            windows.append(np.concatenate([window, np.zeros((length - len(window), 263), np.float32)]))
            domains.append(domain)
            styles.append(style)
            masks.append(mask)
        found.append(
            (
                torch.tensor(np.stack(windows), dtype=torch.float32),
                torch.tensor(domains),
                torch.tensor(styles),
                torch.tensor(np.stack(masks)),
            )
        )
    return found
