"""The stream: each row once per epoch in an order of the seed, prefetched across epochs, and nothing left running."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mocap_ray.dataset.poses import read_poses
from mocap_ray.distributed.cluster import connected
from mocap_ray.distributed.stream import RayDataReader
from mocap_ray.runs.ray import RayOptions
from mocap_ray.runs.train import TrainConfig
from mocap_ray.training import shuffle
from mocap_ray.training.loaders import Loaders
from mocap_ray.training.streaming import stream_loaders
from mocap_ray.training.team import Team
from tests.dataset.made import make

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stream") / "set"
    make(root, clips={**{(f"D{k}", "train"): 6 for k in range(5)}, ("D0", "val"): 2})
    return root


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with connected(RayOptions(workers=2)):
        yield


@pytest.fixture(autouse=True)
def _small_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Smaller than an epoch, so that reading continues while batches are consumed."""
    monkeypatch.setattr(shuffle, "BUFFER_ROWS", 100)


def _loaders(made: Path, **data: Any) -> Loaders:
    config = TrainConfig.model_validate(
        {
            "model": {"kind": "joint_flow"},
            "data": {"root": str(made), "batch_size": 32, "feed": "stream", **data},
            "training": {"max_epochs": 3, "seed": 5},
            "output": {"root": "unused"},
        }
    )
    return stream_loaders(config.setup(), Team(), RayDataReader())


def _rows(loaders: Loaders, epoch: int) -> np.ndarray:
    return torch.cat([batch.data for batch in loaders.train(epoch)]).numpy().reshape(-1, 165)


def _ours() -> list[str]:
    names = ("mocap-ray-prefetch", "StreamingExecutor", "ray-data-metadata")
    return [t.name for t in threading.enumerate() if t.name.startswith(names)]


def _wait_until_still() -> None:
    end = time.monotonic() + 30
    while _ours():
        assert time.monotonic() < end, _ours()
        time.sleep(0.05)


def test_every_row_occurs_once_per_epoch_and_epochs_differ(made: Path) -> None:
    loaders = _loaders(made)
    expected = read_poses(made, split="train").rotvecs.reshape(-1, 165)
    epochs = [_rows(loaders, k) for k in range(3)]
    for found in epochs:
        assert len(found) == len(expected) == loaders.rows
        assert np.array_equal(np.sort(found, axis=0), np.sort(expected, axis=0))
    assert not np.array_equal(epochs[0], epochs[1])
    _wait_until_still()  # nothing is read beyond the last epoch


def test_the_order_depends_on_seed_and_epoch_wherever_a_training_starts(made: Path) -> None:
    whole, resumed = (_loaders(made) for _ in range(2))
    _rows(whole, 0)
    assert np.array_equal(_rows(whole, 1), _rows(resumed, 1))
    assert np.array_equal(_rows(whole, 1), _rows(resumed, 1)), "an epoch can be taken again"
    for loaders in (whole, resumed):
        loaders.close()
    _wait_until_still()


def test_the_next_epoch_is_prefetched_without_a_consumer(made: Path) -> None:
    loaders = _loaders(made)
    _rows(loaders, 0)
    assert "mocap-ray-prefetch" in _ours()
    loaders.close()
    _wait_until_still()


def test_validation_is_the_same_each_time_during_an_epoch(made: Path) -> None:
    loaders = _loaders(made)
    assert loaders.val is not None
    _rows(loaders, 0)
    first, second = (torch.cat(list(loaders.val())).numpy() for _ in range(2))
    loaders.close()
    streamed = _loaders(made, memory_share=1e-12)  # no memory for the validation poses
    assert streamed.val is not None
    third, fourth = (torch.cat(list(streamed.val())).numpy() for _ in range(2))
    expected = read_poses(made, split="val").rotvecs
    for found in (first, second, third, fourth):
        assert np.array_equal(found, expected)


def test_stopping_within_an_epoch_stops_the_reading(made: Path) -> None:
    loaders = _loaders(made)
    batches = iter(loaders.train(0))
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    _wait_until_still()
    assert len(_rows(loaders, 0)) == loaders.rows
    loaders.close()
    _wait_until_still()


def test_a_missing_file_is_an_error_of_the_training(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "set")
    loaders = _loaders(tmp_path / "set")
    for file in (tmp_path / "set" / "clips").rglob("*.parquet"):
        file.unlink()
    with pytest.raises(Exception, match=r"parquet|No such file"):
        _rows(loaders, 0)
    _wait_until_still()
    loaders.close()
