"""The section `model` of a config for a rectified flow in the latents of a motion VAE."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mocap_ray.errors import UserError
from mocap_ray.generation.options import Count, Share, WindowData
from mocap_ray.options import IS_PATH, MAY_CHANGE, Section
from mocap_ray.training.options import ModelOptions

Rate = Annotated[float, Field(ge=0, le=1)]


class ConditionRates(Section):
    """The share of training windows that have each condition; a model does not have those with rate 0."""

    domain: Rate = 0.9
    """Domain of the clip."""
    style: Rate = 0.9
    """Style of the clip, where it is known."""
    action: Rate = 0.9
    """Label of the clip (column `action`), where it has one."""
    length: Rate = 0.9
    """Number of frames."""
    text: Rate = 0.0
    """A caption of the clip (column `texts`), where it has one; needs the extra `text`."""
    keypoints: Rate = 0.3
    """2-D keypoints of five frames, seen by a random camera."""
    frames: Rate = 0.3
    """Given frames: a beginning, a beginning and an end, or single frames."""
    path: Rate = 0.3
    """The path of the root on the ground, whole or at single frames."""


class FlowConfig(ModelOptions):
    """Options of the rectified flow of motion."""

    kind: Literal["motion_flow"] = "motion_flow"
    """The name of this kind of model."""
    vae: Annotated[str | None, IS_PATH] = None
    """Path or URI of a trained `motion_vae`; its weights become part of the checkpoints. Not read with `teacher`."""
    teacher: Annotated[str | None, IS_PATH] = None
    """Path or URI of a trained `motion_flow` of the same sizes, from whose weights the training starts."""
    width: Count = 512
    """Units of each block."""
    blocks: Annotated[int, Field(ge=1, le=64)] = 8
    """Transformer blocks."""
    heads: Annotated[int, Field(ge=1, le=256)] = 8
    """Attention heads of a block; `width` is a multiple of it."""
    feedforward: Count = 2048
    """Hidden units of a block's feed-forward network."""
    dropout: Share = 0.0
    """Dropout in the blocks."""
    conditions: ConditionRates = ConditionRates()
    """How often the training shows each condition."""
    unconditional: Share = 0.1
    """Share of training windows that have no condition at all, for classifier-free guidance."""
    time_mean: Annotated[float, MAY_CHANGE] = 0.0
    """Mean of the logit of the time of a training sample, which is normally distributed."""
    time_std: Annotated[float, Field(gt=0), MAY_CHANGE] = 1.0
    """Deviation of that logit."""

    @model_validator(mode="after")
    def _consistent(self) -> FlowConfig:
        if self.width % self.heads or self.width // self.heads % 2:
            raise UserError(
                f"width {self.width}: with {self.heads} heads it must be a multiple of {2 * self.heads}"
            )
        if self.vae is None and self.teacher is None:
            raise UserError(
                "vae: expected the path of a trained motion_vae; mocap-ray train motion_vae makes one"
            )
        return self


class FlowData(WindowData):
    """Windows of the features of a data set; or pairs of noise and latents, for the student of a flow."""

    pairs: Annotated[str | None, IS_PATH] = None
    """Path or URI of pairs that `mocap-ray reflow` drew with `model.teacher`: the student trains on them, and on no
    windows."""
