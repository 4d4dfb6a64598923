"""Steps per second of the motion VAE, against a straightforward implementation of the reference, in one process.

Both train in turn on windows of 120 frames of random numbers, on one core, at width 128 with 2 + 2 blocks: the full
size takes half a minute a step. Figures are the CPU time of the process, the median of a few rounds, so that other
processes do not count.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from bench.reference_vae import PlainVAE, step
from mocap_ray.generation.batch import HEADER, unpack
from mocap_ray.generation.description import MotionFacts
from mocap_ray.generation.labels import Labels
from mocap_ray.generation.motion_vae import MotionVAE
from mocap_ray.generation.options import LossWeights, MotionVAEConfig
from mocap_ray.training.loop import Loop
from mocap_ray.training.options import TrainingOptions
from mocap_ray.training.task import TaskWords
from mocap_ray.training.team import Team

FACTS = MotionFacts(Labels(("a", "b"), tuple(map(str, range(10)))), 30.0, "flowmimic", 120)
SMALL: dict[str, Any] = {
    "width": 128, "heads": 4, "encoder_blocks": 2, "decoder_blocks": 2, "feedforward": 512,
}  # fmt: skip
ROUNDS, STEPS = 5, 3


def measure() -> dict[str, float]:
    """All figures by name."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _in_turn(SMALL, windows=32)
    finally:
        torch.set_num_threads(threads)


def rows(windows: int, frames: int = 120) -> torch.Tensor:
    """Rows of `generation.batch` with random features, some windows shorter."""
    generator = torch.Generator().manual_seed(0)
    out = torch.zeros(windows, 1 + frames, 263)
    for k in range(windows):
        length = frames if k % 3 else frames // 2
        out[k, 0, : len(HEADER)] = torch.tensor([length, 0, k % 2, k % 11, k])
        out[k, 1 : 1 + length] = 0.3 * torch.randn(length, 263, generator=generator)
        out[k, 1:, 259:] = (out[k, 1:, 259:] > 0).float()
    return out


def _in_turn(size: dict[str, Any], *, windows: int) -> dict[str, float]:
    batch = rows(windows)
    ours = {
        "variant reference": _loop({**size, "variant": "reference"}),
        "variant reference, bf16": _loop({**size, "variant": "reference"}, precision="bf16"),
        "variant default": _loop({**size, "dropout": 0.0, "weights": LossWeights(joints=1.0)}),
    }
    works: dict[str, Callable[[], None]] = {"plain": _plain(size, batch)}
    works |= {name: _steps(loop, batch) for name, loop in ours.items()}
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, work in works.items():
            start = time.process_time()
            for _ in range(STEPS):
                work()
            seconds[name].append((time.process_time() - start) / STEPS)
    # The first round warms up.
    middle = {name: statistics.median(each[1:]) for name, each in seconds.items()}
    figures = {f"{name}: steps/s": 1 / s for name, s in middle.items()}
    return figures | {f"{name} / plain": middle["plain"] / s for name, s in middle.items() if name != "plain"}


def _plain(size: dict[str, Any], batch: torch.Tensor) -> Callable[[], None]:
    model = PlainVAE(
        width=size["width"], blocks=size["encoder_blocks"], heads=size["heads"], hidden=size["feedforward"],
        latent=256, domains=2, styles=11,
    )  # fmt: skip
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-4, weight_decay=1e-2)
    windows = unpack(batch)

    def work() -> None:
        step(
            model, optimiser, (windows.features, windows.domain, windows.style, windows.mask), kl_weight=0.002
        )

    return work


def _loop(config: dict[str, Any], **options: Any) -> Loop:
    torch.manual_seed(0)
    model = MotionVAE(MotionVAEConfig(**config), FACTS).train()
    settings = TrainingOptions(learning_rate=2e-4, weight_decay=1e-2, scheduler="none", **options)
    return Loop(model, settings, Team(), kept="", words=TaskWords())


def _steps(loop: Loop, batch: torch.Tensor) -> Callable[[], None]:
    def work() -> None:
        loop._update(batch, list, 0.0, 2e-4)

    return work
