"""Mean and standard deviation of features, in sums that can be merged.

A shard keeps `Moments` of its training clips in its receipt; merging them in one order gives the same
statistics as one pass over all frames, without a second reading.
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
        """Of no rows at all: the neutral element of `merge`."""
        return cls(0, np.zeros(WIDTH), np.zeros(WIDTH))

    @classmethod
    def of_features(cls, features: Float32[np.ndarray, "R 263"]) -> Moments:
        """Of the rows of one clip, or of many clips one after the other."""
        if not len(features):
            return cls.empty()
        mean, m2 = np.empty(WIDTH), np.empty(WIDTH)
        kernels.moments(np.require(features, np.float32, ["C", "A", "W"]), mean, m2)
        return cls(len(features), mean, m2)

    def merge(self, other: Moments) -> Moments:
        """Of the rows of both (Chan, Golub, LeVeque 1983); any order gives the same up to rounding."""
        if not self.count or not other.count:
            return other if other.count else self
        count = self.count + other.count
        delta = other.mean - self.mean
        mean = self.mean + delta * (other.count / count)
        m2 = self.m2 + other.m2 + delta * delta * (self.count * other.count / count)
        return Moments(count, mean, m2)


def humanml3d(moments: Moments) -> tuple[Float64[np.ndarray, "263"], Float64[np.ndarray, "263"]]:
    """(mean, std) by the rule of HumanML3D: each group's std is the mean over its columns' std.

    Degenerate input: a group that never changes has std 1, not 0; no rows at all: mean 0, std 1.
    """
    if not moments.count:
        return np.zeros(WIDTH), np.ones(WIDTH)
    std = np.sqrt(moments.m2 / moments.count)
    for group in GROUPS:
        std[group.columns] = std[group.columns].mean() or 1.0
    return moments.mean.copy(), std


def flowmimic(moments: Moments) -> tuple[Float64[np.ndarray, "263"], Float64[np.ndarray, "263"]]:
    """(mean, std) by the rule of FlowMimic: per column, with a variance of at least 1e-6.

    The contacts are left as they are (mean 0, std 1). No rows at all: mean 0, std 1.
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
