from __future__ import annotations

import numpy as np
import pytest

from mocap_ray.motion.features import GROUPS
from mocap_ray.motion.statistics import RULES, Moments


def rows(seed: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(count, 263)) * rng.uniform(0, 3, 263) + 100 * rng.normal(size=263)).astype(
        np.float32
    )


@pytest.mark.parametrize("cuts", [[], [1], [7, 40], [1, 2, 3, 90]])
def test_merged_moments_equal_one_pass(cuts):
    features = rows(0, 100)
    total = Moments.empty()
    for piece in np.split(features, cuts):
        total = total.merge(Moments.of_features(piece))
    exact = features.astype(np.float64)
    assert total.count == 100
    np.testing.assert_allclose(total.mean, exact.mean(0), rtol=1e-13)
    np.testing.assert_allclose(total.m2, exact.var(0) * 100, rtol=1e-10, atol=1e-12)


def test_no_rows_are_the_neutral_element():
    some = Moments.of_features(rows(1, 5))
    none = Moments.of_features(rows(1, 0))
    for merged in (some.merge(none), none.merge(some)):
        assert merged.count == 5
        np.testing.assert_array_equal(merged.mean, some.mean)
        np.testing.assert_array_equal(merged.m2, some.m2)
    for rule in RULES.values():
        mean, std = rule(none)
        np.testing.assert_array_equal(mean, 0)
        np.testing.assert_array_equal(std, 1)


def test_humanml3d_shares_one_std_per_group():
    features = rows(2, 64)
    mean, std = RULES["humanml3d"](Moments.of_features(features))
    exact = features.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean(0), rtol=1e-12)
    for group in GROUPS:
        np.testing.assert_allclose(std[group.columns], exact[:, group.columns].std(0).mean(), rtol=1e-10)


def test_flowmimic_floors_the_variance_and_leaves_contacts():
    features = rows(3, 64)
    features[:, 10] = 0.25
    mean, std = RULES["flowmimic"](Moments.of_features(features))
    assert std[10] == 1e-3
    exact = features.astype(np.float64)
    kept = [c for c in range(259) if c != 10]
    np.testing.assert_allclose(std[kept], exact[:, kept].std(0), rtol=1e-10)
    np.testing.assert_array_equal(mean[259:], 0)
    np.testing.assert_array_equal(std[259:], 1)


def test_columns_that_never_change_divide_by_one_not_zero():
    features = rows(4, 10)
    features[:, 259:] = 1
    _, std = RULES["humanml3d"](Moments.of_features(features))
    np.testing.assert_array_equal(std[259:], 1)
