"""Energy and gradient on the way from held-out poses to random rotations: what a fitting loop meets far from the data.

A density that is sharp on a thin sheet of poses has huge energies and gradients beside the sheet; one with heavy tails
rises slowly. Held-out NLLs show only poses that people make.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import roma
import torch
from jaxtyping import Float
from torch import Tensor

from mocap_ray.priors.judging.progress import Progress, silent
from mocap_ray.priors.prior import Prior

STEPS = 24
"""Points after the start; they lie closer together near it, where energies change most."""
QUANTILES = {"median": 0.5, "90 %": 0.9, "largest": 1.0}
"""Curves over the poses, by name."""


@dataclass(frozen=True, slots=True, eq=False)
class Geodesics:
    """Energies and gradients along geodesics.

    Attributes:
        poses: number of geodesics, each from another held-out pose.
        share: [T] the share t of the way, 0 to 1: each active joint is turned by t times the angle to its random
            rotation, which is 126 degrees on average.
        energy: name of a quantile over the poses -> [T] nats per active dimension.
        gradient: the same of the norm of the gradient of that energy with respect to small rotations of all joints,
            nats per rad and dimension.
        broken: points at which the energy or the gradient is not finite; excluded from the curves.
    """

    poses: int
    share: Float[np.ndarray, "T"]
    energy: dict[str, Float[np.ndarray, "T"]]
    gradient: dict[str, Float[np.ndarray, "T"]]
    broken: int

    @property
    def largest_energy(self) -> float:
        """The highest energy on any of the ways, nats per active dimension; nan if none is finite."""
        return _largest(self.energy["largest"])

    @property
    def largest_gradient(self) -> float:
        """The largest gradient on any of the ways, nats per rad and active dimension; nan if none is finite."""
        return _largest(self.gradient["largest"])


def along_geodesics(
    prior: Prior,
    poses: Float[Tensor, "N 55 3"],
    *,
    generator: torch.Generator,
    progress: Progress = silent,
) -> Geodesics:
    """Walk from each pose to rotations drawn evenly over SO(3); joints that the prior does not model stay.

    A joint is at R(t) = R_0 exp(t log(R_0^T R_1)), with R_0 its rotation in the pose and R_1 the random one. The
    gradient is with respect to w in R(t) exp(w) at w = 0, so it depends on no coordinates.

    Args:
        prior: in eval mode.
        poses: held-out poses, axis-angle.
        generator: random generator of the rotations; on the CPU, so that all devices draw the same.
        progress: is called after each step.
    """
    c = prior.coordinates
    joints = torch.tensor(c.active_joints, device=poses.device)
    q = torch.randn(len(poses), len(joints), 4, generator=generator, dtype=torch.float64)
    ends = roma.unitquat_to_rotvec(torch.nn.functional.normalize(q, dim=-1))
    start = poses[:, joints].double().cpu()
    away = roma.rotvec_composition((-start, ends)).to(poses)
    share = np.linspace(0.0, 1.0, STEPS + 1) ** 2
    energies, gradients = [], []
    for k, t in enumerate(share.tolist()):
        progress(k / len(share), "energy far from the data")
        at = poses.index_copy(1, joints, roma.rotvec_composition((poses[:, joints], t * away)))
        energy, gradient = energy_and_gradient(prior, at)
        energies.append(energy)
        gradients.append(gradient)
    by_energy, by_gradient = (torch.stack(x).double().cpu().numpy() for x in (energies, gradients))
    fine = np.isfinite(by_energy) & np.isfinite(by_gradient)
    return Geodesics(
        poses=len(poses),
        share=share,
        energy=_curves(by_energy, fine),
        gradient=_curves(by_gradient, fine),
        broken=int((~fine).sum()),
    )


def energy_and_gradient(
    prior: Prior, poses: Float[Tensor, "N 55 3"]
) -> tuple[Float[Tensor, "N"], Float[Tensor, "N"]]:
    """Energy per active dimension, and the norm of its gradient with respect to small rotations of all joints."""
    with torch.enable_grad():
        turn = torch.zeros_like(poses, requires_grad=True)
        energy = prior.energy(roma.rotvec_composition((poses, turn))) / prior.coordinates.active
        (gradient,) = torch.autograd.grad(energy.sum(), [turn])
    return energy.detach(), gradient.flatten(1).norm(dim=1)


def _curves(values: Float[np.ndarray, "T N"], fine: np.ndarray) -> dict[str, Float[np.ndarray, "T"]]:
    """Quantiles over the finite values of each row; nan for a row without any."""
    rows = [row[ok] for row, ok in zip(values, fine, strict=True)]
    return {
        name: np.array([np.quantile(row, q) if len(row) else np.nan for row in rows])
        for name, q in QUANTILES.items()
    }


def _largest(curve: Float[np.ndarray, "T"]) -> float:
    return float(np.nanmax(curve)) if np.isfinite(curve).any() else float("nan")
