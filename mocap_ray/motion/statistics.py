"""Mean and standard deviation of features, from moments that can be merged.

The receipt of a shard holds the `Moments` of its clips; merging these in a fixed order gives the statistics
without reading the frames again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from mocap_ray.motion import kernels
from mocap_ray.motion.features import GROUPS, WIDTH, Profile


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Count, mean and sum of squared deviations from the mean, per column.

    Attributes:
        count: rows seen.
        mean: [263] float64, zeros where count is 0.
        m2: [263] float64 sum over rows of (row - mean)^2.
    """

    count: int
    mean: Float64[np.ndarray, "263"]
    m2: Float64[np.ndarray, "263"]

    @classmethod
    def empty(cls) -> Moments:
        """The moments of no rows: the neutral element of `merge`."""
        return cls(0, np.zeros(WIDTH), np.zeros(WIDTH))

    @classmethod
    def of_features(cls, features: Float32[np.ndarray, "R 263"]) -> Moments:
        """The moments of the rows of one clip, or of several concatenated clips."""
        if not len(features):
            return cls.empty()
        mean, m2 = np.empty(WIDTH), np.empty(WIDTH)
        kernels.moments(np.require(features, np.float32, ["C", "A", "W"]), mean, m2)
        return cls(len(features), mean, m2)

    def merge(self, other: Moments) -> Moments:
        """The moments of the rows of both (Chan, Golub, LeVeque 1983); the order changes only the rounding."""
        if not self.count or not other.count:
            return other if other.count else self
        count = self.count + other.count
        delta = other.mean - self.mean
        mean = self.mean + delta * (other.count / count)
        m2 = self.m2 + other.m2 + delta * delta * (self.count * other.count / count)
        return Moments(count, mean, m2)


def humanml3d(moments: Moments) -> tuple[Float64[np.ndarray, "263"], Float64[np.ndarray, "263"]]:
    """(mean, std) by the rule of HumanML3D: the std of a group is the mean of the std of its columns.

    Degenerate input: a group that never changes has std 1, not 0; without rows, mean 0 and std 1.
    """
    if not moments.count:
        return np.zeros(WIDTH), np.ones(WIDTH)
    std = np.sqrt(moments.m2 / moments.count)
    for group in GROUPS:
        std[group.columns] = std[group.columns].mean() or 1.0
    return moments.mean.copy(), std


def flowmimic(moments: Moments) -> tuple[Float64[np.ndarray, "263"], Float64[np.ndarray, "263"]]:
    """(mean, std) by the rule of FlowMimic: per column, with a variance of at least 1e-6.

    The contacts are not normalised (mean 0, std 1). Degenerate input: without rows, mean 0 and std 1.
    """
    if not moments.count:
        return np.zeros(WIDTH), np.ones(WIDTH)
    mean, std = moments.mean.copy(), np.sqrt(np.maximum(moments.m2 / moments.count, 1e-6))
    contact = GROUPS[-1].columns
    mean[contact], std[contact] = 0.0, 1.0
    return mean, std


RULES: dict[Profile, Callable[[Moments], tuple[np.ndarray, np.ndarray]]] = {
    "humanml3d": humanml3d,
    "flowmimic": flowmimic,
}
"""How each profile is normalised: (features - mean) / std."""
