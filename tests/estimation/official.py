"""Checkpoints in the layout of the reference, written by torch itself, with random numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mocap_ray.estimation.geometry import Geometry
from mocap_ray.estimation.network import Network
from tests.estimation.reference import TINY, random_network

UNTRAINED = {
    "decoder.transformer.to_token_embedding.weight": ("width", 80),
    "decoder.transformer.to_token_embedding.bias": ("width",),
    "decoder.dec_hand_cam.weight": (6, 2),
    "decoder.dec_hand_cam.bias": (6,),
    "decoder.dec_face_root_pose.weight": (6, 1),
    "decoder.dec_face_root_pose.bias": (6,),
    "decoder.dec_face_cam.weight": (3, 1),
    "decoder.dec_face_cam.bias": (3,),
}
"""What no loss of the reference reaches; the second number of a head counts tokens."""


def official_state(network: Network) -> dict[str, torch.Tensor]:
    """The state dict of the reference, untrained tensors included."""
    geometry = network.geometry
    state = dict(network.state_dict())
    for name, shape in UNTRAINED.items():
        sizes = [geometry.width if n == "width" else int(n) for n in shape]
        if "dec_" in name and len(sizes) == 2:
            sizes[1] *= geometry.token_width
        state[name] = torch.randn(*sizes)
    return state


def write_checkpoint(
    path: Path, *, geometry: Geometry = TINY, prefix: str = "module.", change: dict[str, Any] | None = None
) -> Network:
    """A checkpoint after one step of Adam, with buffers of the body model; returns its network.

    Args:
        path: the file.
        geometry: the sizes.
        prefix: before each name, as a distributed training writes them.
        change: tensors to add or to replace; those that are None are left out.
    """
    network = random_network(geometry)
    state = {**official_state(network), **(change or {})}
    names = {f"{prefix}{name}": tensor for name, tensor in state.items() if tensor is not None}
    buffers = {f"{prefix}smplx_layer.neutral.v_template": torch.zeros(10, 3)}
    moments = {
        k: {"step": torch.tensor(1.0), "exp_avg": torch.randn_like(p), "exp_avg_sq": torch.rand_like(p)}
        for k, p in enumerate(network.parameters())
    }
    groups = [{"lr": 1e-5, "betas": (0.9, 0.999), "eps": 1e-8, "params": list(range(len(names)))}]
    optimizer = {"state": moments, "param_groups": groups}
    torch.save({"epoch": 7, "network": names | buffers, "optimizer": optimizer}, path)
    return network
