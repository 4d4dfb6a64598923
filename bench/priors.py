"""Training steps per second of each prior and of the reference's implementation, side by side, on the CPU.

A step is forward, backward and AdamW on generated poses with all 55 joints active (hands for hand_vae), at the
reference's batch sizes. The reference runs with torch's default AdamW, as in its own code, and with the fused one that
we use. Ours runs with the reference's definition, and with the settings in configs/train, which may compute more
(splines, rotations about means).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.reference_priors import (
    ReferenceGaussian,
    ReferenceGlobalFlow,
    ReferenceHandVAE,
    ReferenceJointFlow,
)
from mocap_ray import config as configs
from mocap_ray.priors import MODELS, Prior, PriorConfig, build, fit_coordinates
from mocap_ray.runs.train import TrainConfig

BATCH = {"gaussian_prior": 32, "joint_flow": 16, "global_flow": 32, "hand_vae": 8192}
STEPS = {"gaussian_prior": 50, "joint_flow": 10, "global_flow": 10, "hand_vae": 1}
TURNS = 5


def poses(n: int, *, seed: int = 0) -> Tensor:
    """Rotation vectors [n, 55, 3] that vary in every axis, correlated within a pose."""
    generator = torch.Generator().manual_seed(seed)
    latent = torch.randn(n, 20, generator=generator)
    mix = torch.randn(20, 165, generator=generator) / 20**0.5
    wobble = torch.randn(n, 165, generator=generator)
    return (0.3 * torch.tanh(latent @ mix) + 0.05 * wobble).reshape(n, 55, 3)


def reference(kind: str, prior: Prior) -> nn.Module:
    D = prior.coordinates.active
    if kind == "joint_flow":
        return ReferenceJointFlow(prior.coordinates.parents())
    if kind == "global_flow":
        return ReferenceGlobalFlow(D)
    return ReferenceGaussian(D) if kind == "gaussian_prior" else ReferenceHandVAE(D)


def steps_per_second(loss: Callable[[], Tensor], model: nn.Module, *, steps: int, fused: bool) -> float:
    """Training steps per second in one turn."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=fused)
    start = 0.0
    for k in range(steps + 2):
        if k == 2:
            start = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        loss().backward()
        optimiser.step()
    return steps / (time.perf_counter() - start)


def models_to_race() -> list[tuple[str, PriorConfig]]:
    """Each model with the reference's definition, and as shipped if that differs."""
    found = []
    for kind, (config_class, _) in MODELS.items():
        shipped = configs.load(kind, TrainConfig, kind="train").model
        found.append((kind, config_class()))
        if shipped != config_class():
            found.append((f"{kind} as shipped", shipped))
    return found


def measure() -> dict[str, float]:
    """Median steps/s of five turns of each, taken in turn, and the medians of the turns' ratios."""
    figures: dict[str, float] = {}
    some = poses(8192)
    torch.manual_seed(0)
    for label, config in models_to_race():
        kind = config.kind
        prior = build(config, fit_coordinates(config, some, joints="hands" if kind == "hand_vae" else "all"))
        baseline = reference(kind, prior)
        batch = some[: BATCH[kind]]
        x = prior.coordinates.encode(batch)[0]

        ours_loss = lambda prior=prior, batch=batch: prior.loss(batch)[0]  # noqa: E731
        baseline_loss = lambda model=baseline, x=x: -model.log_prob(x).mean()  # noqa: E731
        turns = []
        for _ in range(TURNS):
            n = STEPS[kind]
            ours = steps_per_second(ours_loss, prior, steps=n, fused=True)
            theirs = steps_per_second(baseline_loss, baseline, steps=n, fused=False)
            theirs_fused = steps_per_second(baseline_loss, baseline, steps=n, fused=True)
            turns.append((ours, theirs, ours / theirs, ours / theirs_fused))
        names = (
            "steps/s",
            "steps/s, reference",
            "times the reference",
            "times the reference with fused AdamW",
        )
        for name, values in zip(names, zip(*turns, strict=True), strict=True):
            figures[f"{label}, batch {BATCH[kind]}: {name}"] = statistics.median(values)
        figures[f"{label}: parameters"] = sum(p.numel() for p in prior.parameters())
    return figures
