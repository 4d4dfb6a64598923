"""Rotations of many frames at once, as arrays whose last axis is the frame: matrices, quaternions, rotation vectors.

The frame is last, so that every step is one pass over contiguous memory; the oracle in the tests is scipy's `Rotation`.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64


def turn_about(R: Float64[np.ndarray, "3 3 T"], axis: int, cos: np.ndarray, sin: np.ndarray) -> None:
    """R becomes R times a rotation about axis 0, 1 or 2 of its own frame, in place."""
    a, b = (axis + 1) % 3, (axis + 2) % 3
    first = cos * R[:, a] + sin * R[:, b]
    R[:, b] = cos * R[:, b] - sin * R[:, a]
    R[:, a] = first


def times(A: Float64[np.ndarray, "3 3 #T"], B: Float64[np.ndarray, "3 3 #T"]) -> Float64[np.ndarray, "3 3 T"]:
    """The products A B; one of the two may be a single matrix [3, 3, 1]."""
    return np.asarray(A[:, 0, None] * B[0] + A[:, 1, None] * B[1] + A[:, 2, None] * B[2])


def inverse_times(
    A: Float64[np.ndarray, "3 3 #T"], B: Float64[np.ndarray, "3 3 #T"]
) -> Float64[np.ndarray, "3 3 T"]:
    """The products of the inverse of A with B."""
    return times(np.swapaxes(A, 0, 1), B)


def applied(R: Float64[np.ndarray, "3 3 #T"], v: Float64[np.ndarray, "3 #T"]) -> Float64[np.ndarray, "3 T"]:
    """The vectors R v."""
    return np.asarray(R[:, 0] * v[0] + R[:, 1] * v[1] + R[:, 2] * v[2])


def quaternions(R: Float64[np.ndarray, "3 3 T"]) -> Float64[np.ndarray, "4 T"]:
    """Unit quaternions (w, x, y, z) of matrices; NaN for a matrix with a NaN."""
    xx, yy, zz = R[0, 0], R[1, 1], R[2, 2]
    x, y, z = R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]
    xy, xz, yz = R[0, 1] + R[1, 0], R[0, 2] + R[2, 0], R[1, 2] + R[2, 1]
    four = np.array(  # 4 q q^T, row by row
        [
            [1 + xx + yy + zz, x, y, z],
            [x, 1 + xx - yy - zz, xy, xz],
            [y, xy, 1 - xx + yy - zz, yz],
            [z, xz, yz, 1 - xx - yy + zz],
        ]
    )
    # The row of the largest component loses no digits.
    largest = np.argmax(np.einsum("iit->it", four), axis=0)
    q = np.take_along_axis(four, largest[None, None], axis=0)[0]
    return np.asarray(q / np.sqrt((q * q).sum(axis=0)))


def matrices(q: Float64[np.ndarray, "4 T"]) -> Float64[np.ndarray, "3 3 T"]:
    """Matrices of unit quaternions (w, x, y, z)."""
    w, x, y, z = q
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def rotation_vectors(R: Float64[np.ndarray, "3 3 T"]) -> Float64[np.ndarray, "3 T"]:
    """Axis times angle, rad, angle in [0, pi]; zero for the identity."""
    q = quaternions(R)
    q = np.where(q[0] < 0, -q, q)
    sine = np.sqrt((q[1:] ** 2).sum(axis=0))
    small = sine < 1e-9
    factor = np.where(small, 2.0, 2.0 * np.arctan2(sine, q[0]) / np.where(small, 1.0, sine))
    return np.asarray(q[1:] * factor)


def halfway(A: Float64[np.ndarray, "3 3 T"], B: Float64[np.ndarray, "3 3 T"]) -> Float64[np.ndarray, "3 3 T"]:
    """The rotations in the middle of the shortest arcs from A to B."""
    p, q = quaternions(A), quaternions(B)
    middle = p + np.where((p * q).sum(axis=0) < 0, -q, q)
    return matrices(middle / np.sqrt((middle * middle).sum(axis=0)))


def between(a: Float64[np.ndarray, "3"], b: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3 3"]:
    """The smallest rotation that turns the direction a to the direction b; the identity if either is zero.

    Opposite directions are turned about an axis at right angles to them.
    """
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    if lengths < 1e-12:
        return np.eye(3)
    q = np.array([1.0 + float(a @ b) / lengths, *np.cross(a, b) / lengths])
    if q[0] < 1e-9:
        across = np.eye(3)[int(np.argmin(np.abs(a)))]
        q = np.array([0.0, *np.cross(a, across)])
    return matrices((q / np.linalg.norm(q))[:, None])[..., 0]
