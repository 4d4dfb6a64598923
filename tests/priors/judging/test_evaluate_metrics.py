"""The measures on poses: known answers, naive twins, invariances."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.transform import Rotation

from mocap_ray.priors.judging import metrics


def poses(n: int, *, joints: int = 4, seed: int = 0, spread: float = 1.0) -> torch.Tensor:
    return torch.as_tensor(spread * np.random.default_rng(seed).normal(size=(n, joints, 3)))


def test_geodesic_distance_equals_scipys() -> None:
    a, b = poses(50, seed=1), poses(50, seed=2)
    turns = [Rotation.from_rotvec(x.reshape(-1, 3).numpy()) for x in (a, b)]
    expected = np.rad2deg((turns[0].inv() * turns[1]).magnitude()).reshape(50, 4)
    np.testing.assert_allclose(metrics.geodesic_deg(a, b), expected, atol=1e-9)


@pytest.mark.parametrize("degrees", [1e-5, 5.0, 20.0, 179.0])
def test_noise_turns_by_exactly_so_many_degrees(degrees: float) -> None:
    real = poses(30, spread=2.0)
    moved = metrics.geodesic_noise(real, degrees=degrees, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(metrics.geodesic_deg(real, moved), np.full((30, 4), degrees), rtol=1e-6)


def test_noise_leaves_the_other_joints_alone() -> None:
    real = poses(5)
    moved = metrics.geodesic_noise(real, degrees=10.0, joints=torch.tensor([1, 3]))
    assert torch.equal(moved[:, [0, 2]], real[:, [0, 2]])
    assert (metrics.geodesic_deg(real, moved)[:, [1, 3]] > 9.99).all()


def test_auroc_counts_pairs() -> None:
    rng = np.random.default_rng(3)
    real, other = rng.integers(0, 6, 40) * 1.0, rng.integers(2, 9, 30) * 1.0
    pairs = other[None, :] - real[:, None]
    expected = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
    assert metrics.auroc(torch.as_tensor(real), torch.as_tensor(other)) == pytest.approx(expected, abs=1e-12)


def test_auroc_is_blind_on_equals_and_counts_what_is_not_finite_as_high() -> None:
    same = torch.ones(7)
    assert metrics.auroc(same, same) == 0.5
    assert metrics.auroc(same, torch.tensor([math.nan, math.inf])) == 1.0


def test_all_pairs_equal_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = poses(9, seed=1), poses(5, seed=2)
    monkeypatch.setattr(metrics, "_CHUNK", 10)  # two rows at a time
    expected = torch.stack([metrics.geodesic_deg(row.expand_as(b), b).mean(dim=1) for row in a])
    torch.testing.assert_close(metrics.pairwise_deg(a, b), expected)
    torch.testing.assert_close(metrics.nearest_deg(a, b), expected.min(dim=1).values)


def test_diversity_leaves_out_the_distance_to_oneself() -> None:
    two = torch.zeros(2, 1, 3)
    two[1, 0, 2] = 0.5
    assert metrics.diversity_deg(two) == pytest.approx(math.degrees(0.5), rel=1e-4)
    assert metrics.diversity_deg(two[:1]) == 0.0


def test_mean_pose_is_scipys_mean_rotation_and_knows_no_branch() -> None:
    drawn = poses(40, spread=0.4)
    drawn[:, 0] = torch.as_tensor(
        Rotation.from_rotvec([[np.pi - 0.1, 0, 0], [-(np.pi - 0.1), 0, 0]] * 20).as_rotvec()
    )
    mean = metrics.mean_pose(drawn)
    for joint in range(4):
        expected = Rotation.from_rotvec(drawn[:, joint].numpy()).mean()
        assert (expected.inv() * Rotation.from_rotvec(mean[joint].numpy())).magnitude() < 1e-6
    assert mean[0].norm() == pytest.approx(np.pi, abs=1e-6)


def test_marginal_distance_of_shifted_sets_is_the_shift() -> None:
    drawn = poses(1000)
    shifted = drawn + torch.tensor([0.0, 0.1, 0.2, 0.0])[None, :, None]
    found = metrics.marginal_distance_deg(drawn, shifted)
    np.testing.assert_allclose(found, np.rad2deg([0.0, 0.1, 0.2, 0.0]), atol=1e-9)
    exact = np.mean(
        [stats.wasserstein_distance(drawn[:, 1, k], poses(1000, seed=9)[:, 1, k]) for k in range(3)]
    )
    assert metrics.marginal_distance_deg(drawn, poses(1000, seed=9))[1] == pytest.approx(
        np.rad2deg(exact), rel=0.1
    )


def test_clustered_error_sees_that_frames_of_a_clip_are_one_observation() -> None:
    rng = np.random.default_rng(5)
    clips = rng.normal(size=400)
    values = torch.as_tensor(np.repeat(clips, 25))
    clusters = torch.arange(400).repeat_interleave(25)
    assert metrics.clustered_error(values, clusters) == pytest.approx(clips.std(ddof=1) / 20, rel=1e-6)
    assert math.isnan(metrics.clustered_error(values, torch.zeros(10_000, dtype=torch.long)))
