"""Hands end to end: a data set of hands that hang together, a VAE trained on it, judged, drawn from and completed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mocap_ray
from mocap_ray.cli.main import main
from mocap_ray.config import load
from mocap_ray.priors.judging import completion, metrics
from mocap_ray.priors.judging.evaluate import evaluate
from mocap_ray.priors.judging.judgement import JudgeOptions
from mocap_ray.runs.train import TrainConfig
from mocap_ray.training.lockstep import train_locally
from tests.dataset.made import make
from tests.distributed.training import command

TYPES, SYNERGIES, NOISE = 3, 2, 0.06
OPTIONS = JudgeOptions(poses=400, train=400, samples=100, completed=16, steps=80, importance=32)
TRAININGS: dict[str, tuple[str, dict[str, Any]]] = {
    "gaussian": ("gaussian_prior", {}),
    "standard": ("hand_vae", {"hidden": 48, "z_dim": 6, "dropout": 0.0}),
    "so3": ("hand_vae", {"hidden": 48, "z_dim": 6, "dropout": 0.0, "type": "so3"}),
}


def hands(number: int, frames: int) -> np.ndarray:
    """Grasps of a few types in which all fingers follow two hidden numbers, and a body at rest."""
    rng = np.random.default_rng(0)
    means, synergies = 0.4 * rng.normal(size=(TYPES, 90)), 0.2 * rng.normal(size=(TYPES, SYNERGIES, 90))
    drawn = np.random.default_rng(100 + number)
    kind, s = drawn.integers(TYPES, size=frames), drawn.normal(size=(frames, SYNERGIES))
    x = means[kind] + np.einsum("fs,fsd->fd", s, synergies[kind]) + NOISE * drawn.normal(size=(frames, 90))
    poses = np.zeros((frames, 55, 3), np.float32)
    poses[:, 25:] = x.reshape(frames, 30, 3)
    return poses


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hands") / "data"
    clips = {("Hands", "train"): 6, ("Hands", "val"): 2, ("Hands", "test"): 3}
    make(root, clips=clips, frames=500, columns=("features", "poses"), poses=hands)
    return root


def settings(name: str, data: Path, out: Path) -> list[str]:
    """Overrides of the shipped config, in small."""
    keys = {"data.root": data, "data.joints": "hands", "data.batch_size": 150, "output.root": out}
    keys |= {"output.tensorboard": "false", "training.max_epochs": 14, "training.learning_rate": 3e-3}
    keys |= {f"model.{k}": v for k, v in TRAININGS[name][1].items()}
    return [f"{k}={v}" for k, v in keys.items()]


@pytest.fixture(scope="module")
def trained(data_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trainings in this process, without Ray."""
    root = tmp_path_factory.mktemp("trained")
    for name, (kind, _) in TRAININGS.items():
        config = load(kind, TrainConfig, kind="train", overrides=settings(name, data_set, root / name))
        train_locally(config.setup())
    return root


def test_a_trained_hand_vae_knows_more_than_a_gaussian(trained: Path) -> None:
    report = evaluate([trained / name for name in TRAININGS], options=OPTIONS)
    gaussian, *vaes = (p.judgement for p in report.priors)
    exact_noise = np.log(NOISE) + 0.5 * np.log(2 * np.pi * np.e)  # the noise cannot be predicted
    for vae in vaes:
        assert vae.likelihood.active == 90
        assert vae.likelihood.bound
        assert exact_noise < vae.likelihood.nll < gaussian.likelihood.nll - 1.2
        finger, half = ({c.hidden: c for c in vae.completions}[t] for t in ("a finger", completion.HALF))
        assert finger.error_deg < 0.7 * finger.mean_pose_deg
        assert half.error_deg < 0.7 * half.mean_pose_deg


@pytest.mark.parametrize("name", ["standard", "so3"])
def test_a_loaded_hand_vae_finds_a_hidden_hand_by_its_energy(name: str, trained: Path) -> None:
    prior = mocap_ray.load_prior(trained / name).requires_grad_(False)
    poses = torch.as_tensor(hands(999, 24))
    visible = torch.ones(24, 55, dtype=torch.bool)
    visible[:, 25:40] = False  # the left hand
    mean = metrics.mean_pose(torch.as_tensor(hands(0, 500)))
    torch.manual_seed(0)
    found = completion.complete(prior, poses, visible, start=mean, steps=150)
    guess = torch.where(visible[..., None], poses, mean)
    error, naive = (metrics.hidden_error_deg(x, poses, ~visible) for x in (found, guess))
    assert error < 0.6 * naive
    # A bound on what is visible alone: it says of the right hand what it says without a left one.
    energy = prior.energy(poses, visible)
    assert energy.shape == (24,)
    assert torch.isfinite(energy).all()


def judged_by_the_commands(root: Path, tmp_path: Path) -> None:
    """`evaluate`, `sample` and `compare` of the trainings below `root`."""

    def run(*words: str | Path) -> None:
        with pytest.raises(SystemExit) as ended:
            main([str(w) for w in words])
        assert ended.value.code == 0

    run("evaluate", root / "so3", "--quick", "--out", tmp_path / "so3.html")
    figures = json.loads((tmp_path / "so3.json").read_text())["priors"]["so3"]
    assert figures["likelihood"]["bound"]
    assert figures["likelihood"]["importance"] == 16
    run(
        "sample",
        root / "so3",
        "--count",
        "20",
        "--out",
        tmp_path / "s.npz",
        "--pictures",
        tmp_path / "s.html",
    )
    drawn = np.load(tmp_path / "s.npz")["poses"]
    assert drawn.shape == (20, 55, 3)
    assert not drawn[:, :25].any()
    assert np.linalg.norm(drawn[:, 25:], axis=-1).max() <= np.pi + 1e-5
    run("compare", root / "standard", root / "so3", "--quick", "--out", tmp_path / "both.html")
    html = (tmp_path / "both.html").read_text()
    shown = html[html.index('id="completion-h"') : html.index('id="memory-h"')]
    # Two tasks, four poses: the hands, two priors and the mean hands.
    assert shown.count('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 430 250"') == 2 * 4 * 4


def test_hands_are_judged_drawn_and_compared(trained: Path, tmp_path: Path) -> None:
    judged_by_the_commands(trained, tmp_path)


@pytest.mark.ray
@pytest.mark.slow
def test_the_whole_way_of_hands_by_commands_alone(data_set: Path, tmp_path: Path) -> None:
    for name in ("standard", "so3"):
        command("train", "hand_vae", "--override", *settings(name, data_set, tmp_path / name))
    judged_by_the_commands(tmp_path, tmp_path)
