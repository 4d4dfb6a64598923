"""Poses and priors made for the tests: nothing is read from disk."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from mocap_ray.priors import MODELS, Prior, build, fit_coordinates

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "gaussian_prior": [
        {},
        {"tails": "gaussian"},
        {"standardise": "none"},
        {"standardise": "joint", "representation": "tangent"},
    ],
    "joint_flow": [
        {"hidden": 8},
        {"hidden": 8, "tails": "gaussian"},
        {"hidden": 8, "dof": None},
        {"hidden": 8, "condition": "ancestors"},
        {"hidden": 8, "K": 3, "representation": "tangent"},
        {"hidden": 8, "standardise": "none"},
        {"hidden": 8, "standardise": "joint", "representation": "tangent"},
    ],
    "global_flow": [
        {"hidden": 16, "K": 2},
        {"hidden": 16, "K": 2, "tails": "gaussian"},
        {"hidden": 16, "K": 2, "coupling": "spline"},
        {"hidden": 16, "K": 2, "coupling": "spline", "standardise": "joint", "jitter": 0.1},
        {"hidden": 16, "K": 3, "standardise": "none", "representation": "tangent"},
        {"hidden": 16, "K": 2, "use_actnorm": False},
    ],
    "hand_vae": [
        {"hidden": 16, "z_dim": 4},
        {"hidden": 16, "z_dim": 4, "tails": "heavy"},
        {"hidden": 16, "z_dim": 4, "n_layers": 1},
        {"hidden": 16, "z_dim": 4, "type": "so3"},
        {"hidden": 16, "z_dim": 4, "type": "so3", "representation": "tangent"},
        {"hidden": 16, "z_dim": 4, "type": "so3", "standardise": "joint"},
        {"hidden": 16, "z_dim": 4, "standardise": "none"},
    ],
}
"""Each kind's options that change how it computes, in small."""
ALL = [(kind, options) for kind, several in VARIANTS.items() for options in several]
IDS = [f"{kind}-{'-'.join(map(str, o.values())) or 'default'}" for kind, o in ALL]


def poses(n: int, *, seed: int = 0, spread: float = 0.3) -> Tensor:
    """Rotation vectors [n, 55, 3] float64: a mean pose far from rest, every axis varying, angles below pi."""
    generator = torch.Generator().manual_seed(seed)
    mean = 0.5 * torch.randn(55, 3, generator=torch.Generator().manual_seed(99), dtype=torch.float64)
    latent = torch.randn(n, 6, generator=generator, dtype=torch.float64)
    mix = torch.randn(6, 165, generator=torch.Generator().manual_seed(98), dtype=torch.float64) / 3
    wobble = 0.3 * torch.randn(n, 165, generator=generator, dtype=torch.float64)
    return mean + spread * torch.tanh(latent @ mix + wobble).reshape(n, 55, 3)


def hard_rotations(n: int, *, seed: int = 0) -> Tensor:
    """Canonical rotation vectors [n, 55, 3] float64, most at or near angle 0 or pi."""
    generator = torch.Generator().manual_seed(seed)
    axis = torch.randn(n, 55, 3, generator=generator, dtype=torch.float64)
    axis = axis / axis.norm(dim=-1, keepdim=True)
    choices = [0.0, 1e-15, 1e-9, 1e-6, 1e-4, 1e-2, 1.0, 3.0, math.pi - 1e-4, math.pi - 1e-7, math.pi - 1e-12]
    choices.append(math.pi * (1 - 1e-16))
    angle = torch.tensor(choices, dtype=torch.float64)
    return axis * angle[torch.randint(len(choices), (n, 55, 1), generator=generator)]


def prior(kind: str, options: dict[str, Any], *, train: Tensor | None = None, joints: Any = None) -> Prior:
    """A float64 model in evaluation mode, moved away from its start so that nothing is the identity by chance."""
    config = MODELS[kind][0](**options)
    chosen = joints or ("hands" if kind == "hand_vae" else "all")
    torch.manual_seed(3)
    model = build(config, fit_coordinates(config, poses(300) if train is None else train, joints=chosen))
    model = model.double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p += 0.05 * torch.randn_like(p)
    return model


def reference() -> ModuleType:
    """`bench/reference_priors.py`: the naive twin."""
    path = Path(__file__).resolve().parents[2] / "bench" / "reference_priors.py"
    spec = importlib.util.spec_from_file_location("reference_priors", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
