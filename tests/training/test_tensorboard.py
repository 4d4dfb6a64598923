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
from mocap_ray.training.callbacks import CallbackList, EpochReport, StepLosses, TrainStart
from mocap_ray.training.fit import fit
from mocap_ray.training.options import TrainingOptions
from mocap_ray.training.tensorboard import TensorBoardFiles, hparams
from tests.training.small import Log, batches, line, rows


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
    points = found.Scalars("loss/train")
    assert [p.step for p in points] == [10, 20, 30, 40, 50]
    assert [p.value for p in points] == pytest.approx([1 / k for k in range(1, 6)])
    assert {"loss/val", "optimiser/learning_rate", "optimiser/grad_norm", "speed/waiting"} <= set(
        found.Tags()["scalars"]
    )
    assert found.Tags()["images"] == ["samples"]
    assert "weights/mean" in found.Tags()["distributions"]


def test_the_loss_comes_first_and_the_histograms_last(tmp_path: Path, prior: Any) -> None:
    files = TensorBoardFiles(tmp_path, picture=lambda model: np.zeros((4, 6, 3), np.uint8))
    files.on_start(_start(0))
    files.on_epoch_end(_report(1), prior)
    files.on_end()
    tags = _read(tmp_path).Tags()
    # TensorBoard sorts by the part before the first slash.
    groups = sorted(
        {tag.partition("/")[0] for kind in ("scalars", "images", "histograms") for tag in tags[kind]}
    )
    assert (groups[0], groups[-1]) == ("loss", "weights")
    assert {tag.partition("/")[0] for tag in tags["histograms"]} == {"weights"}


def test_the_loss_has_points_within_an_epoch_whose_mean_is_that_of_the_epoch(tmp_path: Path) -> None:
    data = rows(1230)  # 123 steps: a point is the mean of one step, as there are fewer than 200
    model = line()
    log = Log()
    options = TrainingOptions(max_epochs=2, patience=None)
    fit(model, batches(data), options=options, callback=CallbackList([log, TensorBoardFiles(tmp_path)]))
    points = _read(tmp_path).Scalars("loss/train_step")
    assert [p.step for p in points] == list(range(1, 247))
    assert np.mean([p.value for p in points[:123]]) == pytest.approx(log.losses[0], rel=1e-5)
    assert np.mean([p.value for p in points[123:]]) == pytest.approx(log.losses[1], rel=1e-5)


def test_a_long_epoch_has_about_a_hundred_points(tmp_path: Path) -> None:
    files = TensorBoardFiles(tmp_path)
    files.on_start(_start(0))
    for first in range(0, 5050, 50):  # as reported about once a second
        files.on_steps(StepLosses(first + 50, (1.0,) * 25 + (3.0,) * 25, of=5050))
    files.on_end()
    points = _read(tmp_path).Scalars("loss/train_step")
    assert [p.step for p in points] == list(range(50, 5051, 50))
    assert {p.value for p in points} == {2.0}


def test_the_settings_are_in_the_tab_hparams(tmp_path: Path, prior: Any) -> None:
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    settings = {
        "model": {"kind": "a", "K": 4},
        "training": {"ema": None, "compile": True},
        "ray": {"workers": 2},
    }
    files = TensorBoardFiles(tmp_path, settings=hparams(settings))
    files.on_start(_start(0))
    files.on_epoch_end(_report(1), prior)
    files.on_end()
    contents = _read(tmp_path).PluginTagToContent("hparams")
    start = HParamsPluginData.FromString(contents["_hparams_/session_start_info"]).session_start_info
    found = {key: value.string_value or value.number_value for key, value in start.hparams.items()}
    assert found == {"model.kind": "a", "model.K": 4.0, "training.ema": "none", "training.compile": "True"}
    metrics = HParamsPluginData.FromString(contents["_hparams_/experiment"]).experiment.metric_infos
    assert {m.name.tag for m in metrics} == {"loss/val", "loss/train"}
    assert {m.name.tag for m in metrics} <= set(_read(tmp_path).Tags()["scalars"])
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == [], "no run of its own"
    # Of a search only what it varies: TensorBoard shows the first few columns.
    assert hparams(settings, only=["model.K", "model.size"]) == {"model.K": 4, "model.size": "none"}
