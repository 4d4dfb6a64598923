"""The sections `model` and `data` of a config for models of motion."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mocap_ray.errors import UserError
from mocap_ray.options import MAY_CHANGE, NotNegative, Section
from mocap_ray.training.options import DataOptions, ModelOptions

Count = Annotated[int, Field(ge=1, le=65_536)]
Weight = Annotated[NotNegative, MAY_CHANGE]
Share = Annotated[float, Field(ge=0, lt=1), MAY_CHANGE]


class WindowData(DataOptions):
    """Windows of the features of a data set that `mocap-ray extract` wrote; `folds` divide them by subject."""

    length: Annotated[int, Field(ge=4, le=4096)] = 120
    """Frames of a window; shorter clips are padded."""
    domains: dict[str, NotNegative] | Literal["equal", "all"] = "equal"
    """Windows of each domain in an epoch. `equal`: the same number, the larger domains subsampled anew in each epoch;
    `all`: all windows of all domains; or the weights of some domains, such as {aist: 1, mvhumannet: 2}."""

    @model_validator(mode="after")
    def _some_weight(self) -> WindowData:
        if isinstance(self.domains, dict) and not any(self.domains.values()):
            raise UserError("domains has no domain with a weight above 0; name one, or set it to equal")
        return self


class LossWeights(Section):
    """The weight of each term of the loss of a motion VAE, see `losses.terms`."""

    continuous: Weight = 1.0
    """Smooth L1 of the columns 0:259, normalised."""
    contacts: Weight = 5.0
    """Binary cross-entropy of the four contacts."""
    root: Weight = 2.0
    """Smooth L1 of the root's columns 0:4, normalised."""
    velocity: Weight = 0.05
    """Smooth L1 of the first differences over time of the columns 0:4, 67:193 and 193:259."""
    acceleration: Weight = 0.02
    """Smooth L1 of their second differences."""
    kl: Weight = 0.002
    """KL divergence from a standard normal, nats per latent number."""
    style: Weight = 0.1
    """Cross-entropy of the style that the style head predicts, where the style is known."""
    joints: Weight = 0.0
    """Distance between the decoded joints and the true ones, metres: it measures what errors of the root's velocities
    add up to. The reference has no such term."""


ONLY: dict[str, tuple[str, ...]] = {"reference": ("positions",), "default": ("compression", "free_bits")}
"""Keys that one variant alone has."""


class MotionVAEConfig(ModelOptions):
    """Options of the motion VAE."""

    kind: Literal["motion_vae"] = "motion_vae"
    """The name of this kind of model."""
    variant: Literal["default", "reference"] = "default"
    """`default`: latents compressed in time, rotary positions, any length; `reference`: FlowMimic's VAE."""
    width: Count = 512
    """Units of each block."""
    encoder_blocks: Annotated[int, Field(ge=1, le=64)] = 8
    """Transformer blocks of the encoder."""
    decoder_blocks: Annotated[int, Field(ge=1, le=64)] = 8
    """Transformer blocks of the decoder."""
    heads: Annotated[int, Field(ge=1, le=256)] = 8
    """Attention heads of a block; `width` is a multiple of it."""
    feedforward: Count = 2048
    """Hidden units of a block's feed-forward network."""
    latent: Count = 256
    """Numbers of a latent."""
    dropout: Share = 0.1
    """Dropout in the blocks."""
    condition: Count = 256
    """Units of the condition that the blocks are modulated with."""
    domain_width: Count = 16
    """Size of the embedding of a domain."""
    style_width: Count = 32
    """Size of the embedding of a style."""
    style_dropout: Share = 0.1
    """Share of the training windows whose style is hidden from the model."""
    kl_warmup_steps: Annotated[int, Field(ge=0)] = 40_000
    """Steps over which the weight of the KL term rises from 0."""
    root_late_epoch: Annotated[float, Field(ge=0)] | None = None
    """After this many epochs the weight of the root's columns is doubled; the reference does so in the last tenth of a
    training. None: never."""
    weights: LossWeights = LossWeights()
    """Weights of the terms of the loss."""
    positions: Count = 256
    """`reference`: learned positions, the longest window."""
    compression: Annotated[int, Field(ge=1, le=64)] = 4
    """`default`: frames of a latent."""
    free_bits: Annotated[NotNegative, MAY_CHANGE] = 0.0
    """`default`: nats of KL of each latent number, averaged over a batch, that cost nothing."""

    @model_validator(mode="after")
    def _consistent(self) -> MotionVAEConfig:
        if self.width % self.heads or self.width // self.heads % 2:
            raise UserError(
                f"width {self.width}: with {self.heads} heads it must be a multiple of {2 * self.heads}"
            )
        other = "default" if self.variant == "reference" else "reference"
        for name in ONLY[other]:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise UserError(f"{name}: a key of variant {other}; remove it, or set variant to {other}")
        return self


class EvaluatorConfig(ModelOptions):
    """Options of the evaluator, whose features measure how alike two sets of motion are."""

    kind: Literal["motion_evaluator"] = "motion_evaluator"
    """The name of this kind of model."""
    width: Count = 128
    """Units of each layer."""
    blocks: Annotated[int, Field(ge=1, le=8)] = 3
    """Convolutions over time; each but the last halves the frame rate."""
    features: Annotated[int, Field(ge=2, le=4096)] = 64
    """Numbers of a feature vector; a Fréchet distance needs more windows than that."""
    temperature: Annotated[float, Field(gt=0), MAY_CHANGE] = 0.1
    """Temperature of the contrastive loss."""
    style: Weight = 1.0
    """Weight of the cross-entropy of the style, where it is known."""
