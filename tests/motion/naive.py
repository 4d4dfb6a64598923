"""The 263 features in plain numpy, step by step: the oracle of the kernels and the baseline of the bench.

Quaternions are (w, x, y, z). Nothing here is fast or guards against undefined input.
"""

from __future__ import annotations

import numpy as np

from mocap_ray.skeleton import BODY_PARENTS, HUMANML3D_BONES, REST_DIRECTIONS

CHAIN_PARENTS = [0 if j in (13, 14) else BODY_PARENTS[j] for j in range(22)]
FEET = [7, 10, 8, 11]
SIGMA, RADIUS = 20.0, 80


def unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Hamilton product."""
    aw, ax, ay, az = np.moveaxis(a, -1, 0)
    bw, bx, by, bz = np.moveaxis(b, -1, 0)
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        -1,
    )


def conjugate(q: np.ndarray) -> np.ndarray:
    return q * np.array([1.0, -1.0, -1.0, -1.0])


def rotate(q: np.ndarray, v: np.ndarray) -> np.ndarray:
    pure = np.concatenate([np.zeros_like(v[..., :1]), v], -1)
    return product(product(q, pure), conjugate(q))[..., 1:]


def between(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Shortest rotation that takes unit u to unit v."""
    u, v = np.broadcast_arrays(u, v)
    return unit(np.concatenate([1 + np.sum(u * v, -1, keepdims=True), np.cross(u, v)], -1))


def canonical(joints: np.ndarray, profile: str) -> np.ndarray:
    p = joints.astype(np.float64)
    if profile == "humanml3d":
        bones = p[:, 1:] - p[:, BODY_PARENTS[1:]]
        lengths = np.linalg.norm(bones, axis=-1)
        legs = HUMANML3D_BONES[5] + HUMANML3D_BONES[8]
        rebuilt = np.empty_like(p)
        rebuilt[:, 0] = p[:, 0] * legs / (lengths[0, 4] + lengths[0, 7])
        for j in range(1, 22):
            rebuilt[:, j] = rebuilt[:, BODY_PARENTS[j]] + HUMANML3D_BONES[j] * unit(bones[:, j - 1])
        p = rebuilt
    p = p - np.array([p[0, 0, 0], p[..., 1].min(), p[0, 0, 2]])
    across = unit(p[0, 2] - p[0, 1] + p[0, 17] - p[0, 16])
    forward = unit(np.cross([0.0, 1.0, 0.0], across))
    return rotate(between(forward, np.array([0.0, 0.0, 1.0])), p)


def facing(p: np.ndarray) -> np.ndarray:
    """[T, 4] r_t, the shortest rotation from the smoothed facing to +Z; r_0 is the identity."""
    across = unit(p[:, 1] - p[:, 2] + p[:, 17] - p[:, 16])
    raw = np.cross([0.0, 1.0, 0.0], across)
    weights = np.exp(-0.5 * (np.arange(-RADIUS, RADIUS + 1) / SIGMA) ** 2)
    weights /= weights.sum()
    padded = np.pad(raw, ((RADIUS, RADIUS), (0, 0)), mode="edge")
    smooth = np.stack([np.convolve(padded[:, k], weights, mode="valid") for k in range(3)], -1)
    r = between(unit(smooth), np.array([0.0, 0.0, 1.0]))
    r[0] = (1.0, 0.0, 0.0, 0.0)
    return r


def encode(joints: np.ndarray, profile: str = "humanml3d", yaw: str = "continuous") -> np.ndarray:
    p = canonical(joints, profile)
    frames = len(p)
    r = facing(p)
    turn = product(r[1:], conjugate(r[:-1]))
    if yaw == "continuous":
        turn = np.where(turn[:, :1] < 0, -turn, turn)
    step = p[1:] - p[:-1]
    local = p - p[:, :1] * np.array([1.0, 0.0, 1.0])
    q = between(REST_DIRECTIONS[1:], unit(p[:, 1:] - p[:, BODY_PARENTS[1:]]))
    q = np.concatenate([r[:, None], q], 1)
    w, x, y, z = np.moveaxis(product(conjugate(q[:, CHAIN_PARENTS[1:]]), q[:, 1:]), -1, 0)
    six = np.stack(
        [
            1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y),
            2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x),
        ],
        -1,
    )  # fmt: skip
    rows = np.concatenate(
        [
            np.arcsin(np.clip(turn[:, 2:3], -1, 1)),
            rotate(r[1:], step[:, 0])[:, [0, 2]],
            p[:-1, 0, 1:2],
            rotate(r[:-1, None], local[:-1, 1:]).reshape(frames - 1, -1),
            six[:-1].reshape(frames - 1, -1),
            rotate(r[:-1, None], step).reshape(frames - 1, -1),
            (np.sum(step[:, FEET] ** 2, -1) < 0.002).astype(np.float64),
        ],
        -1,
    )
    return rows if profile == "humanml3d" else np.concatenate([rows, rows[-1:]])


def decode(features: np.ndarray) -> np.ndarray:
    f = features.astype(np.float64)
    half = np.concatenate([[0.0], np.cumsum(f[:-1, 0])])
    back = np.stack([np.cos(half), 0 * half, -np.sin(half), 0 * half], -1)
    velocity = np.zeros((len(f), 3))
    velocity[1:, [0, 2]] = f[:-1, 1:3]
    root = np.cumsum(rotate(back, velocity), 0)
    root[:, 1] = f[:, 3]
    joints = rotate(back[:, None], f[:, 4:67].reshape(-1, 21, 3))
    joints[..., [0, 2]] += root[:, None, [0, 2]]
    return np.concatenate([root[:, None], joints], 1)
