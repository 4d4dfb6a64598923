# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
"""How far a body moves between two frames, without its joints: the kernel of `motion/speed.py` (numba).

The naive twin in `tests/motion/test_speed.py` computes every joint by forward kinematics.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from mocap_ray.motion.kernels_poses import _angle, _quaternion, _times, _unusable
from mocap_ray.skeleton import BODY_PARENTS

_PARENT = np.array(BODY_PARENTS)


@njit(cache=True, nogil=True, error_model="numpy")
def compare(raw, joints, trans, lengths, step, turn_limit, codes, moved, turned):
    """Compare each frame t with frame t + step: the turn of the pelvis, and a bound on the way of every joint.

    If the rotations of frame t are replaced by those of t + step one after the other, a joint moves each time along an
    arc: at most the angle of that rotation times the length of the bones between. The angle between two rotations is at
    most |v' - v| for their axis-angle vectors v.

    Args:
        raw: bytes of poses [T, joints, 3] float64 (bytes, because views of a file are unaligned).
        joints: joints per frame, at least 22.
        trans: [T, 3] float64 metres.
        lengths: [22] metres from each joint to its parent; empty: ways are not bounded.
        step: frames from one frame to the other.
        turn_limit: rad; a turn whose bound is at most this is not computed exactly; negative: all are.
        codes: [T]; pairs with a frame that is `unusable` are left out.
        moved: [T] float64 zeros, written: metres, at least the way of the joint that moves furthest.
        turned: [T] float64 zeros, written: rad, the turn of the pelvis, or its bound if that is at most the limit.
    """
    frames = len(trans)
    poses = raw.view(np.float64).reshape(frames, joints, 3)
    angles, ways = np.zeros(22), np.zeros(22)
    for t in range(frames - step):
        u = t + step
        if _unusable(codes, t) or _unusable(codes, u):
            continue
        x = poses[u, 0, 0] - poses[t, 0, 0]
        y = poses[u, 0, 1] - poses[t, 0, 1]
        z = poses[u, 0, 2] - poses[t, 0, 2]
        turn = math.sqrt(x * x + y * y + z * z)
        angles[0] = turn
        if turn > turn_limit:
            aw, ax, ay, az = _quaternion(poses[t, 0, 0], poses[t, 0, 1], poses[t, 0, 2])
            bw, bx, by, bz = _quaternion(poses[u, 0, 0], poses[u, 0, 1], poses[u, 0, 2])
            w, x, y, z = _times(aw, -ax, -ay, -az, bw, bx, by, bz)
            turn = 2.0 * _angle(math.sqrt(x * x + y * y + z * z), abs(w))
        turned[t] = turn
        if len(lengths) == 0:
            continue
        angles[0], furthest = min(angles[0], turn), 0.0
        for j in range(1, 22):
            p = _PARENT[j]
            x = poses[u, j, 0] - poses[t, j, 0]
            y = poses[u, j, 1] - poses[t, j, 1]
            z = poses[u, j, 2] - poses[t, j, 2]
            # `angles` adds up the rotations from the root to the joint, `ways` what they move it by.
            ways[j] = ways[p] + lengths[j] * angles[p]
            angles[j] = angles[p] + math.sqrt(x * x + y * y + z * z)
            furthest = max(furthest, ways[j])
        x = trans[u, 0] - trans[t, 0]
        y = trans[u, 1] - trans[t, 1]
        z = trans[u, 2] - trans[t, 2]
        moved[t] = math.sqrt(x * x + y * y + z * z) + furthest
