"""The training task of models of the latents of a motion VAE."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from mocap_ray.dataset.views import DataSetError
from mocap_ray.errors import UserError
from mocap_ray.generation.flow_facts import ClipTable, FlowFacts, actions_of
from mocap_ray.generation.flow_options import FlowConfig
from mocap_ray.generation.labels import Labels
from mocap_ray.generation.load import model_of
from mocap_ray.generation.motion_flow import MotionFlow
from mocap_ray.generation.motion_vae import MotionVAE
from mocap_ray.generation.options import WindowData
from mocap_ray.generation.task import WORDS, WindowTask
from mocap_ray.training.checkpoint import CheckpointError
from mocap_ray.training.task import Facts, TaskKind
from mocap_ray.training.trained import read_trained


class LatentTask(WindowTask):
    """A rectified flow in the latents of a trained VAE; its rows are windows, which the VAE encodes in each step."""

    config: FlowConfig

    def __init__(self, model: FlowConfig, data: WindowData) -> None:
        """Take the sections `model` and `data` of a config."""
        super().__init__(model, data, make=MotionFlow)

    @cached_property
    def vae(self) -> tuple[MotionVAE, str]:
        """The VAE and the sha256 of its tensors, read once. Raises UserError."""
        trained = read_trained(self.config.vae, WORDS)
        model = model_of(trained)
        if not isinstance(model, MotionVAE):
            kind = trained.about["model"]["kind"]
            raise UserError(f"model.vae: {self.config.vae} is a {kind}. Expected a training of motion_vae.")
        return model, trained.digest()

    @cached_property
    def labels(self) -> Labels:
        """The domains and styles of the VAE; styles that it does not know count as unknown."""
        return self.vae[0].facts.labels

    def check(self) -> Facts:
        """Compare the VAE with the data set, and read sizes from the index. Raises UserError."""
        self._facts()
        return super().check()

    def _facts(self) -> FlowFacts:
        """What the model knows. Raises UserError if the VAE does not fit the data set."""
        source, (vae, digest) = self.source, self.vae
        known, rates = vae.facts, sorted(set(source.index["fps"].to_pylist()))
        for what, found, expected in (
            ("profile", source.profile, known.profile),
            ("frame rate", ", ".join(f"{rate:g} fps" for rate in rates), f"{known.fps:g} fps"),
        ):
            if found != expected:
                raise DataSetError(
                    f"{self.data.root}: its {what} is {found}, and that of the VAE {self.config.vae} is {expected}. "
                    "Choose a VAE that was trained on this data set, with model.vae."
                )
        other = [name for name in source.domains if name not in known.labels.domains]
        if other:
            raise DataSetError(
                f"{self.data.root}: the VAE {self.config.vae} does not know its domain '{other[0]}'. It knows "
                f"{', '.join(known.labels.domains)}; choose another one with model.vae."
            )
        actions = actions_of(source, split=self.data.train)
        return FlowFacts(
            known.labels, known.fps, known.profile, self.data.length, actions, vae.config, known, digest
        )

    def model(self, sample: Float[np.ndarray, "N R 263"]) -> MotionFlow:
        """A new flow with the weights of the VAE."""
        model = MotionFlow(self.config, self._facts())
        model.vae.load_state_dict(self.vae[0].state_dict())
        return self._with_clips(model)

    def restored(self, description: Mapping[str, Any]) -> MotionFlow:
        """The model of a description. Raises CheckpointError if the VAE is another one now."""
        facts = FlowFacts.of(description)
        if facts.vae_hash != self.vae[1]:
            raise CheckpointError(
                f"{self.config.vae}: not the VAE that this training began with (other weights). Restore it, or train "
                "into another folder."
            )
        return self._with_clips(MotionFlow(self.config, facts))

    def _with_clips(self, model: MotionFlow) -> MotionFlow:
        """The model with the actions and captions of the clips of this data set."""
        rates = self.config.conditions
        if rates.action or rates.text:
            model.clips = ClipTable.of(self.source, model.facts.actions, text=rates.text > 0)
        return model

    def summary(self, model: MotionFlow) -> dict[str, Any]:
        """The number of domains, styles and actions, and the VAE."""
        facts = model.facts
        return {**super().summary(model), "actions": list(facts.actions), "vae_sha256": facts.vae_hash}

    def picture(self, model: MotionFlow, *, count: int) -> UInt8[np.ndarray, "H W 3"] | None:
        """No picture."""
        return None


LATENT_KIND = TaskKind(FlowConfig, WindowData, LatentTask)
