"""The hot loops of the 263 features: numba, one thread, float64.

Frames are processed in blocks of 40 lanes. Scratch buffers are flat: row r of a block starts at element
40 r, with one lane per frame, so that each loop over lanes compiles to SIMD instructions. The last lane of a
block is the first frame of the next one (velocities need it), hence 39 feature rows per block. Offsets are
unsigned: with signed ones, numba checks each access for negative indices and LLVM does not vectorise.
No operation mixes lanes, and none is contracted or reordered, so a frame's bits depend neither on its lane
nor on the other clips of the batch. The naive twin and oracle is `tests/motion/naive.py`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from mocap_ray.skeleton import BODY_PARENTS, REST_DIRECTIONS

FACING, BONE = 1, 2
"""Values of `failure[0]`: what is undefined (0: nothing), with frame and joint in `failure[1:3]`."""

SIGMA, RADIUS = 20.0, 80  # frames: the Gaussian over the facing, cut at 4 sigma, edges repeated
TINY2 = 1e-18  # rad^2: closer than 1e-9 rad to vertical, or to the opposite of a rest direction, is exact
HUGE = 1e300
CONTACT = 0.002  # m^2 per frame

LANES = 40
_ROWS = LANES - 1
_part = njit(
    nogil=True, error_model="numpy", forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True
)

_L: Any = np.uint64(LANES)
_ONE: Any = np.uint64(1)
_BLOCK = np.uint64(66 * LANES)
_XYZ = (np.arange(22) * 3 * LANES).astype(np.uint64)  # where a joint's x, y, z rows begin
_QUAT = (np.arange(22) * 5 * LANES).astype(np.uint64)  # where its w, x, y, z, 2 / |q|^2 rows begin
_COLUMN = (np.arange(263) * LANES).astype(np.uint64)  # where a feature column's row begins
_PARENT = np.array(BODY_PARENTS)
_CHAIN = np.array([0 if j in (13, 14) else p for j, p in enumerate(BODY_PARENTS)])  # of the rotations
_REST = np.array(REST_DIRECTIONS)
_FEET = np.array([7, 10, 8, 11])
_bell = np.exp(-0.5 * (np.arange(RADIUS + 1) / SIGMA) ** 2)
_GAUSS = _bell / (_bell[0] + 2.0 * _bell[1:].sum())  # one half of it, the centre first


@_part
def _first_frame(joints, bones, failure):
    """(scale of the root path, cos and sin of the first facing's yaw to +Z) from frame 0."""
    ax, ay, az, legs = 0.0, 0.0, 0.0, 0.0
    for j in range(1, 22):
        p = _PARENT[j]
        x = joints[3 * j] - joints[3 * p]
        y = joints[3 * j + 1] - joints[3 * p + 1]
        z = joints[3 * j + 2] - joints[3 * p + 2]
        length = math.sqrt(x * x + y * y + z * z)
        if not 0.0 < length < HUGE:
            failure[0], failure[1], failure[2] = BONE, 0, j
            return 0.0, 0.0, 0.0
        if j == 5 or j == 8:
            legs += length
        k = bones[j] / length if bones[j] > 0.0 else 1.0
        if j == 2 or j == 14 or j == 17:  # (p2 - p1) + (p17 - p16), by way of joint 9
            ax, ay, az = ax + k * x, ay + k * y, az + k * z
        elif j == 1 or j == 13 or j == 16:
            ax, ay, az = ax - k * x, ay - k * y, az - k * z
    flat = ax * ax + az * az
    if not flat > TINY2 * (flat + ay * ay):
        failure[0], failure[1], failure[2] = FACING, 0, 0
        return 0.0, 0.0, 0.0
    scale = (bones[5] + bones[8]) / legs if bones[5] > 0.0 else 1.0
    n = math.sqrt(flat)
    return scale, -ax / n, -az / n


@_part
def _load(joints, first, frames, scale, cos, sin, P, o):
    """A block of frames into lanes, root of frame 0 above the origin, turned by the first facing."""
    ox, oz = joints[0], joints[2]
    row = np.uint64(66)
    last = np.uint64(frames - 1)
    start = np.uint64(first)
    for j in range(22):
        a = o + _XYZ[j]
        k = np.uint64(3 * j)
        for b in range(_L):
            i = min(start + b, last) * row + k
            P[a + b] = joints[i] - ox
            P[a + _L + b] = joints[i + _ONE]
            P[a + _L + _L + b] = joints[i + _ONE + _ONE] - oz
        for b in range(_L):
            x = P[a + b]
            z = P[a + _L + _L + b]
            P[a + b] = cos * x + sin * z
            P[a + _L + _L + b] = cos * z - sin * x


@_part
def _rebuild(bones, scale, P, o):
    """Every bone of a block to its target length, its direction kept, from the root down."""
    for j in range(21, 0, -1):
        a = o + _XYZ[j]
        p = o + _XYZ[_PARENT[j]]
        for b in range(_L + _L + _L):
            P[a + b] -= P[p + b]
    for b in range(_L + _L + _L):
        P[o + b] *= scale
    for j in range(1, 22):
        a = o + _XYZ[j]
        p = o + _XYZ[_PARENT[j]]
        length = bones[j]
        for b in range(_L):
            x = P[a + b]
            y = P[a + _L + b]
            z = P[a + _L + _L + b]
            k = length / math.sqrt(x * x + y * y + z * z)
            P[a + b] = P[p + b] + k * x
            P[a + _L + b] = P[p + _L + b] + k * y
            P[a + _L + _L + b] = P[p + _L + _L + b] + k * z


@_part
def _facings(P, o, raw_x, raw_z, at):
    """Cross product of Y and across per frame, hips with the opposite sign; the first undefined lane."""
    worst = _L
    h1, h2, s1, s2 = o + _XYZ[1], o + _XYZ[2], o + _XYZ[16], o + _XYZ[17]
    for b in range(_L):
        x = P[h1 + b] - P[h2 + b] + P[s2 + b] - P[s1 + b]
        y = P[h1 + _L + b] - P[h2 + _L + b] + P[s2 + _L + b] - P[s1 + _L + b]
        z = P[h1 + _L + _L + b] - P[h2 + _L + _L + b] + P[s2 + _L + _L + b] - P[s1 + _L + _L + b]
        flat = x * x + z * z
        n = math.sqrt(flat + y * y)
        raw_x[at + b] = z / n
        raw_z[at + b] = -x / n
        bad = _L if flat > TINY2 * (flat + y * y) else b
        worst = bad if bad < worst else worst
    return worst


@_part
def _canonical(joints, bones, P, raw_x, raw_z, failure):
    """All frames of a clip into blocks of P; the raw facings, edges repeated; returns the floor's height."""
    frames = len(joints) // 66
    scale, cos, sin = _first_frame(joints, bones, failure)
    if failure[0] != 0:
        return 0.0
    low = np.empty(LANES)
    for b in range(_L):
        low[b] = HUGE
    for block in range((frames + _ROWS - 2) // _ROWS):
        o = np.uint64(block) * _BLOCK
        first = block * _ROWS
        _load(joints, first, frames, scale, cos, sin, P, o)
        if bones[1] > 0.0:
            _rebuild(bones, scale, P, o)
        for j in range(22):
            a = o + _XYZ[j] + _L
            for b in range(_L):
                low[b] = P[a + b] if P[a + b] < low[b] else low[b]
        worst = _facings(P, o, raw_x, raw_z, np.uint64(RADIUS + first))
        if worst < _L:
            failure[0], failure[1], failure[2] = FACING, first + np.int64(worst), 0
            return 0.0
    for k in range(RADIUS):
        raw_x[k], raw_z[k] = raw_x[RADIUS], raw_z[RADIUS]
    for k in range(RADIUS + frames, len(raw_x)):
        raw_x[k], raw_z[k] = raw_x[RADIUS + frames - 1], raw_z[RADIUS + frames - 1]
    floor = HUGE
    for b in range(_L):
        floor = low[b] if low[b] < floor else floor
    return floor


@_part
def _smooth(raw, at, total):
    """Gaussian over time of 40 frames from `at`, into `total`."""
    centre = at + np.uint64(RADIUS)
    for b in range(_L):
        total[b] = _GAUSS[0] * raw[centre + b]
    for k in range(1, RADIUS + 1):
        weight = _GAUSS[k]
        before, after = centre - np.uint64(k), centre + np.uint64(k)
        for b in range(_L):
            total[b] += weight * (raw[before + b] + raw[after + b])


@_part
def _turn(raw_x, raw_z, at, fx, fz, r):
    """Rows cos, sin, and half-angle w, y of r_t, the yaw from the smoothed facing to +Z; the first undefined lane."""
    worst = _L
    _smooth(raw_x, at, fx)
    _smooth(raw_z, at, fz)
    for b in range(_L):
        n = math.sqrt(fx[b] * fx[b] + fz[b] * fz[b])
        x = fx[b] / n
        z = fz[b] / n
        # (1 + z, -x) normalised, without cancellation on the side of -Z; exactly there: half a turn
        n2 = math.sqrt(2.0 * (1.0 + abs(z)))
        big = (1.0 + abs(z)) / n2
        small = x / n2
        r[b] = z
        r[_L + b] = -x
        r[_L + _L + b] = big if z >= 0.0 else abs(small)
        r[_L + _L + _L + b] = -small if z >= 0.0 else (-big if x >= 0.0 else big)
        bad = _L if n > 1e-9 else b
        worst = bad if bad < worst else worst
    return worst


@_part
def _bone_rotations(P, a, p, ux, uy, uz, Q, q):
    """Shortest rotations from u to the bone as quaternions of any length; the first undefined lane."""
    worst = _L
    for b in range(_L):
        x = P[a + b] - P[p + b]
        y = P[a + _L + b] - P[p + _L + b]
        z = P[a + _L + _L + b] - P[p + _L + _L + b]
        dot = ux * x + uy * y + uz * z
        cx = uy * z - uz * y
        cy = uz * x - ux * z
        cz = ux * y - uy * x
        cross2 = cx * cx + cy * cy + cz * cz
        length2 = cross2 + dot * dot
        length = math.sqrt(length2)
        s = length + abs(dot)
        # (length + dot, cross); where dot < 0, times (length - dot), which removes the cancellation
        k = 1.0 if dot >= 0.0 else s
        Q[q + b] = s if dot >= 0.0 else cross2
        Q[q + _L + b] = cx * k
        Q[q + _L + _L + b] = cy * k
        Q[q + _L + _L + _L + b] = cz * k
        Q[q + _L + _L + _L + _L + b] = 1.0 / (length * s * (1.0 if dot >= 0.0 else cross2))
        bad = _L if (dot > 0.0 or cross2 > TINY2 * length2) and length2 < HUGE else b
        worst = bad if bad < worst else worst
    return worst


@_part
def _local_rotations(Q, p, q, F, f):
    """conj(parent) joint as the first two columns of its matrix."""
    for b in range(_L):
        aw, ax, ay, az = Q[p + b], Q[p + _L + b], Q[p + _L + _L + b], Q[p + _L + _L + _L + b]
        bw, bx, by, bz = Q[q + b], Q[q + _L + b], Q[q + _L + _L + b], Q[q + _L + _L + _L + b]
        n = 0.5 * Q[p + _L + _L + _L + _L + b] * Q[q + _L + _L + _L + _L + b]
        w = aw * bw + ax * bx + ay * by + az * bz
        x = aw * bx - ax * bw - ay * bz + az * by
        y = aw * by - ay * bw + ax * bz - az * bx
        z = aw * bz - az * bw - ax * by + ay * bx
        F[f + b] = 1.0 - n * (y * y + z * z)
        F[f + _L + b] = n * (x * y + w * z)
        F[f + _L + _L + b] = n * (x * z - w * y)
        F[f + _L + _L + _L + b] = n * (x * y - w * z)
        F[f + _L + _L + _L + _L + b] = 1.0 - n * (x * x + z * z)
        F[f + _L + _L + _L + _L + _L + b] = n * (y * z + w * x)


@_part
def _rotation_columns(P, o, r, Q, F, first, failure):
    """Columns 67:193."""
    q0 = _QUAT[0]
    for b in range(_L):
        Q[q0 + b] = r[_L + _L + b]
        Q[q0 + _L + b] = 0.0
        Q[q0 + _L + _L + b] = r[_L + _L + _L + b]
        Q[q0 + _L + _L + _L + b] = 0.0
        Q[q0 + _L + _L + _L + _L + b] = 2.0
    for j in range(1, 22):
        u = _REST[j]
        worst = _bone_rotations(P, o + _XYZ[j], o + _XYZ[_PARENT[j]], u[0], u[1], u[2], Q, _QUAT[j])
        if worst < _L and (failure[0] == 0 or first + np.int64(worst) < failure[1]):
            failure[0], failure[1], failure[2] = BONE, first + np.int64(worst), j
    for j in range(1, 22):
        _local_rotations(Q, _QUAT[_CHAIN[j]], _QUAT[j], F, _COLUMN[61 + 6 * j])


@_part
def _position_columns(P, o, floor, r, F):
    """Columns 1:67 and 193:263."""
    y = _L
    z = _L + _L
    f1, f2, f3 = _COLUMN[1], _COLUMN[2], _COLUMN[3]
    for b in range(_L - _ONE):
        dx = P[o + b + _ONE] - P[o + b]
        dz = P[o + z + b + _ONE] - P[o + z + b]
        F[f1 + b] = r[b + _ONE] * dx + r[_L + b + _ONE] * dz
        F[f2 + b] = r[b + _ONE] * dz - r[_L + b + _ONE] * dx
        F[f3 + b] = P[o + y + b] - floor
    for j in range(1, 22):
        a, f = o + _XYZ[j], _COLUMN[1 + 3 * j]
        for b in range(_L):
            dx = P[a + b] - P[o + b]
            dz = P[a + z + b] - P[o + z + b]
            F[f + b] = r[b] * dx + r[_L + b] * dz
            F[f + y + b] = P[a + y + b] - floor
            F[f + z + b] = r[b] * dz - r[_L + b] * dx
    for j in range(22):
        a, f = o + _XYZ[j], _COLUMN[193 + 3 * j]
        for b in range(_L):  # the last lane reads the next row: never stored
            dx = P[a + b + _ONE] - P[a + b]
            dz = P[a + z + b + _ONE] - P[a + z + b]
            F[f + b] = r[b] * dx + r[_L + b] * dz
            F[f + y + b] = P[a + y + b + _ONE] - P[a + y + b]
            F[f + z + b] = r[b] * dz - r[_L + b] * dx
    for k in range(4):
        a, f = o + _XYZ[_FEET[k]], _COLUMN[259 + k]
        for b in range(_L):
            dx = P[a + b + _ONE] - P[a + b]
            dy = P[a + y + b + _ONE] - P[a + y + b]
            dz = P[a + z + b + _ONE] - P[a + z + b]
            F[f + b] = 1.0 if dx * dx + dy * dy + dz * dz < CONTACT else 0.0


@_part
def _yaw_column(r, continuous, F):
    """Column 0: arcsin of the y component of r_{t+1} conj(r_t), by a series (no libm, whose bits differ)."""
    w, y = _L + _L, _L + _L + _L
    for b in range(_L - _ONE):
        cos = r[w + b] * r[w + b + _ONE] + r[y + b] * r[y + b + _ONE]
        sin = r[w + b] * r[y + b + _ONE] - r[y + b] * r[w + b + _ONE]
        x = abs(cos)
        for _ in range(3):  # three halvings bring the angle below pi / 16
            x = x + math.sqrt(x * x + sin * sin)
        t = sin / x
        u = t * t
        s = 0.0
        for k in range(23, 1, -2):
            s = (s * u) + (1.0 / k if k % 4 == 1 else -1.0 / k)
        half = 8.0 * (t + t * u * s)
        F[b] = -half if continuous and cos < 0.0 else half


@_part
def _encode(joints, bones, continuous, P, F, Q, out, failure):
    """One clip: `joints` [T * 66] into `out` [R * 263]."""
    frames = len(joints) // 66
    width = np.uint64(263)
    raw_x = np.empty(frames + 2 * RADIUS + 2 * LANES)
    raw_z = np.empty(frames + 2 * RADIUS + 2 * LANES)
    floor = _canonical(joints, bones, P, raw_x, raw_z, failure)
    if failure[0] != 0:
        return
    r, fx, fz = np.empty(4 * LANES), np.empty(LANES), np.empty(LANES)
    for first in range(0, frames - 1, _ROWS):
        o = np.uint64(first // _ROWS) * _BLOCK
        rows = min(_ROWS, frames - 1 - first)
        worst = _turn(raw_x, raw_z, np.uint64(first), fx, fz, r)
        if np.int64(worst) <= rows:  # later lanes are beyond the end of the clip
            failure[0], failure[1], failure[2] = FACING, first + np.int64(worst), 0
            return
        if first == 0:
            r[0], r[LANES], r[2 * LANES], r[3 * LANES] = 1.0, 0.0, 1.0, 0.0
        _rotation_columns(P, o, r, Q, F, first, failure)
        if failure[0] != 0:
            return
        _position_columns(P, o, floor, r, F)
        _yaw_column(r, continuous, F)
        for b in range(rows):
            e = np.uint64(first + b) * width
            for c in range(width):
                out[e + c] = F[c * _L + np.uint64(b)]


@njit(cache=True, nogil=True, error_model="numpy")
def encode_clips(joints, bones, continuous, repeat, out, failure):
    """Encode N clips independently; stops at the first that is undefined.

    Args:
        joints: [N, T * 66] float64 metres, T >= 2.
        bones: [22] target bone lengths, metres, or zeros to keep those of the clip.
        continuous: whether each r_t is kept in the hemisphere of the previous one.
        repeat: whether the last row is written twice (R = T, else T - 1).
        out: [N, R * 263] float32, written.
        failure: [4] int64 zeros; set to (what, frame, joint, clip) if a clip is undefined.
    """
    frames = joints.shape[1] // 66
    blocks = (frames + _ROWS - 2) // _ROWS
    P = np.zeros(blocks * 66 * LANES + LANES)
    F = np.empty(263 * LANES, dtype=np.float32)
    Q = np.empty(22 * 5 * LANES)
    for i in range(len(joints)):
        _encode(joints[i], bones, continuous, P, F, Q, out[i], failure)
        if failure[0] != 0:
            failure[3] = i
            return
        if repeat:
            for c in range(263 * (frames - 1), 263 * frames):
                out[i, c] = out[i, c - 263]


@njit(cache=True, nogil=True, error_model="numpy")
def canonical_clip(joints, bones, out, failure):
    """Place one clip canonically, [T * 66] to [T, 66]: target skeleton, on the floor, at the origin, facing +Z."""
    frames = len(joints) // 66
    P = np.zeros(((frames + _ROWS - 2) // _ROWS) * 66 * LANES + LANES)
    raw_x = np.empty(frames + 2 * RADIUS + 2 * LANES)
    raw_z = np.empty(frames + 2 * RADIUS + 2 * LANES)
    floor = _canonical(joints, bones, P, raw_x, raw_z, failure)
    for t in range(frames):
        block = min(t // _ROWS, (frames - 2) // _ROWS)
        e = np.uint64(block) * _BLOCK + np.uint64(t - block * _ROWS)
        for j in range(22):
            for k in range(3):
                out[t, 3 * j + k] = P[e + np.uint64((3 * j + k) * LANES)] - (floor if k == 1 else 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def moments(features, mean, M2):
    """Mean and sum of squared deviations of each column of [R, C] float32, in two passes."""
    rows, width = features.shape
    mean[:] = 0.0
    M2[:] = 0.0
    for t in range(rows):
        for c in range(width):
            mean[c] += features[t, c]
    for c in range(width):
        mean[c] /= rows
    for t in range(rows):
        for c in range(width):
            d = features[t, c] - mean[c]
            M2[c] += d * d
