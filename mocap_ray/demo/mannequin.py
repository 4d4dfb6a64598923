"""The mesh of the stand-in bodies: a jointed mannequin lofted around its bones.

Each part is a closed tube: elliptical rings along a smooth path, rounded at both ends. The skinning weights of a
vertex follow from its position along the path.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from mocap_ray.body.model import VERTICES
from mocap_ray.body.proportions import Proportions, joint_positions, mirrored
from mocap_ray.demo import parts
from mocap_ray.demo.parts import Part


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """The mannequin.

    Attributes:
        vertices: [V, 3] metres.
        faces: [F, 3] counter-clockwise from outside.
        weights: [V, joints in `names`] skinning weights; each row sums to 1.
        part: [V] index of the part of each vertex.
        ring: [V] number of the ring inside its part; poles belong to the nearest ring.
        parts: names of the parts, sides included.
    """

    vertices: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]
    weights: Float[np.ndarray, "V J"]
    part: Int[np.ndarray, "V"]
    ring: Int[np.ndarray, "V"]
    parts: tuple[str, ...]


def build(p: Proportions, *, family: str, names: tuple[str, ...]) -> Mesh:
    """The mesh of a family with the joint order `names`; all proportions give the same topology."""
    at = joint_positions(p)
    middle = [parts.torso(at, p), parts.neck(at, p), parts.head(at, p, rings=44 if family == "smplx" else 26)]
    left = [parts.leg(at, p), parts.foot(at, p), parts.arm(at, p), *parts.hand(at, p, family=family)]
    if family == "smplx":
        left.append(parts.eye(at, p))
    middle[:2] = _fitted(
        middle[:2], VERTICES[family] - middle[2].count - 2 * sum(part.count for part in left)
    )
    tubes = [(part, loft(part, at, names)) for part in middle]
    for part in left:
        vertices, faces, weights = loft(part, at, names)
        tubes.append((replace(part, name=f"left_{part.name}"), (vertices, faces, weights)))
        swap = [names.index(mirrored(name)) for name in names]
        twin = (vertices * (-1.0, 1.0, 1.0), faces[:, ::-1], weights[:, swap])
        tubes.append((replace(part, name=f"right_{part.name}"), twin))
    starts = np.cumsum([0] + [part.count for part, _ in tubes])
    assert starts[-1] == VERTICES[family]
    vertices = np.concatenate([tube[0] for _, tube in tubes])
    weights = np.concatenate([tube[2] for _, tube in tubes])
    head = slice(starts[2], starts[3])
    _give_nose(vertices[head], at, p)
    if family == "smplx":
        _give_jaw(vertices[head], weights[head], at, names)
    return Mesh(
        vertices=vertices,
        faces=np.concatenate([tube[1] + start for (_, tube), start in zip(tubes, starts[:-1], strict=True)]),
        weights=weights,
        part=np.repeat(np.arange(len(tubes)), [part.count for part, _ in tubes]),
        ring=np.concatenate([_ring_of(part) for part, _ in tubes]),
        parts=tuple(part.name for part, _ in tubes),
    )


def loft(
    part: Part, at: dict[str, np.ndarray], names: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices [n, 3], faces [f, 3] and weights [n, J] of one part."""
    from scipy.interpolate import PchipInterpolator

    lengths = np.linalg.norm(np.diff(part.path, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    total = along[-1]
    # Rings are closer together towards the ends, where the caps curve.
    even = (np.arange(part.rings) + 0.5) / part.rings
    stations = total * (0.6 * even + 0.4 * 0.5 * (1.0 - np.cos(np.pi * even)))
    centres = PchipInterpolator(along, part.path)(stations)
    radii = PchipInterpolator(along, part.radii)(stations)
    for distance, end in ((stations, part.radii[0]), (total - stations, part.radii[-1])):
        cap = min(float(end.mean()), 0.5 * total)
        inside = np.clip(1.0 - distance / cap, 0.0, 1.0)
        radii = radii * np.sqrt(1.0 - inside**2)[:, None]
    # Start at the second axis, so that an odd number of sectors is still left-right symmetric.
    turn = 2.0 * np.pi * (np.arange(part.sectors) / part.sectors + 0.25)
    circle = np.cos(turn)[:, None, None] * part.axes[0], np.sin(turn)[:, None, None] * part.axes[1]
    rings = centres + circle[0] * radii[:, :1] + circle[1] * radii[:, 1:]
    body = np.swapaxes(rings, 0, 1).reshape(-1, 3)
    vertices = np.concatenate([body, part.path[:1], part.path[-1:]])
    where = np.concatenate([np.repeat(stations, part.sectors), [0.0, total]])
    weights = _weights(part, where, along, at, names)
    return vertices, _faces(part), weights


def _weights(
    part: Part, where: np.ndarray, along: np.ndarray, at: dict[str, np.ndarray], names: tuple[str, ...]
) -> np.ndarray:
    """Weights [n, J] from the position along the path, blended smoothly around each joint."""
    weights = np.zeros((len(where), len(names)))
    share = np.ones(len(where))
    fine = np.linspace(0.0, along[-1], 400)
    line = np.stack([np.interp(fine, along, part.path[:, k]) for k in range(3)], axis=1)
    for joint, following in zip(part.joints, (*part.joints[1:], None), strict=True):
        column = names.index(joint)
        if following is None:
            weights[:, column] += share
            break
        place = fine[np.argmin(np.linalg.norm(line - at[following], axis=1))]
        ramp = np.clip(0.5 + (where - place) / (2.0 * part.blend), 0.0, 1.0)
        passed = ramp * ramp * (3.0 - 2.0 * ramp)
        weights[:, column] += share * (1.0 - passed)
        share = share * passed
    return weights


def _faces(part: Part) -> np.ndarray:
    """Faces [2 rings sectors, 3]: two triangles per quad between rings, fans at the poles, oriented outwards."""
    ring, sector = np.meshgrid(np.arange(part.rings - 1), np.arange(part.sectors), indexing="ij")
    a = (ring * part.sectors + sector).ravel()
    b = (ring * part.sectors + (sector + 1) % part.sectors).ravel()
    c, d = a + part.sectors, b + part.sectors
    k = np.arange(part.sectors)
    following = (k + 1) % part.sectors
    first, last = part.rings * part.sectors, part.rings * part.sectors + 1
    top = (part.rings - 1) * part.sectors
    faces = np.concatenate(
        [
            np.stack([a, b, c], axis=1),
            np.stack([b, d, c], axis=1),
            np.stack([np.full_like(k, first), following, k], axis=1),
            np.stack([np.full_like(k, last), top + k, top + following], axis=1),
        ]
    )
    # The order above is correct if the axes and the path form a right-handed frame.
    right = np.cross(part.axes[0], part.axes[1]) @ (part.path[-1] - part.path[0]) > 0
    return faces if right else faces[:, ::-1]


def _ring_of(part: Part) -> np.ndarray:
    return np.concatenate([np.repeat(np.arange(part.rings), part.sectors), [0, part.rings - 1]])


def _fitted(parts: list[Part], count: int) -> list[Part]:
    """Torso and neck with resolutions that use up exactly `count` vertices."""
    torso, neck = parts
    for rings in range(neck.rings, neck.rings + 40):
        neck = replace(neck, rings=rings)
        rest = count - neck.count - 2
        sizes = [n for n in range(36, 65) if rest % n == 0 and 0.5 < rest / n / n < 1.6]
        if sizes:
            return [replace(torso, rings=rest // sizes[0], sectors=sizes[0]), neck]
    raise AssertionError(f"no resolution of the torso gives {count} vertices")


def _give_nose(head: np.ndarray, at: dict[str, np.ndarray], p: Proportions) -> None:
    """Add a nose in place, so that a viewer sees where the body faces."""
    size = p.size * p.head_size
    relative = (head - at["head"]) / size - (0.0, 0.038, 0.088)
    bump = np.exp(-0.5 * np.sum((relative / (0.011, 0.018, 0.030)) ** 2, axis=1))
    head[:, 2] += 0.026 * size * bump


def _give_jaw(
    head: np.ndarray, weights: np.ndarray, at: dict[str, np.ndarray], names: tuple[str, ...]
) -> None:
    """Attach the lower front of the head to the jaw joint, in place."""
    relative = head - at["jaw"]
    low = np.clip(-relative[:, 1] / 0.03, 0.0, 1.0) * np.clip(relative[:, 2] / 0.03, 0.0, 1.0)
    weights *= (1.0 - low)[:, None]
    weights[:, names.index("jaw")] += low
