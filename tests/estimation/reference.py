"""Outputs of the reference at a tiny size (../shared/estimator), and networks to try things with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mocap_ray.estimation.geometry import Geometry
from mocap_ray.estimation.network import Network

TINY = Geometry(width=32, depth=2, heads=4, token_width=8)
"""The size of `fixture.npz`; not one of the depth counts or widths in use."""


@dataclass(frozen=True)
class Reference:
    """What the reference gave.

    Attributes:
        state: its weights, with the names of the published checkpoint.
        values: `fixture.npz`.
    """

    state: dict[str, torch.Tensor]
    values: dict[str, np.ndarray]

    @classmethod
    def read(cls, shared: Path) -> Reference:
        folder = shared / "estimator"
        state = torch.load(folder / "fixture_state.pt", weights_only=True)["network"]
        with np.load(folder / "fixture.npz") as file:
            return cls(state, {name: file[name] for name in file.files if file[name].dtype.kind in "fuib"})

    @property
    def network(self) -> Network:
        network = Network(TINY)
        network.load_state_dict({name: self.state[name] for name in network.state_dict()})
        return network.eval()

    def tensor(self, name: str) -> torch.Tensor:
        return torch.as_tensor(self.values[name])


def facts(shared: Path, name: str) -> dict[str, Any]:
    """A JSON file of the reference."""
    found: dict[str, Any] = json.loads((shared / "estimator" / name).read_text())
    return found


def random_network(geometry: Geometry = TINY, *, seed: int = 0) -> Network:
    """A network whose weights, norms and biases are all random."""
    generator = torch.Generator().manual_seed(seed)
    network = Network(geometry)
    for name, parameter in network.named_parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=generator)
        if "norm" in name and name.endswith("weight"):
            parameter.data += 1
    return network.eval()
