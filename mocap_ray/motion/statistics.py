"""Mean and standard deviation of features, in sums that can be merged (floor 1).

A shard keeps `Moments` of its training clips in its receipt; merging them in one order gives the same
statistics as one pass over all frames, without a second reading.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64

from mocap_ray.motion import kernels
from mocap_ray.motion.features import GROUPS, WIDTH, Profile


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Count, mean and sum of squared deviations from the mean, per column.

    Attributes:
        count: rows seen.
        mean: [263] float64, zeros where count is 0.
        M2: [263] float64 sum over rows of (row - mean)^2.
    """

    count: int
    mean: Float64[np.ndarray, "263"]
    M2: Float64[np.ndarray, "263"]

    @classmethod
    def none(cls) -> Moments:
        """Of no rows at all: the neutral element of `merge`."""
        return cls(0, np.zeros(WIDTH), np.zeros(WIDTH))

    @classmethod
    def of_features(cls, features: Float32[np.ndarray, "R 263"]) -> Moments:
        """Of the rows of one clip, or of many clips one after the other."""
        if not len(features):
            return cls.none()
        mean, M2 = np.empty(WIDTH), np.empty(WIDTH)
        kernels.moments(np.ascontiguousarray(features), mean, M2)
        return cls(len(features), mean, M2)


def merge(a: Moments, b: Moments) -> Moments:
    """Of the rows of both (Chan, Golub, LeVeque 1983); equal in any order up to rounding."""
    count = a.count + b.count
    if not a.count or not b.count:
        return b if b.count else a
    delta = b.mean - a.mean
    mean = a.mean + delta * (b.count / count)
    return Moments(count, mean, a.M2 + b.M2 + delta * delta * (a.count * b.count / count))


def mean_and_std(
    moments: Moments, *, profile: Profile
) -> tuple[Float[np.ndarray, "263"], Float[np.ndarray, "263"]]:
    """What features are normalised by: (features - mean) / std.

    Args:
        moments: of all training rows.
        profile: `humanml3d`: each group's std is the mean over its columns' std. `flowmimic`: per column,
            the variance at least 1e-6; contacts are left as they are (mean 0, std 1).

    Degenerate input: where a group of the humanml3d rule never changes, its std is 1 and not 0.

    Raises:
        ValueError: no rows.
    """
    if not moments.count:
        raise ValueError("There are no rows to take statistics of: the training split has no clips.")
    variance = moments.M2 / moments.count
    if profile == "flowmimic":
        contact = GROUPS[-1].columns
        mean, std = moments.mean.copy(), np.sqrt(np.maximum(variance, 1e-6))
        mean[contact], std[contact] = 0.0, 1.0
        return mean, std
    std = np.sqrt(variance)
    for group in GROUPS:
        std[group.columns] = std[group.columns].mean() or 1.0
    return moments.mean.copy(), std
