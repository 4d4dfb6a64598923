"""Joints as solid bones: one mesh that is drawn many times, and where each copy goes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

LEFT, RIGHT, TRUNK = (0, 114, 178), (213, 94, 0), (92, 96, 104)
"""Okabe and Ito's colour-blind-safe blue and vermilion, as on the pages; grey for the trunk."""

_PROFILE = ((0.0, 0.35), (0.06, 0.8), (0.16, 1.0), (0.6, 0.78), (0.94, 0.55), (1.0, 0.25))
"""Height along a bone of length 1 and its radius there, as parts of the largest radius."""
_SIDES = 12
HEAD = (0.082, 0.115, 0.095)
"""Half the width, height and depth of a head, metres."""


@dataclass(frozen=True, slots=True, eq=False)
class Copies:
    """Where the copies of a mesh go.

    Attributes:
        positions: [N, 3] metres.
        quats_wxyz: [N, 4] rotations.
        scales: [N, 3] along the mesh's own axes; 0 hides a copy.
    """

    positions: Float[np.ndarray, "N 3"]
    quats_wxyz: Float[np.ndarray, "N 4"]
    scales: Float[np.ndarray, "N 3"]


def lathe(
    profile: tuple[tuple[float, float], ...] = _PROFILE, *, sides: int = _SIDES
) -> tuple[Float[np.ndarray, "V 3"], Int[np.ndarray, "F 3"]]:
    """A closed solid of revolution about +Y: vertices and triangles, facing outward."""
    turn = 2 * np.pi * np.arange(sides) / sides
    rings = [np.stack([r * np.sin(turn), np.full(sides, y), r * np.cos(turn)], axis=1) for y, r in profile]
    ends = np.array([[0.0, profile[0][0], 0.0], [0.0, profile[-1][0], 0.0]])
    vertices = np.concatenate([*rings, ends])
    k, after = np.arange(sides), (np.arange(sides) + 1) % sides
    faces = []
    for ring in range(len(profile) - 1):
        low, high = ring * sides, (ring + 1) * sides
        faces.append(np.stack([low + k, low + after, high + after], axis=1))
        faces.append(np.stack([low + k, high + after, high + k], axis=1))
    bottom, top = len(vertices) - 2, len(vertices) - 1
    last = (len(profile) - 1) * sides
    faces.append(np.stack([np.full(sides, bottom), after, k], axis=1))
    faces.append(np.stack([np.full(sides, top), last + k, last + after], axis=1))
    return vertices, np.concatenate(faces)


def ball() -> tuple[Float[np.ndarray, "V 3"], Int[np.ndarray, "F 3"]]:
    """A sphere of radius 1."""
    angles = np.linspace(-np.pi / 2, np.pi / 2, 11)[1:-1]
    return lathe(tuple((float(np.sin(a)), float(np.cos(a))) for a in angles), sides=16)


def bones(joints: Float[np.ndarray, "J 3"], parents: tuple[int, ...]) -> Copies:
    """One copy of `lathe()` for each bone, from parent to joint; bones with non-finite ends are hidden.

    >>> import numpy as np
    >>> bones(np.array([[0.0, 0, 0], [0, 0.4, 0]]), (-1, 0)).scales.round(3).tolist()
    [[0.036, 0.4, 0.036]]
    """
    child = np.arange(1, len(parents))
    start = joints[np.array(parents[1:])]
    along = joints[child] - start
    length = np.linalg.norm(along, axis=1)
    shown = np.isfinite(length) & (length > 1e-6)
    safe = np.where(shown, length, 1.0)
    direction = np.where(shown[:, None], along / safe[:, None], (0.0, 1.0, 0.0))
    radius = np.clip(0.11 * safe, 0.007, 0.036)
    scales = np.stack([radius, safe, radius], axis=1) * shown[:, None]
    return Copies(np.where(shown[:, None], start, 0.0), y_to(direction), scales)


def balls(joints: Float[np.ndarray, "J 3"]) -> Copies:
    """One copy of `ball()` for each joint, small on hands and face, and one for the head above its joint."""
    shown = np.isfinite(joints).all(axis=1)
    radius = np.where(np.arange(len(joints)) < 22, 0.024, 0.009) * shown
    at = np.where(shown[:, None], joints, 0.0)
    up = at[15] - at[12]
    length = float(np.linalg.norm(up))
    head = shown[[12, 15]].all() and length > 1e-6
    up = up / length if head else np.array([0.0, 1.0, 0.0])
    positions = np.concatenate([at, (at[15] + 0.7 * HEAD[1] * up)[None]])
    quats = np.tile([1.0, 0.0, 0.0, 0.0], (len(positions), 1))
    quats[-1] = y_to(up[None])[0]
    scales = np.repeat(np.append(radius, 0.0)[:, None], 3, axis=1)
    scales[-1] = HEAD if head else (0.0, 0.0, 0.0)
    return Copies(positions, quats, scales)


def y_to(direction: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 4"]:
    """The shortest rotation from +Y to a unit direction, as a quaternion (w, x, y, z); half a turn about X to -Y.

    >>> import numpy as np
    >>> y_to(np.array([[0.0, 1, 0], [0, -1, 0]])).tolist()
    [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]
    """
    x, y, z = direction[:, 0], direction[:, 1], direction[:, 2]
    quat = np.stack([1.0 + y, z, np.zeros_like(x), -x], axis=1)
    length = np.linalg.norm(quat, axis=1, keepdims=True)
    turned = quat / np.maximum(length, 1e-12)
    return np.where(length > 1e-6, turned, (0.0, 1.0, 0.0, 0.0)) + 0.0


def colours(names: tuple[str, ...]) -> UInt8[np.ndarray, "J 3"]:
    """The colour of each joint, and of the bone that ends there: left blue, right orange, trunk grey."""
    sides = {"left": LEFT, "right": RIGHT}
    return np.array([sides.get(name.split("_")[0], TRUNK) for name in names], np.uint8)
