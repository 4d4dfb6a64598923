"""A prior is trained and judged on a data set of single poses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mocap_ray
from mocap_ray.priors.judging.evaluate import evaluate
from mocap_ray.priors.judging.judgement import JudgeOptions
from mocap_ray.runs.train import TrainConfig
from mocap_ray.training.lockstep import train_locally
from tests.dataset.pose_files import angles, extract, humandata, plain, smplx

ROOT = Path(__file__).resolve().parents[2]


def trained(data: Path, out: Path, *, joints: str = "all") -> Path:
    values = {
        "model": {"kind": "gaussian_prior"},
        "data": {"root": str(data), "joints": joints, "batch_size": 32},
        "training": {"closed_form": True, "max_epochs": 1},
        "output": {"root": str(out), "tensorboard": False},
    }
    train_locally(TrainConfig.model_validate(values).setup())
    return out


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Arrays of 53 joints for training and validation, and one of body joints alone."""
    root = tmp_path_factory.mktemp("single")
    plain(root / "in" / "train_poses.npz", count=300)
    plain(root / "in" / "val_poses.npz", count=100, seed=1)
    plain(root / "in" / "train_bodies.npz", joints=21, count=200, seed=2)
    extract(root / "in", root / "out")
    return root / "out"


def test_a_gaussian_learns_the_poses_that_give_every_joint(data: Path, tmp_path: Path) -> None:
    prior = mocap_ray.load_prior(trained(data, tmp_path / "run"))
    # 53 joints of 3 axes: no pose of the data set gives the eyes.
    assert prior.coordinates.active == 159
    samples = prior.sample(4000, tails=False).numpy().reshape(4000, 165)
    written = angles(300, 159).std(axis=0)
    found = samples.std(axis=0)[[*range(69), *range(75, 165)]]
    # The 200 bodies without hands, if taken for flat hands, would make the spread of hands 0.77 of this.
    np.testing.assert_allclose(found[69:].mean(), written[69:].mean(), rtol=0.06)


def test_a_prior_of_the_body_learns_from_all_poses_and_is_judged(data: Path, tmp_path: Path) -> None:
    run = trained(data, tmp_path / "run", joints="body")
    options = JudgeOptions(samples=60, completed=2, steps=2)
    judged = evaluate([run], options=options)
    assert judged.poses == 100
    assert judged.clips == 1  # of the one validation file, which tells no subjects
    assert np.isfinite(judged.priors[0].judgement.likelihood.nll)


def test_a_fold_of_subjects_is_trained_and_judged(tmp_path: Path) -> None:
    """Two sources: bodies of nine people, and whole poses of three more; the hands choose the latter."""
    who = np.array([f"p{k % 9}" for k in range(180)])
    plain(tmp_path / "a" / "train_bodies.npz", joints=21, count=180, subject=who)
    more = np.array([f"q{k % 3}" for k in range(90)])
    plain(tmp_path / "b" / "train_whole.npz", count=90, seed=1, subject=more)
    extract(tmp_path / "a", tmp_path / "out")
    extract(tmp_path / "b", tmp_path / "out", name="whole")
    values = {
        "model": {"kind": "gaussian_prior"},
        "data": {"root": str(tmp_path / "out"), "folds": 3, "fold": 0, "batch_size": 16},
        "training": {"closed_form": True, "max_epochs": 1},
        "output": {"root": str(tmp_path / "run"), "tensorboard": False},
    }
    setup = TrainConfig.model_validate(values).setup()
    assert setup.task.groups() == {"b/q0": 30, "b/q1": 30, "b/q2": 30}
    train_locally(setup)
    judged = evaluate([tmp_path / "run"], options=JudgeOptions(samples=60, completed=2, steps=2))
    assert (judged.split, judged.poses, judged.clips) == ("fold 0 of train, val", 30, 1)
    worst = judged.priors[0].worst
    assert worst is not None
    assert worst.dataset == "b"
    assert str(worst) == f"pose {worst.frame} of {worst.clip}"
    assert np.isfinite(judged.priors[0].judgement.likelihood.nll)


@pytest.mark.slow
def test_two_commands_from_annotations_to_a_prior(tmp_path: Path) -> None:
    """Typed as in docs/how-to/poses.md, with Ray."""
    for name, seed in (("set_train", 0), ("set_val", 1)):
        humandata(tmp_path / "annot" / f"{name}.npz", smplx(200, seed=seed))

    def typed(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "mocap_ray.cli", *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    said = typed("extract", "humandata", "-o", "source.root=annot", "output.root=poses", "ray.workers=1")
    assert "mocap-ray train gaussian_prior" in said
    again = typed("extract", "humandata", "-o", "source.root=annot", "output.root=poses", "ray.workers=1")
    assert "nothing to make; 2 shards already finished" in again
    typed("train", "gaussian_prior", "-o", "data.root=poses", "output.root=run", "training.max_epochs=2")
    assert mocap_ray.load_prior(tmp_path / "run").coordinates.active == 159
