"""A training from its config to its exported prior: what it writes, resuming, and what it refuses."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import mocap_ray
from mocap_ray.config import load, read_yaml
from mocap_ray.dataset.poses import read_poses
from mocap_ray.dataset.views import DataSetError
from mocap_ray.errors import UserError
from mocap_ray.priors.task import WORDS
from mocap_ray.runs.train import TrainConfig
from mocap_ray.storage import place
from mocap_ray.training.callbacks import Callback, EpochReport
from mocap_ray.training.checkpoint import CheckpointError, read
from mocap_ray.training.loaders import memory_loaders
from mocap_ray.training.lockstep import train_locally
from mocap_ray.training.prepare import check_data, prepare
from mocap_ray.training.rows import TrainingDataError
from mocap_ray.training.session import run
from mocap_ray.training.streaming import PlainReader
from mocap_ray.training.task import TrainingSetup
from mocap_ray.training.team import Team
from tests.dataset.made import make
from tests.training.small import Log

SMALL = {
    "gaussian_prior": {"training": {"max_epochs": 1}},
    "joint_flow": {"model": {"hidden": 8, "K": 2}},
    "global_flow": {"model": {"hidden": 16, "K": 2}},
    "hand_vae": {"model": {"hidden": 16, "z_dim": 4}},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    make(root, clips={("CMU", "train"): 4, ("CMU", "val"): 2})
    return root


def config(
    made: Path, out: Path, *, kind: str = "joint_flow", **changes: dict[str, Any]
) -> TrainingSetup[Any]:
    """A small training of a shipped config."""
    plain = load(kind, TrainConfig, kind="train").plain()
    plain["data"] |= {"root": str(made), "batch_size": 64}
    plain["training"] |= {"max_epochs": 3}
    plain["output"] |= {"root": str(out), "tensorboard": False}
    for section, values in [*SMALL[kind].items(), *changes.items()]:
        plain[section] |= values
    return TrainConfig.model_validate(plain).setup()


@pytest.mark.parametrize("kind", SMALL)
def test_the_files_of_a_training_load_to_the_same_prior(made: Path, tmp_path: Path, kind: str) -> None:
    log = Log()
    summary = train_locally(config(made, tmp_path, kind=kind), log)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert summary["kind"] == kind
    assert summary["rows"] == len(read_poses(made, split="train"))
    assert summary["best_loss"] == min(r.val["loss"] for r in log.reports)
    assert summary["best_bits"] == pytest.approx(summary["best_loss"] / math.log(2))
    assert TrainConfig.model_validate(read_yaml(tmp_path / "config.yaml")).model.kind == kind
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    assert [float(r["val_loss"]) for r in rows] == [r.val["loss"] for r in log.reports]
    whole = mocap_ray.load_prior(tmp_path)
    again = mocap_ray.load_prior(tmp_path / "export")
    last = mocap_ray.load_prior(tmp_path / "checkpoints" / "last.pt")
    assert not whole.training
    assert summary["active"] == whole.coordinates.active
    poses = torch.from_numpy(read_poses(made, split="val").rotvecs[:20])
    with torch.no_grad():
        scores = []
        for prior in (whole, again, last):
            torch.manual_seed(0)
            scores.append(prior.log_prob(poses))
    assert torch.equal(scores[0], scores[1])
    assert torch.isfinite(scores[2]).all()
    for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_the_validation_loss_is_the_score_of_the_loaded_prior(made: Path, tmp_path: Path) -> None:
    summary = train_locally(config(made, tmp_path, training={"ema": 0.9}))
    prior = mocap_ray.load_prior(tmp_path)
    with torch.no_grad():
        score = -prior.log_prob(torch.from_numpy(read_poses(made, split="val").rotvecs)).mean()
    assert float(score) / prior.coordinates.active == pytest.approx(summary["best_loss"], rel=1e-5)


def test_the_closed_form_is_the_maximum_likelihood(made: Path, tmp_path: Path) -> None:
    settings = {"closed_form": True, "max_epochs": 1, "learning_rate": 1e-12}
    train_locally(config(made, tmp_path, kind="gaussian_prior", training=settings))
    prior = mocap_ray.load_prior(tmp_path)
    poses = torch.from_numpy(read_poses(made, split="train").rotvecs)
    x = prior.coordinates.encode(poses)[0].double()
    assert torch.allclose(prior.mean.double(), x.mean(0), atol=1e-5)  # type: ignore[operator,union-attr]
    assert torch.allclose(prior.log_variance.double().exp(), x.var(0, correction=0), rtol=1e-4)  # type: ignore[operator,union-attr]
    with pytest.raises(ValueError, match=r"training\.closed_form: joint_flow has no closed-form solution"):
        train_locally(config(made, tmp_path / "other", training={"closed_form": True}))


def test_a_prior_with_a_closed_form_is_solved_and_not_trained(made: Path, tmp_path: Path) -> None:
    summary = train_locally(config(made, tmp_path, kind="gaussian_prior"))
    assert (summary["reason"], summary["epochs"], summary["step"]) == ("closed_form", 1, 0)
    prior = mocap_ray.load_prior(tmp_path)
    poses = torch.from_numpy(read_poses(made, split="train").rotvecs)
    x = prior.coordinates.encode(poses)[0].double()
    assert torch.allclose(prior.mean.double(), x.mean(0), atol=1e-5)  # type: ignore[operator,union-attr]
    with torch.no_grad():
        nll = -float(prior.log_prob(poses).mean()) / prior.coordinates.active
    assert summary["train_loss"] == pytest.approx(nll, rel=1e-5)
    again = train_locally(config(made, tmp_path, kind="gaussian_prior"), resume=True)
    assert (again["reason"], again["step"], again["best_loss"]) == ("closed_form", 0, summary["best_loss"])
    for sections in ({"model": {"jitter": 0.1}}, {"training": {"closed_form": False, "max_epochs": 1}}):
        trained = train_locally(config(made, tmp_path, kind="gaussian_prior", **sections), overwrite=True)
        assert trained["step"] > 0, "noise has to be averaged over; false trains"
        assert trained["reason"] == "max_epochs"


def test_a_flow_that_began_before_closed_form_was_automatic_is_resumed(made: Path, tmp_path: Path) -> None:
    old = {"closed_form": False, "max_epochs": 1}
    train_locally(config(made, tmp_path, training=old))
    assert train_locally(config(made, tmp_path, training={"max_epochs": 2}), resume=True)["epochs"] == 2
    train_locally(config(made, tmp_path, kind="gaussian_prior", training=old), overwrite=True)
    with pytest.raises(CheckpointError, match=r"training\.closed_form: was False, is now 'auto'"):
        train_locally(config(made, tmp_path, kind="gaussian_prior"), resume=True)


class Kill(Callback):
    """Stops the training like Ctrl-C, after an epoch."""

    def __init__(self, epoch: int) -> None:
        self.at = epoch

    def on_epoch_saved(self, report: EpochReport, model: nn.Module) -> None:
        if report.epoch == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("kind", ["joint_flow", "hand_vae"])
def test_a_killed_training_resumes_where_it_was(made: Path, tmp_path: Path, kind: str) -> None:
    whole = config(made, tmp_path / "whole", kind=kind, training={"ema": 0.9})
    halves = config(made, tmp_path / "halves", kind=kind, training={"ema": 0.9})
    expected = train_locally(whole)
    with pytest.raises(KeyboardInterrupt):
        train_locally(halves, Kill(2))
    log = Log()
    found = train_locally(halves, log, resume=True)
    assert [r.epoch for r in log.reports] == [3]
    assert found["best_loss"] == expected["best_loss"]
    curves = []
    for folder in ("whole", "halves"):
        with (tmp_path / folder / "metrics.csv").open() as file:
            curves.append([(r["epoch"], r["step"], r["loss"], r["val_loss"]) for r in csv.DictReader(file)])
    assert curves[0] == curves[1]
    assert len(curves[0]) == 3
    weights = [mocap_ray.load_prior(tmp_path / f).state_dict() for f in ("whole", "halves")]
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])


def test_an_existing_training_is_only_replaced_with_overwrite(made: Path, tmp_path: Path) -> None:
    chosen = config(made, tmp_path, training={"max_epochs": 1})
    train_locally(chosen)
    with pytest.raises(ValueError, match=r"already contains a training.*--resume.*--overwrite"):
        train_locally(chosen)
    (tmp_path / "mine.txt").write_text("kept")
    train_locally(config(made, tmp_path, kind="gaussian_prior"), overwrite=True)
    assert mocap_ray.load_prior(tmp_path).config.kind == "gaussian_prior"
    assert (tmp_path / "mine.txt").read_text() == "kept"
    prepare(chosen, overwrite=True)
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["config.yaml", "mine.txt"]


def test_resuming_another_training_is_refused_with_every_difference(made: Path, tmp_path: Path) -> None:
    train_locally(config(made, tmp_path, training={"max_epochs": 1}))
    other = config(made, tmp_path, model={"hidden": 9}, training={"learning_rate": 0.5, "max_epochs": 9})
    with pytest.raises(CheckpointError) as error:
        train_locally(other, resume=True)
    assert "model.hidden: was 8, is now 9" in str(error.value)
    assert "training.learning_rate: was 0.001, is now 0.5" in str(error.value)
    assert "max_epochs: " not in str(error.value)
    again = tmp_path / "elsewhere"
    make(again, clips={("CMU", "train"): 3, ("CMU", "val"): 1})
    with pytest.raises(CheckpointError, match=r"another data set.*uses its statistics"):
        train_locally(config(again, tmp_path), resume=True)


def test_max_epochs_may_grow_when_resuming(made: Path, tmp_path: Path) -> None:
    train_locally(config(made, tmp_path, training={"max_epochs": 1}))
    log = Log()
    assert train_locally(config(made, tmp_path, training={"max_epochs": 2}), log, resume=True)["epochs"] == 2
    assert [r.epoch for r in log.reports] == [2]


@pytest.mark.parametrize("key", ["ema", "counters", "optimiser"])
def test_a_checkpoint_that_lacks_a_part_is_refused_in_a_sentence(
    made: Path, tmp_path: Path, key: str
) -> None:
    train_locally(config(made, tmp_path, training={"max_epochs": 1}))
    path = tmp_path / "checkpoints" / "last.pt"
    saved = torch.load(path, weights_only=True)
    del saved["state"][key]
    torch.save(saved, path)
    with pytest.raises(UserError, match=rf"last.pt: .*state.{key}: missing"):
        train_locally(config(made, tmp_path, training={"max_epochs": 2}), resume=True)


def test_without_a_validation_split_the_training_loss_decides_with_a_note(tmp_path: Path) -> None:
    make(tmp_path / "data", clips={("CMU", "train"): 3})
    log = Log()
    summary = train_locally(config(tmp_path / "data", tmp_path / "out"), log)
    assert any("no poses to validate on in the split 'val'" in note for note in log.notes)
    assert summary["val_rows"] == 0
    assert summary["best_loss"] == min(log.losses)


@pytest.mark.parametrize("feed", ["memory", "stream"])
def test_a_sub_dataset_without_validation_clips_trains_like_a_data_set_without_them(
    tmp_path: Path, feed: str
) -> None:
    make(tmp_path / "data", clips={("CMU", "train"): 2, ("CMU", "val"): 1, ("KIT", "train"): 3})
    log = Log()
    setup = config(tmp_path / "data", tmp_path / "out", data={"dataset": "KIT", "feed": feed})
    summary = run(setup, callback=log, reader=PlainReader)
    assert any("no poses to validate on in the split 'val'" in note for note in log.notes)
    assert (summary["val_rows"], summary["best_loss"]) == (0, min(log.losses))


def test_resuming_and_overwriting_at_once_is_refused_and_deletes_nothing(made: Path, tmp_path: Path) -> None:
    chosen = config(made, tmp_path, training={"max_epochs": 1})
    train_locally(chosen)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(UserError, match="--resume and --overwrite together"):
        train_locally(chosen, resume=True, overwrite=True)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_data_that_cannot_be_trained_on_is_refused_before_anything_is_written(
    made: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    make(tmp_path / "bare", columns=("features",))
    with pytest.raises(DataSetError, match="'poses' was not written"):
        train_locally(config(tmp_path / "bare", out))
    with pytest.raises(DataSetError, match="no such folder"):
        train_locally(config(tmp_path / "nowhere", out))
    with pytest.raises(DataSetError, match="no split 'dev'"):
        train_locally(config(made, out, data={"train": "dev"}))
    with pytest.raises(ValueError, match="is a data set"):
        train_locally(config(made, made))
    assert not out.exists()


def test_hands_that_never_move_are_missing_for_the_hand_vae(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.dataset import made as maker

    plain = maker.made_clip

    def still(*args: object, **kwargs: object) -> object:
        clip = plain(*args, **kwargs)  # type: ignore[arg-type]
        if clip.poses is not None:
            clip.poses[:, 25:] = 0.0
        return clip

    monkeypatch.setattr(maker, "made_clip", still)
    make(tmp_path / "data")
    with pytest.raises(ValueError, match="hands"):
        train_locally(config(tmp_path / "data", tmp_path / "out", kind="hand_vae"))


def test_two_ranks_see_each_row_once_and_score_the_whole_validation_split(made: Path, tmp_path: Path) -> None:
    chosen = config(made, tmp_path)
    seen, sums = [], {"total": 0.0, "rows": 0.0}
    for rank in range(2):
        loaders = memory_loaders(chosen, Team(rank=rank, world=2))
        seen += [batch.data for batch in loaders.train(0)]
        assert loaders.val is not None
        sums["rows"] += sum(len(b) for b in loaders.val())
    rows = torch.cat(seen).reshape(-1, 165).numpy()
    expected = read_poses(made, split="train").rotvecs.reshape(-1, 165)
    assert np.array_equal(np.unique(rows, axis=0), np.unique(expected, axis=0))
    assert len(rows) == len(expected)
    assert sums["rows"] == len(read_poses(made, split="val"))


def test_data_that_does_not_fit_is_streamed_with_the_given_reader(made: Path, tmp_path: Path) -> None:
    chosen = config(made, tmp_path, data={"memory_share": 1e-12})
    with pytest.raises(TrainingDataError, match=r"GB of poses must be streamed.*needs Ray"):
        train_locally(chosen)
    readers: list[PlainReader] = []

    def reader() -> PlainReader:
        readers.append(PlainReader())
        return readers[-1]

    found = run(chosen, reader=reader)
    assert found["epochs"] == 3
    assert found["feed"] == "disk"
    assert len(readers) == 1


def test_the_size_of_the_data_comes_from_the_manifest(made: Path, tmp_path: Path) -> None:
    facts = check_data(config(made, tmp_path))
    assert facts.rows >= len(read_poses(made, split="train"))
    assert facts.size >= 660 * (facts.rows + facts.val_rows)


def test_a_checkpoint_describes_its_training(made: Path, tmp_path: Path) -> None:
    train_locally(config(made, tmp_path))
    about = read(place(tmp_path / "checkpoints"), "last.pt")["about"]
    assert about["manifest_hash"] == read_poses(made, split="val").manifest_hash
    assert about["config"]["training"]["max_epochs"] == 3
    assert about["coordinates"]["joints"]
    exported = json.loads((tmp_path / "export" / WORDS.description).read_text())
    assert exported["coordinates"] == about["coordinates"]


def test_cuda_without_a_gpu_is_refused(made: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ValueError, match=r"training\.device cuda: torch finds no GPU"):
        train_locally(config(made, tmp_path, training={"device": "cuda"}))
