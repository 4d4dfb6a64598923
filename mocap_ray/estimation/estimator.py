"""A network that is ready: image crops in, parameters of SMPL-X as arrays out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8

from mocap_ray.estimation.network import Network
from mocap_ray.estimation.read_out import read_out
from mocap_ray.estimation.weights import load_network

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True, slots=True, eq=False)
class Parameters:
    """Parameters of people in the network's own conventions: see `read_out.Estimate`."""

    poses: Float[np.ndarray, "B 55 3"]
    betas: Float[np.ndarray, "B 10"]
    expression: Float[np.ndarray, "B 10"]
    trans: Float[np.ndarray, "B 3"]


class Estimator:
    """A network on its device.

    Args:
        weights: a file of `mocap-ray estimator import`.
        device: where it runs.
        dtype: `fp32` or `bf16`.
    """

    def __init__(self, weights: str, *, device: str, dtype: str) -> None:
        self.device = torch.device(device)
        self.network: Network = load_network(weights, device=self.device, dtype=DTYPES[dtype])[0]

    def __call__(self, crops: UInt8[np.ndarray, "B 256 192 3"]) -> Parameters:
        """The parameters of the person in each crop."""
        images = torch.from_numpy(crops).to(self.device).permute(0, 3, 1, 2)
        with torch.inference_mode():
            found = read_out(self.network(images))
            poses = found.poses
        arrays = (poses, found.betas, found.expression, found.trans)
        return Parameters(*(array.float().cpu().numpy() for array in arrays))
