"""The two encoders and decoders of the motion VAE.

`ReferenceCoder` is FlowMimic's: one latent per frame, learned positions. `CompressedCoder` is ours: one latent for four
frames, rotary positions, so any length; the encoder does not see the style, so that what the latents say about the
style comes from the motion. Both take normalised features with zeros for padding, and nothing that is real depends on
the padding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from mocap_ray.errors import UserError
from mocap_ray.generation.labels import UNKNOWN, Labels
from mocap_ray.generation.layers import Block, Condition, TimeMix, rotary_angles
from mocap_ray.generation.options import MotionVAEConfig
from mocap_ray.motion.features import WIDTH

LEAST_VARIANCE = 1e-3
"""Added to the variance of principal components, so that those that hardly vary are not blown up."""


class Coder(nn.Module, ABC):
    """What both have: conditions, blocks, and the shapes of latents."""

    compression = 1

    def __init__(self, config: MotionVAEConfig, labels: Labels) -> None:
        super().__init__()
        self.config = config
        self.condition = Condition(
            domains=len(labels.domains),
            styles=labels.style_count,
            domain_width=config.domain_width,
            style_width=config.style_width,
            width=config.condition,
        )
        self.encoder = self._blocks(config.encoder_blocks)
        self.decoder = self._blocks(config.decoder_blocks)
        self.from_latent = nn.Linear(config.latent, config.width)
        self.to_features = nn.Linear(config.width, WIDTH)

    def _blocks(self, count: int) -> nn.ModuleList:
        c = self.config
        return nn.ModuleList(
            Block(c.width, c.heads, feedforward=c.feedforward, condition=c.condition, dropout=c.dropout)
            for _ in range(count)
        )

    def latent_mask(self, mask: Bool[Tensor, "B T"]) -> Bool[Tensor, "B K"]:
        """Which latents have a real frame."""
        return mask

    def linear_latents(self, x: Float[Tensor, "B T 263"]) -> Tensor | float:
        """A linear function of the frames of each latent, which is added to its mean; 0 if there is none."""
        return 0.0

    def start_from(self, x: Float[Tensor, "B T 263"], mask: Bool[Tensor, "B T"]) -> None:
        """Initialise what can be initialised from windows of the training data; nothing by default."""

    @abstractmethod
    def encode(
        self,
        x: Float[Tensor, "B T 263"],
        mask: Bool[Tensor, "B T"],
        domain: Int[Tensor, "B"],
        style: Int[Tensor, "B"],
    ) -> Float[Tensor, "B K w"]:
        """The states of the encoder, one for each latent."""

    @abstractmethod
    def decode(
        self,
        z: Float[Tensor, "B K D"],
        mask: Bool[Tensor, "B T"],
        domain: Int[Tensor, "B"],
        style: Int[Tensor, "B"],
    ) -> Float[Tensor, "B T 263"]:
        """Normalised features, and logits of the contacts."""


class ReferenceCoder(Coder):
    """One latent per frame, learned positions that start at zero."""

    def __init__(self, config: MotionVAEConfig, labels: Labels) -> None:
        super().__init__(config, labels)
        self.to_states = nn.Linear(WIDTH, config.width)
        self.encoder_positions = nn.Parameter(torch.zeros(config.positions, config.width))
        self.decoder_positions = nn.Parameter(torch.zeros(config.positions, config.width))

    def encode(
        self,
        x: Float[Tensor, "B T 263"],
        mask: Bool[Tensor, "B T"],
        domain: Int[Tensor, "B"],
        style: Int[Tensor, "B"],
    ) -> Float[Tensor, "B T w"]:
        """The states of the encoder, one per frame."""
        self._require_positions(x.shape[1])
        h = self.to_states(x) + self.encoder_positions[: x.shape[1]]
        condition = self.condition(domain, style)
        for block in self.encoder:
            h = block(h, condition, mask)
        out: Tensor = h
        return out

    def decode(
        self,
        z: Float[Tensor, "B T D"],
        mask: Bool[Tensor, "B T"],
        domain: Int[Tensor, "B"],
        style: Int[Tensor, "B"],
    ) -> Float[Tensor, "B T 263"]:
        """Normalised features, and logits of the contacts."""
        self._require_positions(z.shape[1])
        h = self.from_latent(z) + self.decoder_positions[: z.shape[1]]
        condition = self.condition(domain, style)
        for block in self.decoder:
            h = block(h, condition, mask)
        out: Tensor = self.to_features(h)
        return out

    def _require_positions(self, frames: int) -> None:
        if frames > self.config.positions:
            raise UserError(
                f"motion_vae: a window of {frames} frames, and this model knows {self.config.positions} positions. "
                "Cut it into shorter ones, or train one with larger model.positions or with variant default."
            )


class CompressedCoder(Coder):
    """One latent for `compression` frames, rotary positions."""

    def __init__(self, config: MotionVAEConfig, labels: Labels) -> None:
        super().__init__(config, labels)
        width, self.compression = config.width, config.compression
        self.to_frames = nn.Linear(WIDTH, width)
        self.encoder_mix, self.decoder_mix = TimeMix(width), TimeMix(width)
        self.fold, self.unfold = (
            nn.Linear(self.compression * width, width),
            nn.Linear(width, self.compression * width),
        )
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.linear_in = nn.Linear(self.compression * WIDTH, config.latent)
        self.linear_out = nn.Linear(config.latent, self.compression * WIDTH)

    def latent_mask(self, mask: Bool[Tensor, "B T"]) -> Bool[Tensor, "B K"]:
        """Which latents have a real frame."""
        return self._padded(mask).reshape(len(mask), -1, self.compression).any(-1)

    def _patches(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B K D"]:
        """The frames of each latent as one vector."""
        return self._padded(x).reshape(len(x), -1, self.compression * x.shape[2])

    def linear_latents(self, x: Float[Tensor, "B T 263"]) -> Tensor:
        """A linear function of the frames of each latent."""
        out: Tensor = self.linear_in(self._patches(x))
        return out

    @torch.no_grad()
    def start_from(self, x: Float[Tensor, "B T 263"], mask: Bool[Tensor, "B T"]) -> None:
        """Let the linear paths start as the principal components of the frames of a latent, whitened.

        The blocks then learn what a linear code does not say. From random weights, hundreds of steps are spent on
        learning as much as these components say from the start.
        """
        whole = self.latent_mask(mask) & ~self.latent_mask(~mask)
        patches = self._patches(x)[whole]
        if len(patches) < 2:
            return
        count = min(self.config.latent, patches.shape[1])
        mean = patches.double().mean(0)
        values, vectors = torch.linalg.eigh(torch.cov(patches.double().T, correction=0))
        values, vectors = values[-count:].flip(0).clamp_min(0.0), vectors[:, -count:].flip(1)
        scale = (values + LEAST_VARIANCE).sqrt()
        self.linear_in.weight[:count] = (vectors / scale).T.float()
        self.linear_in.bias[:count] = (-(mean @ vectors) / scale).float()
        self.linear_out.weight[:, :count] = (vectors * scale).float()
        self.linear_out.bias.copy_(mean.float())

    def _padded(self, x: Tensor) -> Tensor:
        """Frames [B, T, ...] with zeros up to a multiple of `compression`."""
        more = -x.shape[1] % self.compression
        return x if not more else functional.pad(x, (0, 0) * (x.ndim - 2) + (0, more))

    def _turns(self, positions: int, device: torch.device) -> Float[Tensor, "K h"]:
        return rotary_angles(positions, self.config.width // self.config.heads, device=device)

    def encode(
        self,
        x: Float[Tensor, "B T 263"],
        mask: Bool[Tensor, "B T"],
        domain: Int[Tensor, "B"],
        style: Int[Tensor, "B"],
    ) -> Float[Tensor, "B K w"]:
        """The states of the encoder; the style is not used."""
        h = self.encoder_mix(self.to_frames(x), mask)
        h, real = self.fold(self._patches(h * mask[..., None])), self.latent_mask(mask)
        condition = self.condition(domain, torch.full_like(style, UNKNOWN))
        turns = self._turns(h.shape[1], h.device)
        for block in self.encoder:
            h = block(h, condition, real, turns)
        out: Tensor = self.encoder_norm(h)
        return out

    def decode(
        self,
        z: Float[Tensor, "B K D"],
        mask: Bool[Tensor, "B T"],
        domain: Int[Tensor, "B"],
        style: Int[Tensor, "B"],
    ) -> Float[Tensor, "B T 263"]:
        """Normalised features, and logits of the contacts."""
        h, real = self.from_latent(z), self.latent_mask(mask)
        condition = self.condition(domain, style)
        turns = self._turns(h.shape[1], h.device)
        for block in self.decoder:
            h = block(h, condition, real, turns)
        h = self.unfold(self.decoder_norm(h)).reshape(len(h), -1, h.shape[2])
        linear = self.linear_out(z).reshape(len(h), -1, WIDTH)[:, : mask.shape[1]]
        out: Tensor = self.to_features(self.decoder_mix(h[:, : mask.shape[1]], mask)) + linear
        return out


CODERS: dict[str, type[Coder]] = {"reference": ReferenceCoder, "default": CompressedCoder}
"""variant -> its encoder and decoder."""
