"""Training on Ray: the result does not depend on kills, nor, within rounding, on the number of workers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mocap_ray.config import load
from mocap_ray.distributed.resources import Capacity, Share, share
from mocap_ray.distributed.train import absolute
from mocap_ray.options import paths
from mocap_ray.runs.train import TrainConfig, TrainRay
from tests.distributed.training import (
    EPOCHS,
    command,
    kill,
    losses,
    rows,
    start,
    train_here,
    wait_for,
    workers,
    write_base,
)


@pytest.fixture(scope="module")
def local(data_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training by this process, without Ray."""
    return train_here(write_base(tmp_path_factory.mktemp("local") / "run.yaml", data_set))


@pytest.mark.ray
def test_a_killed_and_resumed_driver_equals_one_process_without_ray(
    local: Path, data_set: Path, tmp_path: Path
) -> None:
    base = write_base(tmp_path / "run.yaml", data_set)
    out = base.with_suffix("")
    process = start("train", base)
    wait_for(lambda: len(rows(out)) >= 2, process)
    process.kill()
    process.communicate()
    assert len(rows(out)) < EPOCHS, "killed too late to show anything"
    assert "resuming after epoch" in command("train", base, "--resume")
    assert losses(out) == losses(local)
    assert not list(out.glob(".ray-train*"))


@pytest.fixture(scope="module")
def undisturbed(data_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training by one worker without kills."""
    base = write_base(tmp_path_factory.mktemp("alone") / "run.yaml", data_set)
    text = command("train", base)
    assert "mocap-ray evaluate" in text, "the next command"
    return base.with_suffix("")


@pytest.mark.ray
@pytest.mark.slow
def test_a_killed_worker_and_a_killed_driver_do_not_change_the_losses(
    undisturbed: Path, data_set: Path, tmp_path: Path
) -> None:
    base = write_base(tmp_path / "run.yaml", data_set)
    out = base.with_suffix("")
    process = start("train", base)
    wait_for(lambda: len(rows(out)) >= 2 and bool(workers(process.pid)), process)
    (first,) = workers(process.pid)
    kill(first)
    wait_for(lambda: bool(set(workers(process.pid)) - {first}), process)
    seen = len(rows(out))
    wait_for(lambda: len(rows(out)) > seen, process)
    process.kill()
    process.communicate()
    assert len(rows(out)) < EPOCHS, "killed too late to show anything"
    # What a kill within a write and a run of Ray Train leave behind.
    (out / "checkpoints" / ".tmp-0123").write_bytes(b"half")
    assert "already contains a training" in command("train", base, expect=2)
    assert "resuming after epoch" in command("train", base, "--resume")
    assert losses(out) == losses(undisturbed)
    assert sorted(p.name for p in (out / "checkpoints").iterdir()) == ["best.pt", "last.pt"]
    assert not list(out.glob(".ray-train*"))


@pytest.mark.ray
def test_two_workers_train_like_one(local: Path, data_set: Path, tmp_path: Path) -> None:
    base = write_base(tmp_path / "run.yaml", data_set, ray={"workers": 2})
    command("train", base)
    out = base.with_suffix("")
    found, alone = rows(out), rows(local)
    assert [r["step"] for r in found] == [r["step"] for r in alone]
    for name in ("loss", "val_loss"):
        one, two = ([float(r[name]) for r in x] for x in (alone, found))
        # Each step has the same rows; what differs is the order of sums, and batches that do not halve evenly.
        np.testing.assert_allclose(two, one, atol=0.02)
    assert json.loads((out / "summary.json").read_text())["workers"] == 2


@pytest.mark.ray
@pytest.mark.slow
def test_a_stream_trains_like_memory(undisturbed: Path, data_set: Path, tmp_path: Path) -> None:
    base = write_base(tmp_path / "run.yaml", data_set, data={"feed": "stream"}, ray={"workers": 2})
    command("train", base, "--override", "training.max_epochs=2")
    out = base.with_suffix("")
    summary, memory = (json.loads((x / "summary.json").read_text()) for x in (out, undisturbed))
    assert summary["feed"] == "Ray Data"
    for name in ("rows", "val_rows", "active", "degenerate"):
        assert summary[name] == memory[name], name
    # The same rows in another order; the coordinates are equal because the sample is the complete split.
    found, alone = (float(rows(x)[0]["val_loss"]) for x in (out, undisturbed))
    assert abs(found - alone) < 0.1


@pytest.mark.ray
@pytest.mark.slow
def test_an_error_that_a_retry_cannot_fix_ends_the_run_with_its_message(
    data_set: Path, tmp_path: Path
) -> None:
    base = write_base(tmp_path / "run.yaml", data_set, training={"learning_rate": 1e30, "grad_clip": None})
    text = command("train", base, expect=1)
    assert "its gradient norm is" in text
    assert "Traceback" not in text


def test_more_workers_than_the_cluster_has_room_for_are_refused() -> None:
    has = Capacity(cpus=4, gpus=2)
    with pytest.raises(ValueError, match=r"ray.workers 5: .* at most 4 workers with 1 CPU each"):
        share(TrainRay(workers=5, gpus_per_worker=0), has)
    with pytest.raises(ValueError, match=r"at most 2 workers with 1 CPU and 1 GPU each"):
        share(TrainRay(workers=3), has)
    with pytest.raises(ValueError, match="device cuda"):
        share(TrainRay(), Capacity(4, 0), device="cuda")


def test_auto_uses_the_resources_of_the_cluster() -> None:
    assert share(TrainRay(workers="auto"), Capacity(4, 2)) == Share(2, 1, 1)
    assert share(TrainRay(workers="auto", max_workers=1), Capacity(4, 2)) == Share(1, 1, 1)
    assert share(TrainRay(workers="auto"), Capacity(4, 0)) == Share(4, 1, 0)
    assert share(TrainRay(workers="auto"), Capacity(4, 2), device="cpu") == Share(4, 1, 0)
    assert share(TrainRay(workers="auto", gpus_per_worker=0.5), Capacity(4, 1)) == Share(2, 1, 0.5)
    assert share(TrainRay(workers=1), Capacity(4, 0), whole=True) == Share(1, 4, 0), (
        "a local Ray instance is used by one run only"
    )


def test_workers_get_absolute_paths_of_all_that_they_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    keys = ["data.root=data", "output.root=runs/flow", "model.vae=runs/vae", "data.pairs=s3://bucket/pairs"]
    config = absolute(load("motion_flow", TrainConfig, kind="train", overrides=keys))
    assert paths(config) == {
        "data.root": str(tmp_path / "data"),
        "data.pairs": "s3://bucket/pairs",
        "model.vae": str(tmp_path / "runs/vae"),
        "output.root": str(tmp_path / "runs/flow"),
    }
