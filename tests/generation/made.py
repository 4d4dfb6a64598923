"""Small motion models and data sets made for the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mocap_ray.generation import MODELS
from mocap_ray.generation.description import MotionFacts
from mocap_ray.generation.labels import Labels
from mocap_ray.runs.train import TrainConfig
from mocap_ray.training.task import TrainingSetup
from tests.dataset.made import make

FACTS = MotionFacts(Labels(("amass", "aist"), ("calm", "old")), 20.0, "humanml3d", 24)
TINY: dict[str, Any] = {
    "width": 16, "heads": 2, "encoder_blocks": 1, "decoder_blocks": 1, "feedforward": 32, "latent": 4,
    "condition": 8, "domain_width": 4, "style_width": 4, "dropout": 0.0, "kl_warmup_steps": 10,
}  # fmt: skip
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("motion_vae", {**TINY}),
    ("motion_vae", {**TINY, "weights": {"joints": 1.0}, "free_bits": 0.1, "compression": 3}),
    ("motion_vae", {**TINY, "variant": "reference", "positions": 32}),
    ("motion_evaluator", {"width": 16, "blocks": 3, "features": 8}),
]
"""Each kind with options that change how it computes, in small."""
IDS = ["default", "joints", "reference", "evaluator"]


def model(kind: str, options: dict[str, Any], *, facts: MotionFacts = FACTS) -> Any:
    """A model in eval mode with statistics that are not trivial."""
    section, build = MODELS[kind]
    torch.manual_seed(3)
    made = build(section(kind=kind, **options), facts)
    with torch.no_grad():
        made.mean.uniform_(-0.1, 0.1)
        made.std.uniform_(0.5, 1.5)
        made.mean[259:], made.std[259:] = 0.0, 1.0
    return made.eval()


def rows(lengths: list[int], *, size: int = 24, seed: int = 0) -> Tensor:
    """Rows of `batch.unpack` with random features, styles in turn 0, 1, 2 and domains in turn 0, 1."""
    generator = torch.Generator().manual_seed(seed)
    out = torch.zeros(len(lengths), 1 + size, 263)
    for k, length in enumerate(lengths):
        out[k, 0, :5] = torch.tensor([length, 0, k % 2, k % 3, k])
        features = 0.3 * torch.randn(length, 263, generator=generator)
        features[:, 259:] = (features[:, 259:] > 0).float()
        out[k, 1 : 1 + length] = features
    return out


def two_domains(root: Path) -> Path:
    """A data set with the domains aist (5 recordings to train on) and amass (2), two styles and some without."""
    make(
        root,
        clips={("AIST", "train"): 5, ("AIST", "val"): 1, ("CMU", "train"): 2, ("CMU", "val"): 1},
        columns=("features",),
        frames=21,
        domains={"AIST": "aist", "CMU": "amass"},
        styles=("calm", "old", None),
    )
    return root


def values(data_set: Path, out: Path, **sections: dict[str, Any]) -> dict[str, Any]:
    """The values of a small training."""
    plain: dict[str, dict[str, Any]] = {
        "model": {"kind": "motion_vae", **TINY},
        "data": {"root": str(data_set), "length": 24, "batch_size": 16},
        "training": {"max_epochs": 3, "learning_rate": 3e-3, "patience": None},
        "output": {"root": str(out), "tensorboard": False},
        "ray": {"workers": 1, "gpus_per_worker": 0},
    }
    for name, section in sections.items():
        plain[name] = section if "kind" in section else {**plain.get(name, {}), **section}
    return plain


def setup(data_set: Path, out: Path, **sections: dict[str, Any]) -> TrainingSetup[Any]:
    """A small training."""
    return TrainConfig.model_validate(values(data_set, out, **sections)).setup()
