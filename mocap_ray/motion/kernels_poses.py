# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
"""The hot loops over axis-angle poses: canonical vectors, axes, interpolation, quality (numba).

Quaternions are unit (w, x, y, z). Every frame is computed for itself, so its bits do not depend on others.
The oracle in the tests is scipy's `Rotation`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

_part = njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)

GOOD, NON_FINITE, TELEPORT, UNSTABLE = 0, 1, 2, 3
"""What a frame's code says."""

_EXPONENT = np.int64(0x7FF0000000000000)  # all bits set: infinite or not a number
_PI2 = math.pi * math.pi


@_part
def _quaternion(x, y, z):
    """Axis-angle to unit quaternion, for angles of any size."""
    n2 = x * x + y * y + z * z
    if n2 < 1e-6:
        return 1.0 - n2 * (1.0 / 8.0 - n2 / 384.0), *_scaled(0.5 - n2 * (1.0 / 48.0 - n2 / 3840.0), x, y, z)
    angle = math.sqrt(n2)
    return math.cos(0.5 * angle), *_scaled(math.sin(0.5 * angle) / angle, x, y, z)


@_part
def _scaled(k, x, y, z):
    return k * x, k * y, k * z


@_part
def _rotvec(w, x, y, z):
    """Unit quaternion to axis-angle with an angle in [0, pi]."""
    n = math.sqrt(x * x + y * y + z * z)
    k = 2.0 * math.atan2(n, abs(w)) / n if n > 1e-150 else 2.0
    return _scaled(-k if w < 0.0 else k, x, y, z)


@_part
def _times(aw, ax, ay, az, bw, bx, by, bz):
    """Hamilton product."""
    return (
        aw * bw - ax * bx - ay * by - az * bz,
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
    )


@njit(cache=True, nogil=True, error_model="numpy")
def to_smplx(poses, to, out):
    """Poses [T, J, 3] float64 into `out` [T, 55, 3] float32 zeros, joint j at to[j], angles in [0, pi]."""
    two_pi = 2.0 * math.pi
    for t in range(len(poses)):
        for j in range(len(to)):
            x, y, z = poses[t, j, 0], poses[t, j, 1], poses[t, j, 2]
            n2 = x * x + y * y + z * z
            if n2 > _PI2:
                angle = math.sqrt(n2)
                k = (angle - two_pi * np.rint(angle / two_pi)) / angle
                x, y, z = k * x, k * y, k * z
            out[t, to[j], 0], out[t, to[j], 1], out[t, to[j], 2] = x, y, z


@njit(cache=True, nogil=True, error_model="numpy")
def turn_roots(poses, turn):
    """Each root rotation of `poses` [T, J, 3] float64, in place, to `turn` times itself; angles in [0, pi]."""
    for t in range(len(poses)):
        w, x, y, z = _quaternion(poses[t, 0, 0], poses[t, 0, 1], poses[t, 0, 2])
        w, x, y, z = _times(turn[0], turn[1], turn[2], turn[3], w, x, y, z)
        poses[t, 0, 0], poses[t, 0, 1], poses[t, 0, 2] = _rotvec(w, x, y, z)


@njit(cache=True, nogil=True, error_model="numpy")
def interpolate(before, after, fraction, out):
    """Shortest-arc interpolation of poses [K, J, 3] float64 by fraction [K] in [0, 1]; both ends are copies."""
    for k in range(len(out)):
        u = fraction[k]
        for j in range(out.shape[1]):
            ax, ay, az = before[k, j, 0], before[k, j, 1], before[k, j, 2]
            bx, by, bz = after[k, j, 0], after[k, j, 1], after[k, j, 2]
            if u == 0.0 or (ax == bx and ay == by and az == bz):
                out[k, j, 0], out[k, j, 1], out[k, j, 2] = ax, ay, az
                continue
            if u == 1.0:
                out[k, j, 0], out[k, j, 1], out[k, j, 2] = bx, by, bz
                continue
            aw, ax, ay, az = _quaternion(ax, ay, az)
            bw, bx, by, bz = _quaternion(bx, by, bz)
            w, x, y, z = _times(aw, -ax, -ay, -az, bw, bx, by, bz)
            x, y, z = _rotvec(w, x, y, z)
            w, x, y, z = _quaternion(u * x, u * y, u * z)
            w, x, y, z = _times(aw, ax, ay, az, w, x, y, z)
            out[k, j, 0], out[k, j, 1], out[k, j, 2] = _rotvec(w, x, y, z)


