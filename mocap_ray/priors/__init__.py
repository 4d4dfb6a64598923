"""Pose priors, one file each, and the table that lists them.

>>> sorted(MODELS)
['gaussian_prior', 'global_flow', 'hand_vae', 'joint_flow']
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from mocap_ray.priors.coordinates import Coordinates
from mocap_ray.priors.forms import JointChoice
from mocap_ray.priors.gaussian_prior import GaussianConfig, GaussianPrior
from mocap_ray.priors.global_flow import GlobalFlow, GlobalFlowConfig
from mocap_ray.priors.hand_vae import HandVAE, HandVAEConfig
from mocap_ray.priors.joint_flow import JointFlow, JointFlowConfig
from mocap_ray.priors.prior import Prior, PriorConfig

__all__ = ["MODELS", "Coordinates", "ModelConfig", "Prior", "PriorConfig", "build", "fit_coordinates"]

MODELS: dict[str, tuple[type[PriorConfig], type[Any]]] = {
    "gaussian_prior": (GaussianConfig, GaussianPrior),
    "joint_flow": (JointFlowConfig, JointFlow),
    "global_flow": (GlobalFlowConfig, GlobalFlow),
    "hand_vae": (HandVAEConfig, HandVAE),
}
"""kind -> (config, model)."""

ModelConfig = Annotated[
    GaussianConfig | JointFlowConfig | GlobalFlowConfig | HandVAEConfig, Field(discriminator="kind")
]
"""The `model:` section of a training config, discriminated by `kind`."""


def build(config: PriorConfig, coordinates: Coordinates) -> Prior:
    """Build the model of a config, with parameters initialised from torch's global generator.

    Raises:
        UserError: the model cannot work on these coordinates (no hands, a constant axis, ...).
    """
    model: Prior = MODELS[config.kind][1](config, coordinates)
    return model


def fit_coordinates(config: PriorConfig, poses: Any, *, joints: JointChoice = "all") -> Coordinates:
    """Fit the coordinates that a model's config requires to the training split [N, 55, 3]; see `Coordinates.fit`."""
    return Coordinates.fit(
        poses,
        joints=joints,
        representation=config.representation,
        standardise=config.standardise,
        floor_deg=config.floor_deg if config.tails == "heavy" else 0.0,
    )
