"""The documented example does what it promises: joints seen badly are fitted better with a prior than without."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from mocap_ray import priors
from mocap_ray.body.torch_joints import torch_joints
from mocap_ray.priors import pictures
from mocap_ray.priors.gaussian_prior import GaussianConfig
from mocap_ray.priors.judging import metrics

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "fit_with_prior.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    import sys

    spec = importlib.util.spec_from_file_location("fit_with_prior", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def bodies(n: int, seed: int) -> Tensor:
    """Joints that move about a mean pose, each axis with its own reach."""
    rng = np.random.default_rng(0)
    mean, reach = 0.3 * rng.normal(size=(21, 3)), rng.uniform(0.05, 0.4, size=(21, 3))
    poses = np.zeros((n, 55, 3))
    poses[:, 1:22] = mean + reach * np.random.default_rng(seed).normal(size=(n, 21, 3))
    return torch.as_tensor(poses, dtype=torch.float32)


@pytest.mark.parametrize(("observed", "factor"), [("2d", 0.85), ("3d", 0.9)])
def test_the_error_with_a_prior_is_lower(example: ModuleType, observed: str, factor: float) -> None:
    train, shares = bodies(500, 1), list[float]()
    config = GaussianConfig()
    prior = priors.build(config, priors.fit_coordinates(config, train, joints="body")).eval()
    without, with_prior = example.compare(
        {"gaussian": prior},
        body=pictures.figure_body(),
        tune=bodies(12, 2),
        test=bodies(24, 3),
        start=metrics.mean_pose(train),
        observed=observed,
        steps=300,
        progress=lambda share, text: shares.append(share),
    )
    assert len(shares) == 7 * 300, (
        "each step: one fit without a prior, five to choose the weight, one with it"
    )
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    assert with_prior.degrees < factor * without.degrees
    assert with_prior.millimetres < (factor + 0.05) * without.millimetres


def test_a_prior_of_other_poses_does_not_help_as_much(example: ModuleType) -> None:
    """The gain comes from the prior's knowledge, not from any pull whatever."""
    train, shifted = bodies(500, 1), bodies(500, 1)
    shifted[:, 1:22] += 0.5
    config = GaussianConfig()
    found = {
        name: priors.build(config, priors.fit_coordinates(config, poses, joints="body")).eval()
        for name, poses in (("right", train), ("wrong", shifted))
    }
    fits = example.compare(
        found, body=pictures.figure_body(), tune=bodies(8, 2), test=bodies(16, 3),
        start=metrics.mean_pose(train), steps=60,
    )  # fmt: skip
    assert fits[1].degrees < 0.8 * fits[2].degrees


def test_axes_that_the_prior_excludes_are_not_fitted_to_noise(example: ModuleType) -> None:
    train, truth = bodies(500, 1), bodies(16, 3)
    for poses in (train, truth):
        poses[:, 4, 1:] = 0.1  # a knee that bends about one axis
    config = GaussianConfig()
    prior = priors.build(config, priors.fit_coordinates(config, train, joints="body")).eval()
    body = pictures.figure_body()
    seen = example.observe(torch_joints(body, truth), noise=0.1, observed="3d", seed=0)
    start, steps = metrics.mean_pose(train), 40
    found = example.fit(body, seen, noise=0.1, start=start, prior=prior, steps=steps)
    assert torch.allclose(found[:, 4, 1:], torch.tensor(0.1))
    assert not torch.allclose(found[:, 4, 0], start[4, 0], atol=0.01)
    assert torch.equal(found[:, 22:], start[22:].expand(16, -1, -1)), "hands are not fitted"
    free = example.fit(body, seen, noise=0.1, start=start, steps=steps)
    assert (free[:, 4, 1:] - 0.1).abs().max() > 0.05, "without a prior all axes are free"


def test_the_page_shows_the_truth_and_every_fit(example: ModuleType) -> None:
    truth = bodies(3, 4)
    fits = [example.Fit("without a prior", 0.0, 12.3, 40.0, truth.clone())]
    html = example.draw(fits, truth)
    assert html.count("<svg") == 6
    assert "without a prior: 12.3°, 40 mm" in html
