"""Figures of motion: errors of joints, contacts, smoothness, sliding feet, and distances between sets of features.

All of them take features that are not normalised, [B, L, 263] with zeros beyond each window's length, and give values
for each window, so that windows can be grouped by domain afterwards.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
from jaxtyping import Bool, Float, Int

from mocap_ray.generation.losses import CONTACTS

FEET = (7, 10, 8, 11)
"""Joints of the four contact columns: left ankle, left foot, right ankle, right foot."""
ACTIVE = 0.01
"""A latent number is active if the variance of its mean over windows is above this (Burda et al. 2016,
arXiv:1509.00519)."""


def lengths_mask(length: Int[np.ndarray, "B"], frames: int) -> Bool[np.ndarray, "B T"]:
    """True for the first `length` of `frames` frames."""
    return np.asarray(np.arange(frames) < length[:, None])


def joint_errors(
    found: Float[np.ndarray, "B T 22 3"],
    true: Float[np.ndarray, "B T 22 3"],
    mask: Bool[np.ndarray, "B T"],
) -> dict[str, Float[np.ndarray, "B"]]:
    """Mean distances of each window in mm.

    Returns:
        `mpjpe`: of all joints, where both motions start at the same place and run freely; `mpjpe_local`: with the
        roots on the same spot of the floor; `root`: of the root alone.
    """
    distance = np.linalg.norm(found - true, axis=-1)
    floor = np.array([1.0, 0.0, 1.0])
    local = np.linalg.norm((found - found[:, :, :1] * floor) - (true - true[:, :, :1] * floor), axis=-1)
    values = {"mpjpe": distance.mean(-1), "mpjpe_local": local.mean(-1), "root": distance[..., 0]}
    return {name: 1000 * _over_frames(each, mask) for name, each in values.items()}


def contact_counts(
    found: Float[np.ndarray, "B T 263"], true: Float[np.ndarray, "B T 263"], mask: Bool[np.ndarray, "B T"]
) -> Int[np.ndarray, "B 3"]:
    """True positives, false positives and false negatives of the contacts of each window, above one half."""
    a, b = (x[..., CONTACTS] > 0.5 for x in (found, true))
    real = mask[..., None]
    counts = [(p & real).sum((1, 2)) for p in (a & b, a & ~b, ~a & b)]
    return np.stack(counts, axis=1).astype(np.int64)


def f1(counts: Int[np.ndarray, "N 3"]) -> float:
    """F1 of summed counts; NaN without a contact in either.

    >>> f1(np.array([[3, 1, 1], [1, 0, 2]]))
    0.6666666666666666
    """
    right, extra, missed = counts.sum(0).tolist()
    whole = 2 * right + extra + missed
    return 2 * right / whole if whole else float("nan")


def jitter(
    joints: Float[np.ndarray, "B T 22 3"], mask: Bool[np.ndarray, "B T"], *, fps: float
) -> Float[np.ndarray, "B"]:
    """Mean norm of the third difference of the joints of each window, m/s^3; NaN for fewer than 4 frames."""
    third = np.linalg.norm(np.diff(joints, n=3, axis=1), axis=-1).mean(-1) * fps**3
    return _over_frames(third, mask[:, 3:])


def foot_skate(
    joints: Float[np.ndarray, "B T 22 3"],
    contacts: Float[np.ndarray, "B T 4"],
    mask: Bool[np.ndarray, "B T"],
) -> tuple[Float[np.ndarray, "B"], Int[np.ndarray, "B"]]:
    """How far feet slide on the floor while in contact: the sum in mm, and the number of steps between frames."""
    feet = joints[:, :, list(FEET)][..., [0, 2]]
    step = 1000 * np.linalg.norm(np.diff(feet, axis=1), axis=-1)
    on = (contacts[:, :-1] > 0.5) & mask[:, 1:, None]
    return np.asarray((step * on).sum((1, 2))), np.asarray(on.sum((1, 2)), np.int64)


def fid(a: Float[np.ndarray, "N F"], b: Float[np.ndarray, "M F"]) -> float:
    """The Fréchet distance of two sets of feature vectors, taken as Gaussian; NaN for fewer than two vectors.

    With fewer vectors than numbers in a vector the covariances are singular, and the distance has a large bias.
    """
    if min(len(a), len(b)) < 2:
        return float("nan")
    means = [x.mean(0) for x in (a, b)]
    covariances = [np.cov(x, rowvar=False) for x in (a, b)]
    # The trace of the root of S1 S2, by the eigenvalues of the symmetric product with the root of S1.
    values, vectors = scipy.linalg.eigh(covariances[0])
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    cross = np.sqrt(np.maximum(scipy.linalg.eigvalsh(root @ covariances[1] @ root), 0.0)).sum()
    distance = np.square(means[0] - means[1]).sum() + sum(np.trace(c) for c in covariances) - 2 * cross
    return float(max(distance, 0.0))


def diversity(features: Float[np.ndarray, "N F"], *, seed: int, pairs: int = 1000) -> float:
    """Mean distance of random pairs of feature vectors; NaN for fewer than two vectors."""
    if len(features) < 2:
        return float("nan")
    rng = np.random.default_rng(seed)
    first = rng.integers(len(features), size=pairs)
    other = (first + rng.integers(1, len(features), size=pairs)) % len(features)
    return float(np.linalg.norm(features[first] - features[other], axis=-1).mean())


def _over_frames(values: Float[np.ndarray, "B T"], mask: Bool[np.ndarray, "B T"]) -> Float[np.ndarray, "B"]:
    """The mean over the real frames of each window; NaN without any."""
    count = mask.sum(1)
    total = np.where(mask, values, 0.0).sum(1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
