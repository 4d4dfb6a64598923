"""TensorBoard files: curves, which have no duplicates after a resume, and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mocap_ray import priors
from mocap_ray.priors import Coordinates
from mocap_ray.priors.gaussian_prior import GaussianConfig
from mocap_ray.training.callbacks import EpochReport, TrainStart
from mocap_ray.training.tensorboard import TensorBoardFiles


def _report(epoch: int) -> EpochReport:
    return EpochReport(
        epoch=epoch, epochs=9, step=10 * epoch, train={"loss": 1.0 / epoch, "nll": 1.0}, val={"loss": 2.0 / epoch},
        judged=1.0, best=True, best_loss=1.0, best_epoch=epoch, learning_rate=0.1, grad_norm=1.0,
        grad_norm_max=2.0, samples_per_s=3.0, waiting=0.1, seconds=1.0, eta_s=2.0,
    )  # fmt: skip


def _start(epoch: int) -> TrainStart:
    return TrainStart(epoch=epoch, step=10 * epoch, epochs=9, parameters=5, device="CPU", world=1)


def _read(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    return found


@pytest.fixture(scope="module")
def prior() -> Any:
    poses = 0.3 * torch.randn(50, 55, 3, generator=torch.Generator().manual_seed(0))
    return priors.build(GaussianConfig(), Coordinates.fit(poses))


def test_a_resumed_training_continues_the_same_curves(tmp_path: Path, prior: Any) -> None:
    def picture(model: Any) -> np.ndarray:
        assert model is prior
        return np.zeros((4, 6, 3), np.uint8)

    for first, last in ((1, 5), (3, 6)):  # the checkpoint is of epoch 2; later epochs are repeated
        files = TensorBoardFiles(tmp_path, picture=picture)
        files.on_start(_start(first - 1))
        for epoch in range(first, last):
            files.on_epoch_end(_report(epoch), prior)
        files.on_end()
    found = _read(tmp_path)
    points = found.Scalars("train/loss")
    assert [p.step for p in points] == [10, 20, 30, 40, 50]
    assert [p.value for p in points] == pytest.approx([1 / k for k in range(1, 6)])
    assert {"val/loss", "training/learning_rate", "training/grad_norm", "training/waiting"} <= set(
        found.Tags()["scalars"]
    )
    assert found.Tags()["images"] == ["samples"]
    assert "mean" in found.Tags()["distributions"]
