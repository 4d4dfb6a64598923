"""Energies on the way to random rotations: thin sheets show, and the gradient is the slope of the energy."""

from __future__ import annotations

import numpy as np
import pytest
import roma
import torch
from torch import Tensor

from mocap_ray.priors.judging.geodesics import along_geodesics, energy_and_gradient
from mocap_ray.priors.judging.judge import energies_of
from tests.priors.judging.test_evaluate import FullGaussian, gaussian, moving


def test_the_way_starts_at_the_pose_and_ends_at_the_same_rotations_for_all_poses_and_priors() -> None:
    train, poses = moving(400, 1), moving(30, 2)
    prior = gaussian(train)
    far = along_geodesics(prior, poses, generator=torch.Generator().manual_seed(0))
    assert far.share[0] == 0.0
    assert far.share[-1] == 1.0
    start = energies_of(prior, poses).numpy()
    assert far.energy["median"][0] == pytest.approx(np.median(start), rel=1e-4)
    assert far.energy["largest"][0] == pytest.approx(start.max(), rel=1e-4)
    # The end does not depend on the start: the rotations are drawn, not the turns.
    other = along_geodesics(prior, moving(30, 3), generator=torch.Generator().manual_seed(0))
    assert other.energy["largest"][-1] == pytest.approx(far.energy["largest"][-1], rel=1e-3)
    assert far.largest_energy == far.energy["largest"].max()
    assert far.broken == 0


def test_the_gradient_is_that_of_small_rotations() -> None:
    train, poses = moving(400, 1), moving(5, 2).double()
    prior = FullGaussian(train).double()
    prior.law = torch.distributions.MultivariateNormal(
        prior.law.mean.double(), prior.law.covariance_matrix.double()
    )
    energy, gradient = energy_and_gradient(prior, poses)
    torch.testing.assert_close(energy, energies_of(prior, poses))
    slopes, step = torch.zeros(5, 63, dtype=torch.float64), 1e-5

    def moved(turn: Tensor) -> Tensor:
        return energies_of(prior, roma.rotvec_composition((poses, turn)))

    for k in range(63):
        turn = torch.zeros(5, 55, 3, dtype=torch.float64)
        turn.view(5, -1)[:, 3 + k] = step
        slopes[:, k] = (moved(turn) - moved(-turn)) / (2 * step)
    torch.testing.assert_close(gradient, slopes.norm(dim=1), rtol=1e-4, atol=1e-6)


def test_a_thin_sheet_has_a_huge_energy_and_gradient() -> None:
    train, poses = moving(400, 1), moving(30, 2)
    thin = train.clone()
    thin[:, 18, 1] = 0.3 + 0.001 * torch.randn(400, generator=torch.Generator().manual_seed(0))
    broad, sharp = (
        along_geodesics(gaussian(x), poses, generator=torch.Generator().manual_seed(0)) for x in (train, thin)
    )
    assert sharp.largest_energy > 50 * broad.largest_energy
    assert sharp.largest_gradient > 50 * broad.largest_gradient


def test_points_that_are_not_finite_are_counted() -> None:
    prior = gaussian(moving(400, 1))
    whole = prior.energy
    prior.energy = lambda poses: whole(poses).index_fill(0, torch.tensor([2]), torch.nan)  # type: ignore[method-assign,assignment,misc]
    far = along_geodesics(prior, moving(4, 2), generator=torch.Generator().manual_seed(0))
    assert far.broken == len(far.share)
    assert np.isfinite(far.largest_energy)
