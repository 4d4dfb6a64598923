"""The training task of models of the latents of a motion VAE."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from mocap_ray.dataset.views import DataSetError
from mocap_ray.errors import UserError
from mocap_ray.generation.flow_facts import ClipTable, FlowFacts, actions_of
from mocap_ray.generation.flow_options import FlowConfig, FlowData
from mocap_ray.generation.labels import Labels
from mocap_ray.generation.load import model_of
from mocap_ray.generation.motion_flow import MotionFlow
from mocap_ray.generation.motion_vae import MotionVAE
from mocap_ray.generation.pairs import PairRows, Pairs
from mocap_ray.generation.task import WORDS, WindowTask
from mocap_ray.generation.text import embedded
from mocap_ray.storage import place
from mocap_ray.training.checkpoint import CheckpointError
from mocap_ray.training.rows import RowSource
from mocap_ray.training.task import Facts, Role, TaskKind
from mocap_ray.training.trained import read_trained


class LatentTask(WindowTask):
    """A rectified flow in the latents of a trained VAE; its rows are windows, which the VAE encodes in each step."""

    config: FlowConfig
    data: FlowData

    def __init__(self, model: FlowConfig, data: FlowData) -> None:
        """Take the sections `model` and `data` of a config."""
        super().__init__(model, data, make=MotionFlow)

    @cached_property
    def vae(self) -> tuple[MotionVAE, str]:
        """The VAE and the sha256 of its tensors: that of the teacher if there is one. Read once. Raises UserError."""
        if self.config.teacher is not None:
            teacher, _ = self.teacher
            return teacher.vae, teacher.facts.vae_hash
        assert self.config.vae is not None, "checked by the config"
        trained = read_trained(self.config.vae, WORDS)
        model = model_of(trained)
        if not isinstance(model, MotionVAE):
            kind = trained.about["model"]["kind"]
            raise UserError(f"model.vae: {self.config.vae} is a {kind}. Expected a training of motion_vae.")
        return model, trained.digest()

    @property
    def _vae_path(self) -> str:
        return str(self.config.vae if self.config.teacher is None else self.config.teacher)

    @cached_property
    def teacher(self) -> tuple[MotionFlow, str]:
        """The teacher and the sha256 of its tensors, read once. Raises UserError."""
        path = self.config.teacher
        if path is None:
            raise UserError("data.pairs: set model.teacher to the motion_flow that drew them.")
        trained = read_trained(path, WORDS)
        model = model_of(trained)
        if not isinstance(model, MotionFlow):
            kind = trained.about["model"]["kind"]
            raise UserError(f"model.teacher: {path} is a {kind}. Expected a training of motion_flow.")
        return model, trained.digest()

    @cached_property
    def pairs(self) -> Pairs | None:
        """The pairs to train on, opened once; None: windows. Raises UserError."""
        if self.data.pairs is None:
            return None
        (teacher, digest), pairs = self.teacher, Pairs.open(self.data.pairs)
        if pairs.teacher != digest or pairs.width != teacher.facts.vae.latent:
            raise DataSetError(
                f"{pairs.root}: these pairs were drawn by another flow than model.teacher ({self.config.teacher}). "
                "Name the one that drew them, or draw new ones with `mocap-ray reflow`."
            )
        return pairs

    @cached_property
    def labels(self) -> Labels:
        """The domains and styles of the VAE; styles that it does not know count as unknown."""
        return self.vae[0].facts.labels

    def check(self) -> Facts:
        """Compare the VAE with the data set, and read sizes from the index. Raises UserError."""
        if self.pairs is None:
            self._facts()
            return super().check()
        train, val = self.rows("train"), self.rows("val")
        assert train is not None
        rows, val_rows = (sum(r.counts.values()) if r else 0 for r in (train, val))
        if not rows:
            raise train.empty()
        data_hash = hashlib.sha256(place(self.pairs.root).read("manifest.json")).hexdigest()
        return Facts(rows, val_rows, train.row_bytes, data_hash)

    def rows(self, role: Role) -> RowSource | None:  # type: ignore[override]
        """The windows or the pairs of a split."""
        if self.pairs is None:
            return super().rows(role)
        split = self.data.train if role == "train" else self.data.val
        if role == "val" and split not in {shard.split for shard in self.pairs.shards}:
            return None
        teacher, _ = self.teacher
        return PairRows(self.pairs, split, teacher.facts, teacher.vae.coder.compression)

    def _facts(self) -> FlowFacts:
        """What the model knows. Raises UserError if the VAE does not fit the data set."""
        if self.pairs is not None:
            return replace(self.teacher[0].facts, reflow=True)
        source, (vae, digest) = self.source, self.vae
        known, rates = vae.facts, sorted(set(source.index["fps"].to_pylist()))
        for what, found, expected in (
            ("profile", source.profile, known.profile),
            ("frame rate", ", ".join(f"{rate:g} fps" for rate in rates), f"{known.fps:g} fps"),
        ):
            if found != expected:
                raise DataSetError(
                    f"{self.data.root}: its {what} is {found}, and that of the VAE {self._vae_path} is {expected}. "
                    "Choose a VAE that was trained on this data set, with model.vae."
                )
        other = [name for name in source.domains if name not in known.labels.domains]
        if other:
            raise DataSetError(
                f"{self.data.root}: the VAE {self._vae_path} does not know its domain '{other[0]}'. It knows "
                f"{', '.join(known.labels.domains)}; choose another one with model.vae."
            )
        actions = actions_of(source, split=self.data.train)
        return FlowFacts(
            known.labels, known.fps, known.profile, self.data.length, actions, vae.config, known, digest
        )

    def model(self, sample: Float[np.ndarray, "N R W"]) -> MotionFlow:
        """A new flow with the weights of the VAE."""
        model = MotionFlow(self.config, self._facts())
        if self.config.teacher is None:
            model.vae.load_state_dict(self.vae[0].state_dict())
        else:
            self._start_from_teacher(model)
        return self._with_clips(model)

    def _start_from_teacher(self, model: MotionFlow) -> None:
        """Copy the weights of the teacher. Raises UserError if its sizes are others."""
        found, expected = (m.state_dict() for m in (self.teacher[0], model))
        for name in sorted(found.keys() | expected.keys()):
            a, b = (tuple(d[name].shape) if name in d else "missing" for d in (found, expected))
            if a != b:
                raise UserError(
                    f"model.teacher: {self.config.teacher} has other sizes than this model: {name} is {a}, expected "
                    f"{b}. Set the keys of model as in its config.yaml."
                )
        model.load_state_dict(found)

    def restored(self, description: Mapping[str, Any]) -> MotionFlow:
        """The model of a description. Raises CheckpointError if the VAE is another one now."""
        facts = FlowFacts.of(description)
        if facts.vae_hash != self.vae[1]:
            raise CheckpointError(
                f"{self._vae_path}: not the VAE that this training began with (other weights). Restore it, or train "
                "into another folder."
            )
        return self._with_clips(MotionFlow(self.config, facts))

    def _with_clips(self, model: MotionFlow) -> MotionFlow:
        """The model with the actions and captions of the clips of this data set."""
        rates = self.config.conditions
        if self.pairs is not None:
            if self.pairs.texts and rates.text:
                model.clips = replace(ClipTable.none(), text=torch.from_numpy(embedded(self.pairs.texts)))
            return model
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


LATENT_KIND = TaskKind(FlowConfig, FlowData, LatentTask)