@njit(cache=True, nogil=True, error_model="numpy")
def angular_acceleration(poses, t, j):
    """|omega_t - omega_{t-1}| per frame^2 of joint j, from the three rotations about frame t."""
    aw, ax, ay, az = _quaternion(poses[t - 1, j, 0], poses[t - 1, j, 1], poses[t - 1, j, 2])
    bw, bx, by, bz = _quaternion(poses[t, j, 0], poses[t, j, 1], poses[t, j, 2])
    cw, cx, cy, cz = _quaternion(poses[t + 1, j, 0], poses[t + 1, j, 1], poses[t + 1, j, 2])
    w, x, y, z = _times(aw, -ax, -ay, -az, bw, bx, by, bz)
    x0, y0, z0 = _rotvec(w, x, y, z)
    w, x, y, z = _times(bw, -bx, -by, -bz, cw, cx, cy, cz)
    x1, y1, z1 = _rotvec(w, x, y, z)
    return math.sqrt((x1 - x0) ** 2 + (y1 - y0) ** 2 + (z1 - z0) ** 2)


@_part
def _step2(poses, t):
    """Sum over the 22 body joints of the squared difference of axis-angle vectors from frame t to t + 1."""
    a, b, c = 0.0, 0.0, 0.0
    for j in range(22):
        x = poses[t + 1, j, 0] - poses[t, j, 0]
        y = poses[t + 1, j, 1] - poses[t, j, 1]
        z = poses[t + 1, j, 2] - poses[t, j, 2]
        a, b, c = a + x * x, b + y * y, c + z * z
    return a + b + c


@njit(cache=True, nogil=True, error_model="numpy")
def scan(raw, joints, trans, root_limit, angular_limit, skip, codes, found):
    """Code every frame, and find the largest accelerations.

    Args:
        raw: bytes of poses [T, joints, 3] float64 (bytes, because a file's arrays are aligned to nothing).
        joints: how many per frame, at least 22.
        trans: [T, 3] float64 metres.
        root_limit: m per frame^2.
        angular_limit: rad per frame^2.
        skip: rad per frame^2 up to which a cheap bound on a frame's angular acceleration is believed;
            negative: none is; infinite: angular accelerations are not looked at.
        codes: [T] uint8 zeros, written.
        found: [5] float64 zeros, written: largest root acceleration and its frame, largest angular
            acceleration (or its bound where that was believed), its frame and joint.
    """
    frames = len(trans)
    poses = raw.view(np.float64).reshape(frames, joints, 3)
    bits = raw.view(np.int64)
    width = np.uint64(3 * joints)
    for t in range(frames):
        wrong = 0
        first = np.uint64(t) * width  # unsigned, so that the loop vectorises: see kernels.py
        for k in range(width):
            wrong += (bits[first + k] & _EXPONENT) == _EXPONENT
        for k in range(3):
            wrong += 0 if math.isfinite(trans[t, k]) else 1
        if wrong > 0:
            codes[t] = NON_FINITE
    for t in range(1, frames - 1):
        if codes[t - 1] == NON_FINITE or codes[t] == NON_FINITE or codes[t + 1] == NON_FINITE:
            continue
        x = trans[t + 1, 0] - 2.0 * trans[t, 0] + trans[t - 1, 0]
        y = trans[t + 1, 1] - 2.0 * trans[t, 1] + trans[t - 1, 1]
        z = trans[t + 1, 2] - 2.0 * trans[t, 2] + trans[t - 1, 2]
        a = math.sqrt(x * x + y * y + z * z)
        if a > found[0]:
            found[0], found[1] = a, t
        if a > root_limit:
            codes[t] = TELEPORT
    if frames < 3 or skip == math.inf:
        return
    # The exponential map shortens: |omega_t| <= |v_{t+1} - v_t| for axis-angle vectors v, hence
    # |omega_t - omega_{t-1}|^2 <= 2 (|v_{t+1} - v_t|^2 + |v_t - v_{t-1}|^2), for each joint and so for the sum.
    last = _step2(poses, 0) if skip >= 0.0 else 0.0
    for t in range(1, frames - 1):
        bound = math.inf
        if skip >= 0.0:
            step = _step2(poses, t)
            bound = math.sqrt(2.0 * (step + last))
            last = step
        if codes[t - 1] == NON_FINITE or codes[t] == NON_FINITE or codes[t + 1] == NON_FINITE:
            continue
        if bound <= skip:
            if bound > found[2]:
                found[2], found[3], found[4] = bound, t, 0
            continue
        for j in range(22):
            a = angular_acceleration(poses, t, j)
            if a > found[2]:
                found[2], found[3], found[4] = a, t, j
            if a > angular_limit and codes[t] == GOOD:
                codes[t] = UNSTABLE
