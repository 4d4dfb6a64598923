"""The motion VAE: windows of features to latents and back, conditioned on domain and style.

`MotionVAE.encode` and `decode` take and give plain features (not normalised, contacts between 0 and 1), so that users
and the models of latents need no statistics of their own. The checkpoint also has the mean and deviation of the
latents, which `normalised_latents` uses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from mocap_ray.generation import losses
from mocap_ray.generation.batch import Windows, frame_mask, unpack
from mocap_ray.generation.coders import CODERS
from mocap_ray.generation.description import MotionFacts
from mocap_ray.generation.labels import UNKNOWN
from mocap_ray.generation.layers import pooled
from mocap_ray.generation.losses import CONTACTS, CONTINUOUS, ROOT
from mocap_ray.generation.options import MotionVAEConfig
from mocap_ray.motion.features import WIDTH

LOG_VARIANCE = (-12.0, 8.0)
"""Limits of the log variance of a latent: exp never overflows."""
NARROW = -4.0
"""Log variance of the posterior at the start of our variant."""
LEAST_UPDATE = 0.01
"""Weight of the latest batch in the running moments of the latents."""


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """What the encoder says about windows.

    Attributes:
        mean, log_variance: of each latent number.
        mask: which latents are real.
        style: logits of the style, unknown first.
    """

    mean: Float[Tensor, "B K D"]
    log_variance: Float[Tensor, "B K D"]
    mask: Bool[Tensor, "B K"]
    style: Float[Tensor, "B S"]


class MotionVAE(nn.Module):
    """A VAE of windows of motion.

    Attributes:
        config: the section `model` that built it.
        facts: the data that it was trained on.
        coder: its encoder and decoder, by `config.variant`.
    """

    mean: Tensor
    std: Tensor
    steps: Tensor
    latent_mean: Tensor
    latent_square: Tensor

    def __init__(self, config: MotionVAEConfig, facts: MotionFacts) -> None:
        super().__init__()
        self.config, self.facts = config, facts
        self.weights: dict[str, Any] = config.weights.model_dump()
        self.coder = CODERS[config.variant](config, facts.labels)
        self.to_mean = nn.Linear(config.width, config.latent)
        self.to_log_variance = nn.Linear(config.width, config.latent)
        self.style_head = nn.Sequential(
            nn.Linear(config.width, config.width),
            nn.GELU(),
            nn.Linear(config.width, facts.labels.style_count),
        )
        if config.variant == "default":
            # A narrow posterior: with the deviation 1 that zeros give, the decoder first learns to ignore the latents.
            nn.init.constant_(self.to_log_variance.bias, NARROW)
        self.register_buffer("mean", torch.zeros(WIDTH))
        self.register_buffer("std", torch.ones(WIDTH))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("latent_mean", torch.zeros(config.latent))
        self.register_buffer("latent_square", torch.ones(config.latent))

    # -- features and latents ------------------------------------------------------------------------------------

    def normalised(self, features: Float[Tensor, "B T 263"]) -> Float[Tensor, "B T 263"]:
        """(features - mean) / std by the statistics of the data set; contacts stay as they are."""
        return (features - self.mean) / self.std

    def latent_count(self, frames: int) -> int:
        """Number of latents of a window."""
        return -(-frames // self.coder.compression)

    def encode(
        self,
        features: Float[Tensor, "B T 263"],
        *,
        length: Int[Tensor, "B"] | None = None,
        domain: Int[Tensor, "B"],
        style: Int[Tensor, "B"] | None = None,
    ) -> Posterior:
        """The latents of windows.

        Args:
            features: not normalised; what lies beyond the length is not used.
            length: real frames of each window; None: all.
            domain: numbers of `facts.labels.domains`.
            style: numbers of styles; None: unknown.
        """
        mask = self._mask(features, length)
        x = torch.where(mask[..., None], self.normalised(features), 0.0)
        hidden = self.coder.encode(x, mask, domain, torch.zeros_like(domain) if style is None else style)
        real = self.coder.latent_mask(mask)
        return Posterior(
            (self.to_mean(hidden) + self.coder.linear_latents(x)).float(),
            self.to_log_variance(hidden).float().clamp(*LOG_VARIANCE),
            real,
            self.style_head(pooled(hidden, real)).float(),
        )

    def decode(
        self,
        z: Float[Tensor, "B K D"],
        *,
        frames: int,
        length: Int[Tensor, "B"] | None = None,
        domain: Int[Tensor, "B"],
        style: Int[Tensor, "B"] | None = None,
    ) -> Float[Tensor, "B T 263"]:
        """Features [B, frames, 263] of latents: not normalised, contacts as probabilities, zeros beyond the length.

        Args:
            z: `latent_count(frames)` latents for each window.
            frames: length of the longest window.
            length: real frames of each window; None: all.
            domain: numbers of `facts.labels.domains`.
            style: numbers of styles; None: unknown.
        """
        length = torch.full((len(z),), frames, device=z.device) if length is None else length
        mask = frame_mask(length, frames)
        style = torch.zeros_like(domain) if style is None else style
        out = self.coder.decode(z, mask, domain, style).float()
        continuous = out[..., CONTINUOUS] * self.std[CONTINUOUS] + self.mean[CONTINUOUS]
        features = torch.cat([continuous, out[..., CONTACTS].sigmoid()], dim=-1)
        return torch.where(mask[..., None], features, 0.0)

    def normalised_latents(self, z: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """Latents with mean 0 and deviation 1 over the training windows: what a model of latents is trained on."""
        return (z - self.latent_mean) / self._latent_std

    def plain_latents(self, z: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """The inverse of `normalised_latents`."""
        return z * self._latent_std + self.latent_mean

    @property
    def _latent_std(self) -> Float[Tensor, "D"]:
        return (self.latent_square - self.latent_mean.square()).clamp_min(1e-8).sqrt()

    def _mask(
        self, features: Float[Tensor, "B T 263"], length: Int[Tensor, "B"] | None
    ) -> Bool[Tensor, "B T"]:
        if length is None:
            return torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
        return frame_mask(length, features.shape[1])

    def start_from(self, rows: Float[Tensor, "N R 263"]) -> None:
        """Initialise from rows of the training data, once the statistics are set."""
        windows = unpack(rows)
        x = torch.where(windows.mask[..., None], self.normalised(windows.features), 0.0)
        self.coder.start_from(x, windows.mask)

    # -- training ------------------------------------------------------------------------------------------------

    def loss(
        self, batch: Float[Tensor, "B R 263"], *, epoch: float = 0.0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum of all terms, and each term by name.

        In evaluation mode without style dropout, warm-up and free bits.

        Args:
            batch: rows of `batch.unpack`.
            epoch: fractional number of epochs before this step.
        """
        windows = unpack(batch)
        posterior, out = self._reconstructed(windows)
        terms = self._terms(windows, posterior, out)
        weights = self._weights(epoch)
        total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        if self.training:
            self._remember(posterior)
        return total, {name: term.detach() for name, term in terms.items()}

    def _reconstructed(self, windows: Windows) -> tuple[Posterior, Float[Tensor, "B T 263"]]:
        style = windows.style
        if self.training and self.config.style_dropout:
            hidden = torch.rand(len(style), device=style.device) < self.config.style_dropout
            style = torch.where(hidden, UNKNOWN, style)
        posterior = self.encode(windows.features, length=windows.length, domain=windows.domain, style=style)
        noise = torch.randn_like(posterior.mean)
        z = posterior.mean + (0.5 * posterior.log_variance).exp() * noise
        return posterior, self.coder.decode(z, windows.mask, windows.domain, style).float()

    def _terms(
        self, windows: Windows, posterior: Posterior, out: Float[Tensor, "B T 263"]
    ) -> dict[str, Tensor]:
        mask, weights = windows.mask, self.config.weights
        true = self.normalised(windows.features)
        contacts = functional.binary_cross_entropy_with_logits(
            out[..., CONTACTS], windows.features[..., CONTACTS], reduction="none"
        )
        velocity, acceleration = losses.differences(out, true, mask)
        kl = losses.kl_of(posterior.mean, posterior.log_variance)
        free = self.config.free_bits if self.training else 0.0
        terms = {
            "continuous": losses.smooth_l1(out[..., CONTINUOUS], true[..., CONTINUOUS], mask),
            "contacts": losses.masked_mean(contacts, mask),
            "root": losses.smooth_l1(out[..., ROOT], true[..., ROOT], mask),
            "velocity": velocity,
            "acceleration": acceleration,
            "kl": losses.free_kl(kl, posterior.mask, free=free),
            "style": losses.style_loss(posterior.style, windows.style),
        }
        if weights.joints:
            found = out * self.std + self.mean
            terms["joints"] = losses.joint_distance(found, windows.features, mask)
        return terms

    def _weights(self, epoch: float) -> dict[str, Any]:
        """The weight of each term at this step."""
        c, weights = self.config, dict(self.weights)
        if not self.training:
            return weights
        if c.kl_warmup_steps:
            weights["kl"] = weights["kl"] * (self.steps / c.kl_warmup_steps).clamp_max(1.0)
        if c.root_late_epoch is not None and epoch >= c.root_late_epoch:
            weights["root"] *= 2
        return weights

    @torch.no_grad()
    def _remember(self, posterior: Posterior) -> None:
        """Count the step, and update the running moments of the latents."""
        real = posterior.mask[..., None]
        count = posterior.mask.sum().clamp_min(1)
        first = torch.where(real, posterior.mean, 0.0).sum((0, 1)) / count
        square = posterior.mean.square() + posterior.log_variance.exp()
        second = torch.where(real, square, 0.0).sum((0, 1)) / count
        weight = (1.0 / (self.steps + 1)).clamp_min(LEAST_UPDATE)
        self.latent_mean.lerp_(first, weight)
        self.latent_square.lerp_(second, weight)
        self.steps += 1
