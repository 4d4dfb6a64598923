"""A rectified flow in the latents of a motion VAE: from noise to motion along nearly straight lines.

Liu et al. 2022 (arXiv:2209.03003), Lipman et al. 2022 (arXiv:2210.02747). With noise x0, normalised latents x1 and a
time t from 0 to 1, the network predicts the velocity x1 - x0 at x_t = (1 - t) x0 + t x1. A sample follows the
predicted velocity from noise at time 0 to latents at time 1, which the VAE decodes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mocap_ray.generation.batch import Windows, unpack
from mocap_ray.generation.conditions import Conditions
from mocap_ray.generation.flow_facts import ClipTable, FlowFacts
from mocap_ray.generation.flow_layers import (
    AlignedConditions,
    FlowBlock,
    GlobalConditions,
    NumberEmbedding,
    TokenConditions,
)
from mocap_ray.generation.flow_options import FlowConfig
from mocap_ray.generation.layers import rotary_angles
from mocap_ray.generation.losses import masked_mean
from mocap_ray.generation.motion_vae import MotionVAE
from mocap_ray.generation.pair_rows import unpacked
from mocap_ray.generation.shown import kept_at_random, shown

TIME_SCALE = 1000.0
"""Times become waves as numbers from 0 to this."""


class MotionFlow(nn.Module):
    """A rectified flow of motion, with the VAE that it generates through.

    Attributes:
        config: the section `model` that built it.
        facts: the data that it was trained on, and its VAE.
        vae: frozen, always in eval mode.
    """

    def __init__(self, config: FlowConfig, facts: FlowFacts) -> None:
        super().__init__()
        self.config, self.facts = config, facts
        self.vae = MotionVAE(facts.vae, facts.vae_facts).requires_grad_(False)
        width, compression = config.width, self.vae.coder.compression
        labels = facts.labels
        self.time = NumberEmbedding(width)
        self.vector = GlobalConditions(
            config, domains=len(labels.domains), styles=len(labels.styles), actions=len(facts.actions)
        )
        self.aligned = AlignedConditions(config, compression=compression, fps=facts.fps)
        rates = config.conditions
        self.tokens = (
            TokenConditions(config, compression=compression) if rates.text or rates.keypoints else None
        )
        self.to_states = nn.Linear(facts.vae.latent, width)
        cross = self.tokens is not None
        self.blocks = nn.ModuleList(FlowBlock(config, cross=cross) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 2 * width)
        self.to_velocity = nn.Linear(width, facts.vae.latent)
        for layer in (self.modulation, self.to_velocity):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.clips = ClipTable.none()
        self.eval()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> MotionFlow:
        """Move the labels of clips with the weights; as buffers they would be sent to all workers in each step."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.clips = self.clips.mapped(fn)
        return self

    def train(self, mode: bool = True) -> MotionFlow:
        """Set the mode of all but the VAE."""
        super().train(mode)
        self.vae.eval()
        return self

    # -- the velocity --------------------------------------------------------------------------------------------

    def velocity(
        self, x: Float[Tensor, "B K D"], time: Float[Tensor, "B"], given: Conditions
    ) -> Float[Tensor, "B K D"]:
        """The predicted velocity of normalised latents, 0 where there is no motion.

        Args:
            x: latents between noise and motion.
            time: 0 (noise) to 1 (motion).
            given: the conditions.
        """
        mask = self.vae.coder.latent_mask(given.mask)
        h = self.to_states(x) + self.aligned(given, self.vae.normalised(given.frames))
        condition = nn.functional.silu(self.time(TIME_SCALE * time) + self.vector(given))
        turns = rotary_angles(x.shape[1], self.config.width // self.config.heads, device=x.device)
        tokens = None if self.tokens is None else self.tokens(given)
        for block in self.blocks:
            h = block(h, condition, mask, turns, tokens)
        scale, shift = self.modulation(condition)[:, None].chunk(2, dim=-1)
        out = self.to_velocity(torch.addcmul(shift, self.norm(h), 1 + scale)).float()
        return torch.where(mask[..., None], out, 0.0)

    def guided(
        self, x: Float[Tensor, "B K D"], time: Float[Tensor, "B"], given: Conditions, *, guidance: float
    ) -> Float[Tensor, "B K D"]:
        """The velocity with classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598).

        Args:
            x: latents between noise and motion.
            time: 0 to 1.
            given: the conditions.
            guidance: 1: as predicted; above 1: further away from the prediction without conditions; 0: that one. The
                student of a flow has learned the guidance of its teacher, and ignores this.
        """
        if guidance == 1 or self.facts.reflow:
            return self.velocity(x, time, given)
        both = self.velocity(torch.cat([x, x]), torch.cat([time, time]), given.beside(given.dropped()))
        conditional, free = both.chunk(2)
        return free + guidance * (conditional - free)

    def decoded(
        self, x: Float[Tensor, "B K D"], *, length: Int[Tensor, "B"], frames: int, domain: Int[Tensor, "B"],
        style: Int[Tensor, "B"],
    ) -> Float[Tensor, "B T 263"]:  # fmt: skip
        """Features of normalised latents; labels as the VAE counts them: domains from 0, styles from 1."""
        z = self.vae.plain_latents(x)
        return self.vae.decode(z, frames=frames, length=length, domain=domain, style=style)

    # -- training ------------------------------------------------------------------------------------------------

    def loss(self, batch: Float[Tensor, "B R W"], *, epoch: float = 0.0) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean squared error of the velocity, and that of early and late times.

        Args:
            batch: rows of `batch.unpack`; of `pairs.unpacked` for the student of a flow.
            epoch: not used.
        """
        with torch.no_grad():
            x0, x1, given = self._pairs(batch) if self.facts.reflow else self._windows(batch)
            time = torch.sigmoid(
                self.config.time_mean + self.config.time_std * torch.randn(len(x1), device=x1.device)
            )
        found = self.velocity(torch.lerp(x0, x1, time[:, None, None]), time, given)
        mask = self.vae.coder.latent_mask(given.mask)
        error = (found - (x1 - x0)).square()
        with torch.no_grad():
            early = time < 0.5
            parts = {
                name: masked_mean(error, mask & of[:, None])
                for name, of in (("early", early), ("late", ~early))
            }
        return masked_mean(error, mask), parts

    @torch.no_grad()
    def latents(self, windows: Windows) -> Float[Tensor, "B K D"]:
        """Normalised latents of windows, drawn from their posterior."""
        posterior = self.vae.encode(
            windows.features, length=windows.length, domain=windows.domain, style=windows.style
        )
        noise = torch.randn_like(posterior.mean)
        return self.vae.normalised_latents(posterior.mean + (0.5 * posterior.log_variance).exp() * noise)

    def _windows(self, batch: Float[Tensor, "B R 263"]) -> tuple[Tensor, Tensor, Conditions]:
        """Noise, latents of windows, and what the training shows of them."""
        windows = unpack(batch)
        x1, given = self.latents(windows), self._given(windows)
        return torch.randn_like(x1), x1, given

    def _pairs(self, batch: Float[Tensor, "B R W"]) -> tuple[Tensor, Tensor, Conditions]:
        """Noise, the latents that a teacher took it to, and what they are conditioned on."""
        header, x0, x1 = unpacked(batch, self.facts.vae.latent)
        frames = x0.shape[1] * self.vae.coder.compression
        text = header[:, 4]
        given = replace(
            Conditions.none(header[:, 0], frames=frames),
            length_known=torch.ones_like(text, dtype=torch.bool),
            domain=header[:, 1],
            style=header[:, 2],
            action=header[:, 3],
        )
        if len(self.clips.text):
            given = replace(given, text=self.clips.text[(text - 1).clamp_min(0)], text_known=text > 0)
        return x0, x1, given

    def _given(self, windows: Windows) -> Conditions:
        """What a training sample is conditioned on, drawn at random."""
        rates = self.config.conditions
        given = shown(windows, self.clips, rates)
        return given.kept(kept_at_random(rates, len(windows), self.config.unconditional, given.length.device))
