# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
"""The hot loops over axis-angle poses: canonical vectors, axes, interpolation, quality (numba).

Quaternions are unit (w, x, y, z). Every frame is computed independently, so its bits do not depend on others.
Sine and arc tangent are computed by series here, because the last bits of libm differ between machines.
The oracle in the tests is scipy's `Rotation`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from mocap_ray.motion.bounds import FAR

_part = njit(
    nogil=True, error_model="numpy", forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True
)

GOOD, NON_FINITE, BAD_VALUE, TELEPORT, UNSTABLE, TURNING, FAST = range(7)
"""The codes of a frame; BAD_VALUE: a number beyond `bounds.FAR`."""

_EXPONENT = np.int64(0x7FF0000000000000)  # all bits set: infinite or not a number
_FAR_EXPONENT = np.int64(0x4090000000000000)  # that of FAR, 1,024, and of nothing smaller
_PI2 = math.pi * math.pi
_HALF_PI = 0.5 * math.pi
_PI_HIGH = 3.1415926534682512  # few enough digits that products with integers below 2^20 are exact
_PI_LOW = 1.2154201013012384e-10  # pi - _PI_HIGH
_ROUND = 1.5 * 2.0**52  # adding and subtracting it rounds to the nearest integer
LANES = 40
_L: Any = np.uint64(LANES)


def unusable(codes: np.ndarray) -> np.ndarray:
    """Which frames have numbers that are not finite or out of bounds: nothing is computed from them."""
    return np.asarray((codes == NON_FINITE) | (codes == BAD_VALUE))


@_part
def _unusable(codes, t):
    """`unusable` of one frame."""
    return codes[t] == NON_FINITE or codes[t] == BAD_VALUE


@_part
def _sine(x):
    """Sine for -pi/2 to pi/2 by its series; the first omitted term is below 1e-17."""
    u = x * x
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
    return x + x * u * s


@_part
def _angle(y, x):
    """atan2 of y, x >= 0, not both 0: two halvings of the angle, then the series of the arc tangent."""
    x = x + math.sqrt(x * x + y * y)
    x = x + math.sqrt(x * x + y * y)
    x = x + math.sqrt(x * x + y * y)
    t = y / x
    u = t * t
    s = -1.0 / 23.0
    s = s * u + 1.0 / 21.0
    s = s * u - 1.0 / 19.0
    s = s * u + 1.0 / 17.0
    s = s * u - 1.0 / 15.0
    s = s * u + 1.0 / 13.0
    s = s * u - 1.0 / 11.0
    s = s * u + 1.0 / 9.0
    s = s * u - 1.0 / 7.0
    s = s * u + 1.0 / 5.0
    s = s * u - 1.0 / 3.0
    return 8.0 * (t + t * u * s)


@_part
def _quaternion(x, y, z):
    """Axis-angle to unit quaternion of either sign; angles beyond 1e5 rad lose digits."""
    angle = math.sqrt(x * x + y * y + z * z + 1e-280)
    half = 0.5 * angle
    # half - turns pi in [-pi/2, pi/2]: cos and sin may both change sign, which is the same rotation
    turns = (half * (1.0 / math.pi) + _ROUND) - _ROUND
    r = (half - turns * _PI_HIGH) - turns * _PI_LOW
    k = _sine(r) / angle
    return _sine(_HALF_PI - abs(r)), k * x, k * y, k * z


@_part
def _rotvec(w, x, y, z):
    """Unit quaternion to axis-angle with an angle in [0, pi]."""
    n = math.sqrt(x * x + y * y + z * z)
    k = 2.0 * _angle(n, abs(w)) / n if n > 1e-150 else 2.0
    k = -k if w < 0.0 else k
    return k * x, k * y, k * z


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
    """Multiply each root rotation of `poses` [T, J, 3] float64 by `turn` from the left, in place; angles in [0, pi]."""
    for t in range(len(poses)):
        w, x, y, z = _quaternion(poses[t, 0, 0], poses[t, 0, 1], poses[t, 0, 2])
        w, x, y, z = _times(turn[0], turn[1], turn[2], turn[3], w, x, y, z)
        poses[t, 0, 0], poses[t, 0, 1], poses[t, 0, 2] = _rotvec(w, x, y, z)


@_part
def _slerp(p, q, fraction, v):
    """Interpolate from LANES axis-angle vectors of p to those of q along the shortest arc; angles in [0, pi]."""
    for b in range(_L):
        aw, ax, ay, az = _quaternion(p[b], p[_L + b], p[_L + _L + b])
        bw, bx, by, bz = _quaternion(q[b], q[_L + b], q[_L + _L + b])
        sign = 1.0 if aw * bw + ax * bx + ay * by + az * bz >= 0.0 else -1.0
        bw, bx, by, bz = sign * bw, sign * bx, sign * by, sign * bz
        less = (bw - aw) * (bw - aw) + (bx - ax) * (bx - ax) + (by - ay) * (by - ay) + (bz - az) * (bz - az)
        more = (bw + aw) * (bw + aw) + (bx + ax) * (bx + ax) + (by + ay) * (by + ay) + (bz + az) * (bz + az)
        arc = 2.0 * _angle(math.sqrt(less), math.sqrt(more))
        u = fraction[b]
        whole = _sine(arc)
        near = arc < 1e-9
        f = 1.0 - u if near else _sine((1.0 - u) * arc) / whole
        g = u if near else _sine(u * arc) / whole
        w, x, y, z = f * aw + g * bw, f * ax + g * bx, f * ay + g * by, f * az + g * bz
        v[b], v[_L + b], v[_L + _L + b] = _rotvec(w, x, y, z)


@njit(cache=True, nogil=True, error_model="numpy")
def interpolate(before, after, fraction, out):
    """Shortest-arc interpolation of poses [K, J, 3] float64 by fraction [K] in [0, 1].

    Both ends, and rotations that do not change, are copied exactly. Processes one joint of 40 frames at a time, in
    lanes as in `kernels.py`.
    """
    frames, joints, _ = out.shape
    u, a, b, v = np.zeros(LANES), np.zeros(3 * LANES), np.zeros(3 * LANES), np.zeros(3 * LANES)
    for first in range(0, frames, LANES):
        count = min(LANES, frames - first)
        for j in range(joints):
            moves = False
            for i in range(count):
                k = first + i
                u[i] = fraction[k]
                for c in range(3):
                    a[c * LANES + i], b[c * LANES + i] = before[k, j, c], after[k, j, c]
                    moves |= before[k, j, c] != after[k, j, c]
            if moves:
                _slerp(a, b, u, v)
            for i in range(count):
                k = first + i
                same = True
                for c in range(3):
                    same &= before[k, j, c] == after[k, j, c]
                for c in range(3):
                    if u[i] == 0.0 or same:
                        out[k, j, c] = before[k, j, c]
                    else:
                        out[k, j, c] = after[k, j, c] if u[i] == 1.0 else v[c * LANES + i]


@njit(cache=True, nogil=True, error_model="numpy")
def angular_acceleration(poses, t, j):
    """|omega_t - omega_{t-1}| of joint j, rad per frame^2, from its rotations in frames t - 1, t, t + 1."""
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
    """Compute the code of every frame and find the largest accelerations.

    Args:
        raw: bytes of poses [T, joints, 3] float64 (bytes, because views of a file are unaligned).
        joints: joints per frame, at least 22.
        trans: [T, 3] float64 metres.
        root_limit: m per frame^2.
        angular_limit: rad per frame^2.
        skip: rad per frame^2; a frame is not computed exactly if a cheap bound on its angular acceleration is at
            most this; negative: every frame is computed; infinite: angular accelerations are not checked.
        codes: [T] uint8 zeros, written.
        found: [5] float64 zeros, written: largest root acceleration and its frame, largest angular
            acceleration (or its bound if the frame was skipped), its frame and joint.
    """
    frames = len(trans)
    poses = raw.view(np.float64).reshape(frames, joints, 3)
    bits = raw.view(np.int64)
    width = np.uint64(3 * joints)
    for t in range(frames):
        wrong = 0
        first = np.uint64(t) * width  # unsigned, so that the loop vectorises: see kernels.py
        for k in range(width):
            wrong += (bits[first + k] & _EXPONENT) >= _FAR_EXPONENT
        for k in range(3):
            wrong += 0 if abs(trans[t, k]) < FAR else 1
        if wrong > 0:
            codes[t] = BAD_VALUE
            for k in range(width):
                if (bits[first + k] & _EXPONENT) == _EXPONENT:
                    codes[t] = NON_FINITE
            for k in range(3):
                if not math.isfinite(trans[t, k]):
                    codes[t] = NON_FINITE
    for t in range(1, frames - 1):
        if _unusable(codes, t - 1) or _unusable(codes, t) or _unusable(codes, t + 1):
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
        if _unusable(codes, t - 1) or _unusable(codes, t) or _unusable(codes, t + 1):
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
