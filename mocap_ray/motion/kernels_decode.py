# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
"""How far the joints of features are from the joints that they were made from; compiled, one thread."""

from __future__ import annotations

import math

from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def deviation(features, placed, rows, turns):
    """The largest distance, in metres, between decoded joints and joints in canonical placement.

    Args:
        features: [R, 263] float32.
        placed: [T, 66] float64, T >= rows.
        rows: the rows to compare.
        turns: whether column 0 can be trusted; if not, only heights and distances to the root are compared.
    """
    worst = 0.0
    yaw, x, z = 0.0, 0.0, 0.0
    c, s = 1.0, 0.0
    for t in range(rows):
        if t > 0:
            yaw += 2.0 * features[t - 1, 0]
            c, s = math.cos(yaw), math.sin(yaw)
            step_x, step_z = features[t - 1, 1], features[t - 1, 2]
            x += c * step_x - s * step_z
            z += s * step_x + c * step_z
        dy = features[t, 3] - placed[t, 1]
        far = dy * dy
        if turns:
            dx, dz = x - placed[t, 0], z - placed[t, 2]
            far += dx * dx + dz * dz
        if not far <= worst:
            worst = far
        for j in range(21):
            rx, ry, rz = features[t, 4 + 3 * j], features[t, 5 + 3 * j], features[t, 6 + 3 * j]
            px, py, pz = placed[t, 3 + 3 * j], placed[t, 4 + 3 * j], placed[t, 5 + 3 * j]
            dy = ry - py
            if turns:
                dx = c * rx - s * rz + x - px
                dz = s * rx + c * rz + z - pz
                far = dx * dx + dy * dy + dz * dz
            else:
                qx, qz = px - placed[t, 0], pz - placed[t, 2]
                d = math.sqrt(rx * rx + rz * rz) - math.sqrt(qx * qx + qz * qz)
                far = d * d + dy * dy
            if not far <= worst:
                worst = far
    return math.sqrt(worst)
