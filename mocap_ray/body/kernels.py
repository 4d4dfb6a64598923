"""Hot loops of the body models, compiled by numba: shaped rest joints and forward kinematics.

The bits of a frame depend on that frame alone: frames are processed in blocks of exactly `LANES`, the last
one padded with zeros, so that each frame runs through the same vector instructions whatever its neighbours are.
No multiplication is fused with an addition, so that machines with and without FMA agree.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

LANES = 16
"""Frames side by side in one block (a power of two; one cache line holds 8 float64)."""

# pi in three parts: the products of the first two with a turn count below 2**20 are exact.
_PI_1 = 3.1415926534682512
_PI_2 = 1.2154201012607932e-10
_PI_3 = 4.044532497591901e-21
_ROUND = 6755399441055744.0  # 1.5 * 2**52: adding and subtracting it rounds to the nearest integer
_FAR = 1.0e6  # rad; a component beyond it uses the slow range reduction of libm
_TINY = 1.0e-280  # keeps the square root of a zero rotation away from zero, changes no other


@njit(cache=True, nogil=True, error_model="numpy")
def shape_rest(rest, directions, betas, out):
    """`out[j, k] = rest[j, k] + sum_b directions[j, k, b] betas[b]`, summed in the order of b."""
    joints, _, _ = directions.shape
    for j in range(joints):
        for k in range(3):
            total = rest[j, k]
            for b in range(betas.shape[0]):
                total += directions[j, k, b] * betas[b]
            out[j, k] = total


@njit(cache=True, nogil=True, error_model="numpy")
def forward(poses, trans, offsets, parents, has_child, out):
    """Positions of the first joints of a kinematic tree.

    Rotations are unit quaternions made from the half angle h reduced to r = h - k pi in [-pi/2, pi/2]:
    the sign (-1)^k that sin and cos then share flips the sign of the quaternion, which is the same rotation, so
    no branch is needed. sin(r) / |v| keeps its limit 1/2 at a rotation of zero.

    Args:
        poses: [T, C, 3] float64 axis-angle.
        trans: [T, 3] float64.
        offsets: [C, 3] joint minus parent at rest; row 0 is the root's rest position.
        parents: [C] int64, parents[j] < j.
        has_child: [C] bool; rotations of joints without a child are skipped.
        out: [T, C, 3] float64, written.
    """
    frames, count, _ = poses.shape
    v = np.zeros((3, LANES))
    q = np.zeros((count, 4, LANES))
    p = np.zeros((count, 3, LANES))
    local = np.zeros((4, LANES))
    for start in range(0, frames, LANES):
        filled = min(LANES, frames - start)
        for i in range(filled):
            for k in range(3):
                p[0, k, i] = offsets[0, k] + trans[start + i, k]
        for j in range(count):
            if j > 0:
                _place(q[parents[j]], p[parents[j]], offsets[j, 0], offsets[j, 1], offsets[j, 2], p[j])
            if has_child[j]:
                far = False
                for i in range(filled):
                    for k in range(3):
                        angle = poses[start + i, j, k]
                        v[k, i] = angle
                        far |= abs(angle) > _FAR
                _quaternion(v, local)
                if far:
                    _quaternion_far(v, local)
                if j > 0:
                    _multiply(q[parents[j]], local, q[j])
                else:
                    q[0, :, :] = local
        for i in range(filled):
            for j in range(count):
                for k in range(3):
                    out[start + i, j, k] = p[j, k, i]


@njit(cache=True, nogil=True, error_model="numpy")
def _quaternion(v, out):
    """Unit quaternions (w, x, y, z) of LANES axis-angle vectors `v` [3, LANES]."""
    for i in range(LANES):
        x = v[0, i]
        y = v[1, i]
        z = v[2, i]
        angle = math.sqrt(x * x + y * y + z * z + _TINY)
        half = 0.5 * angle
        k = (half * 0.3183098861837907 + _ROUND) - _ROUND
        r = ((half - k * _PI_1) - k * _PI_2) - k * _PI_3
        u = r * r
        # Taylor series around 0; the first term left out is below 2e-17 at pi/2.
        c = 1.0 / 2432902008176640000.0
        c = c * u - 1.0 / 6402373705728000.0
        c = c * u + 1.0 / 20922789888000.0
        c = c * u - 1.0 / 87178291200.0
        c = c * u + 1.0 / 479001600.0
        c = c * u - 1.0 / 3628800.0
        c = c * u + 1.0 / 40320.0
        c = c * u - 1.0 / 720.0
        c = c * u + 1.0 / 24.0
        c = c * u - 0.5
        c = c * u + 1.0
        s = 1.0 / 51090942171709440000.0
        s = s * u - 1.0 / 121645100408832000.0
        s = s * u + 1.0 / 355687428096000.0
        s = s * u - 1.0 / 1307674368000.0
        s = s * u + 1.0 / 6227020800.0
        s = s * u - 1.0 / 39916800.0
        s = s * u + 1.0 / 362880.0
        s = s * u - 1.0 / 5040.0
        s = s * u + 1.0 / 120.0
        s = s * u - 1.0 / 6.0
        s = s * u + 1.0
        s = s * r / angle
        out[0, i] = c
        out[1, i] = s * x
        out[2, i] = s * y
        out[3, i] = s * z


@njit(cache=True, nogil=True, error_model="numpy")
def _quaternion_far(v, out):
    """The same, by libm, for the lanes with a component beyond `_FAR`."""
    for i in range(LANES):
        if max(abs(v[0, i]), abs(v[1, i]), abs(v[2, i])) > _FAR:
            angle = math.sqrt(v[0, i] * v[0, i] + v[1, i] * v[1, i] + v[2, i] * v[2, i])
            s = math.sin(0.5 * angle) / angle
            out[0, i] = math.cos(0.5 * angle)
            for k in range(3):
                out[k + 1, i] = s * v[k, i]


@njit(cache=True, nogil=True, error_model="numpy")
def _multiply(a, b, out):
    """Hamilton products of LANES quaternions."""
    for i in range(LANES):
        aw, ax, ay, az = a[0, i], a[1, i], a[2, i], a[3, i]
        bw, bx, by, bz = b[0, i], b[1, i], b[2, i], b[3, i]
        out[0, i] = aw * bw - ax * bx - ay * by - az * bz
        out[1, i] = aw * bx + ax * bw + ay * bz - az * by
        out[2, i] = aw * by - ax * bz + ay * bw + az * bx
        out[3, i] = aw * bz + ax * by - ay * bx + az * bw


@njit(cache=True, nogil=True, error_model="numpy")
def _place(q, p, x, y, z, out):
    """`out = p + q (x, y, z) q*` for LANES parents at `p` with rotation `q`."""
    for i in range(LANES):
        w, a, b, c = q[0, i], q[1, i], q[2, i], q[3, i]
        tx = 2.0 * (b * z - c * y)
        ty = 2.0 * (c * x - a * z)
        tz = 2.0 * (a * y - b * x)
        out[0, i] = p[0, i] + (x + w * tx + (b * tz - c * ty))
        out[1, i] = p[1, i] + (y + w * ty + (c * tx - a * tz))
        out[2, i] = p[2, i] + (z + w * tz + (a * ty - b * tx))
