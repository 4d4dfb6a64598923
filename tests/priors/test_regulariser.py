"""Priors as regularisers of a fit: they choose what joints leave open, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from mocap_ray.body.bodies import Bodies
from mocap_ray.body.fitting import FitOptions, fit
from mocap_ray.body.model import ShapedBody
from mocap_ray.priors.regulariser import PriorRegulariser
from tests.priors import made


@pytest.fixture(scope="module")
def body(standins: Path) -> ShapedBody:
    bodies = Bodies.load(standins, gender="neutral", families=("smplh",))
    return bodies.choose("smplh", "neutral").model.shaped(np.zeros(0))


def training(spread: float, *, still: tuple[tuple[int, int], ...] = ()) -> torch.Tensor:
    """Poses [500, 55, 3] near one with a turned head and wrists; some axes never vary."""
    rng = np.random.default_rng(0)
    poses = np.zeros((500, 55, 3))
    poses[:, 1:22] = spread * rng.normal(size=(500, 21, 3))
    poses[:, 15] += (0.0, 0.5, 0.0)
    poses[:, 20] += (0.6, 0.0, 0.0)
    for joint, axis in still:
        poses[:, joint, axis] = 0.0
    return torch.as_tensor(poses)


@pytest.fixture
def clip(body: ShapedBody) -> np.ndarray:
    rng = np.random.default_rng(1)
    poses = np.zeros((40, 22, 3))
    poses[:, 1:] = (0.2 * rng.normal(size=(21, 3))) + 0.01 * rng.normal(size=(40, 21, 3)).cumsum(0)
    return body.joints(poses, np.zeros((40, 3)))


@pytest.mark.parametrize("kind", ["gaussian_prior", "joint_flow"])
def test_joints_stay_where_they_are_and_the_energy_falls(
    body: ShapedBody, clip: np.ndarray, kind: str
) -> None:
    options = {"hidden": 8} if kind == "joint_flow" else {}
    prior = PriorRegulariser(made.prior(kind, options, train=training(0.3), joints="body"))
    (without,), (found,) = (fit([clip], [body], fps=20.0, prior=p) for p in (None, prior))
    assert found.error_mm < 5
    before, after = (prior.energy(torch.as_tensor(f.poses)).mean() for f in (without, found))
    assert after < before - 1
    assert found.poses.dtype == np.float32


def test_what_no_joint_shows_comes_from_the_prior(body: ShapedBody, clip: np.ndarray) -> None:
    prior = PriorRegulariser(made.prior("gaussian_prior", {}, train=training(0.3), joints="body"))
    prior.prior.fit_closed_form(training(0.3))  # type: ignore[operator]
    (found,) = fit([clip], [body], fps=20.0, prior=prior, options=FitOptions(steps=8))
    mean = training(0.3).mean(0)
    for joint in (15, 20, 21):
        apart = Rotation.from_rotvec(found.poses[:, joint]).inv() * Rotation.from_rotvec(mean[joint].numpy())
        assert np.degrees(apart.magnitude()).max() < 10, joint


def test_axes_that_the_prior_excludes_stay_at_their_constants(body: ShapedBody, clip: np.ndarray) -> None:
    """A knee of one axis, and an elbow without twist."""
    still = ((4, 1), (4, 2), (18, 0))
    prior = PriorRegulariser(
        made.prior("gaussian_prior", {}, train=training(0.3, still=still), joints="body")
    )
    (found,) = fit([clip], [body], fps=20.0, prior=prior)
    poses = torch.as_tensor(found.poses)
    torch.testing.assert_close(prior.project(poses).float(), poses, atol=1e-4, rtol=0)
    for joint, axis in still:
        assert np.abs(found.poses[:, joint, axis]).max() < 1e-4
    assert found.error_mm < 60  # the clip's own knee has three axes


def test_the_curvature_is_that_of_the_widths(body: ShapedBody) -> None:
    prior = PriorRegulariser(
        made.prior("gaussian_prior", {"floor_deg": 0.0}, train=training(0.3, still=((4, 1),)), joints="body")
    )
    found = prior.curvature()
    assert found.shape == (22, 3)
    assert not found[0].any()
    assert float(found[4, 1]) > 1e5
    assert float(found[5, 1]) == pytest.approx(1 / 0.3**2, rel=0.3)
