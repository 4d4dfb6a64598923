"""The mesh of the stand-in bodies: a jointed mannequin lofted around its bones (floor 1).

Each part is a closed tube: elliptical rings along a smooth path, rounded at both ends. A vertex knows the
joints it hangs on from where it lies along its path.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from mocap_ray.body.model import VERTICES
from mocap_ray.body.proportions import Proportions, joint_positions, mirrored

_X, _Y, _Z = np.eye(3)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One closed tube.

    Attributes:
        path: [K, 3] points of its centre line.
        radii: [K, 2] half axes of the ellipse at each point, along `axes`.
        axes: two directions that span its rings.
        joints: names of the joints that move it, in order along the path.
        blend: metres before and after a joint in which the skin goes over from one bone to the next.
        rings, sectors: its resolution; it has rings * sectors + 2 vertices.
        name: of its kind, without a side.
    """

    name: str
    path: Float[np.ndarray, "K 3"]
    radii: Float[np.ndarray, "K 2"]
    axes: tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]
    joints: tuple[str, ...]
    blend: float
    rings: int
    sectors: int

    @property
    def count(self) -> int:
        """Number of vertices."""
        return self.rings * self.sectors + 2


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """The mannequin.

    Attributes:
        vertices: [V, 3] metres.
        faces: [F, 3] counter-clockwise from outside.
        weights: [V, joints in `names`] rows sum to 1.
        part: [V] index of the part of each vertex.
        ring: [V] number of the ring inside its part; poles count to the nearest ring.
        parts: names of the parts, sides included.
    """

    vertices: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]
    weights: Float[np.ndarray, "V J"]
    part: Int[np.ndarray, "V"]
    ring: Int[np.ndarray, "V"]
    parts: tuple[str, ...]


def build(p: Proportions, *, family: str, names: tuple[str, ...]) -> Mesh:
    """The mesh of a family, in its joints' order `names`; the same topology for all proportions."""
    at = joint_positions(p)
    middle = [_torso(at, p), _neck(at, p), _head(at, p, rings=44 if family == "smplx" else 26)]
    left = [_leg(at, p), _foot(at, p), _arm(at, p), *_hand(at, p, family=family)]
    if family == "smplx":
        left.append(_eye(at, p))
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
    # Rings stand closer together towards the ends, where the caps curve.
    even = (np.arange(part.rings) + 0.5) / part.rings
    stations = total * (0.6 * even + 0.4 * 0.5 * (1.0 - np.cos(np.pi * even)))
    centres = PchipInterpolator(along, part.path)(stations)
    radii = PchipInterpolator(along, part.radii)(stations)
    for distance, end in ((stations, part.radii[0]), (total - stations, part.radii[-1])):
        cap = min(float(end.mean()), 0.5 * total)
        inside = np.clip(1.0 - distance / cap, 0.0, 1.0)
        radii = radii * np.sqrt(1.0 - inside**2)[:, None]
    # From the second axis on, so that an odd number of sectors is still left-right symmetric.
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
    """[n, J] from the position along the path: bone after bone, smoothly around each joint."""
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
    """[2 rings sectors, 3]: quads between rings in two triangles, fans at the poles, outside first."""
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
    # The order above is right where the axes and the path form a right-handed frame.
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


def _part(
    name: str,
    rows: list[tuple[np.ndarray, float, float]],
    axes: tuple[np.ndarray, np.ndarray],
    joints: tuple[str, ...],
    shape: tuple[int, int],
    *,
    blend: float,
    scale: float,
) -> Part:
    path = np.array([row[0] for row in rows])
    radii = scale * np.array([row[1:] for row in rows])
    return Part(name, path, radii, axes, joints, blend, *shape)


def _torso(at: dict[str, np.ndarray], p: Proportions) -> Part:
    hips, shoulders = p.hip_width, p.shoulder_width

    def level(joint: str, up: float, front: float) -> np.ndarray:
        point = at[joint] + p.size * np.array((0.0, up, front))
        return point * (0.0, 1.0, 1.0)

    rows = [
        (level("left_hip", -0.085, 0.004), 0.050 * hips, 0.060),
        (level("left_hip", -0.035, 0.004), 0.135 * hips, 0.098),
        (level("pelvis", -0.045, -0.004), 0.162 * hips, 0.112),
        (level("pelvis", 0.045, 0.004), 0.148 * hips, 0.104 * p.belly),
        (level("spine1", 0.040, 0.024), 0.128, 0.096 * p.belly),
        (level("spine2", 0.010, 0.018), 0.138, 0.106 * p.chest_depth),
        (level("spine3", 0.060, 0.008), 0.158 * shoulders, 0.118 * p.chest_depth),
        (level("left_collar", 0.015, -0.004), 0.142 * shoulders, 0.094 * p.chest_depth),
        (level("neck", -0.035, 0.0), 0.085, 0.066),
        (level("neck", 0.010, 0.0), 0.055, 0.052),
    ]
    joints = ("pelvis", "spine1", "spine2", "spine3", "neck")
    return _part("torso", rows, (_X, _Z), joints, (30, 44), blend=0.05, scale=p.size * p.girth)


def _neck(at: dict[str, np.ndarray], p: Proportions) -> Part:
    up = p.size * _Y
    rows = [
        (at["neck"] - 0.04 * up, 0.058, 0.058),
        (at["neck"] + 0.03 * up, 0.054, 0.056),
        (at["head"] + p.size * np.array((0.0, 0.025, -0.012)), 0.054, 0.064),
    ]
    return _part("neck", rows, (_X, _Z), ("neck", "head"), (7, 24), blend=0.035, scale=p.size * p.girth**0.5)


def _head(at: dict[str, np.ndarray], p: Proportions, *, rings: int) -> Part:
    size = p.size * p.head_size

    def level(up: float, front: float) -> np.ndarray:
        return at["head"] + size * np.array((0.0, up, front))

    rows = [
        (level(-0.046, 0.034), 0.040, 0.044),
        (level(-0.012, 0.018), 0.060, 0.076),
        (level(0.038, -0.002), 0.073, 0.094),
        (level(0.085, -0.010), 0.077, 0.100),
        (level(0.129, -0.012), 0.062, 0.080),
    ]
    shape = (rings, rings + rings // 4 // 2 * 2)
    return _part("head", rows, (_X, _Z), ("head",), shape, blend=0.03, scale=size)


def _eye(at: dict[str, np.ndarray], p: Proportions) -> Part:
    centre, radius = at["left_eye"], 0.014 * p.size * p.head_size
    rows = [
        (centre - radius * _Y, radius, radius),
        (centre, radius, radius),
        (centre + radius * _Y, radius, radius),
    ]
    return _part("eye", rows, (_X, _Z), ("left_eye",), (7, 10), blend=0.01, scale=1.0)


def _leg(at: dict[str, np.ndarray], p: Proportions) -> Part:
    hip, knee, ankle = at["left_hip"], at["left_knee"], at["left_ankle"]
    calf = p.calf_girth
    rows = [
        (hip + p.size * np.array((0.012, 0.060, 0.0)), 0.062, 0.074),
        (hip + 0.12 * (knee - hip) + p.size * 0.012 * _X, 0.084, 0.090),
        (hip + 0.50 * (knee - hip), 0.072, 0.078),
        (knee, 0.052, 0.055),
        (knee + 0.30 * (ankle - knee), 0.052 * calf, 0.058 * calf),
        (knee + 0.75 * (ankle - knee), 0.038 * calf, 0.042 * calf),
        (ankle - p.size * 0.030 * _Y, 0.034, 0.038),
    ]
    joints = ("pelvis", "left_hip", "left_knee", "left_ankle")
    return _part("leg", rows, (_X, _Z), joints, (32, 22), blend=0.05, scale=p.size * p.girth)


def _foot(at: dict[str, np.ndarray], p: Proportions) -> Part:
    ankle, ball, size = at["left_ankle"], at["left_foot"], p.size
    sole = ankle[1] - 0.078 * size
    long = size * p.foot_length

    def point(base: np.ndarray, forward: float, height: float) -> np.ndarray:
        return np.array((base[0], sole + size * height, base[2] + long * forward))

    rows = [
        (point(ankle, -0.062, 0.034), 0.028, 0.034),
        (point(ankle, 0.000, 0.042), 0.034, 0.042),
        (point(0.5 * (ankle + ball), 0.010, 0.034), 0.040, 0.034),
        (point(ball, 0.000, 0.023), 0.046, 0.023),
        (point(ball, 0.082, 0.015), 0.030, 0.015),
    ]
    return _part("foot", rows, (_X, _Y), ("left_ankle", "left_foot"), (16, 16), blend=0.03, scale=size)


def _arm(at: dict[str, np.ndarray], p: Proportions) -> Part:
    collar, shoulder, elbow, wrist = (at[f"left_{n}"] for n in ("collar", "shoulder", "elbow", "wrist"))
    rows = [
        (collar - p.size * 0.030 * _X, 0.050, 0.060),
        (0.5 * (collar + shoulder), 0.058, 0.066),
        (shoulder + p.size * 0.010 * _X, 0.056, 0.058),
        (0.5 * (shoulder + elbow), 0.045, 0.047),
        (elbow, 0.036, 0.038),
        (elbow + 0.25 * (wrist - elbow), 0.038, 0.041),
        (wrist + p.size * 0.012 * _X, 0.022, 0.028),
    ]
    joints = ("left_collar", "left_shoulder", "left_elbow", "left_wrist")
    return _part("arm", rows, (_Y, _Z), joints, (28, 20), blend=0.04, scale=p.size * p.girth)


def _hand(at: dict[str, np.ndarray], p: Proportions, *, family: str) -> list[Part]:
    """A palm with five fingers; for SMPL, which has no fingers, a mitten with a thumb."""
    wrist, size, fingers = at["left_wrist"], p.size * p.hand_size, family != "smpl"

    def point(x: float, z: float = 0.0) -> np.ndarray:
        return wrist + size * np.array((x, -0.002, z))

    rows = [(point(-0.010), 0.020, 0.026), (point(0.040), 0.018, 0.040), (point(0.085, -0.002), 0.014, 0.046)]
    rows += (
        [(point(0.112), 0.010, 0.040)]
        if fingers
        else [(point(0.150), 0.011, 0.036), (point(0.190), 0.008, 0.022)]
    )
    joints = ("left_wrist",) if fingers else ("left_wrist", "left_hand")
    parts = [_part("palm", rows, (_Y, _Z), joints, (10, 20), blend=0.02, scale=size)]
    for finger in ("index", "middle", "pinky", "ring", "thumb") if fingers else ("thumb",):
        knuckles = [at[f"left_{finger}{k}"] for k in (1, 2, 3, 4)]
        along = (knuckles[3] - knuckles[0]) / np.linalg.norm(knuckles[3] - knuckles[0])
        thick = {"thumb": 1.25, "pinky": 0.85}.get(finger, 1.0)
        radii = [0.0095 * thick, 0.0090 * thick, 0.0085 * thick, 0.0070 * thick]
        chain = [(knuckles[0] - 0.012 * size * along, radii[0], radii[0])]
        chain += [(knuckle, r, r) for knuckle, r in zip(knuckles, radii, strict=True)]
        across = np.cross(along, _Y)
        moved = tuple(f"left_{finger}{k}" for k in (1, 2, 3)) if fingers else ("left_wrist",)
        moved = ("left_wrist", *moved) if fingers else moved
        axes = (np.cross(across, along), across / np.linalg.norm(across))
        parts.append(_part(finger, chain, axes, moved, (12, 10), blend=0.008, scale=size))
    return parts


def _give_nose(head: np.ndarray, at: dict[str, np.ndarray], p: Proportions) -> None:
    """A bump in the middle of the face, in place: a viewer sees where the body looks."""
    size = p.size * p.head_size
    relative = (head - at["head"]) / size - (0.0, 0.038, 0.088)
    bump = np.exp(-0.5 * np.sum((relative / (0.011, 0.018, 0.030)) ** 2, axis=1))
    head[:, 2] += 0.026 * size * bump


def _give_jaw(
    head: np.ndarray, weights: np.ndarray, at: dict[str, np.ndarray], names: tuple[str, ...]
) -> None:
    """Let the lower front of the head follow the jaw joint, in place."""
    relative = head - at["jaw"]
    low = np.clip(-relative[:, 1] / 0.03, 0.0, 1.0) * np.clip(relative[:, 2] / 0.03, 0.0, 1.0)
    weights *= (1.0 - low)[:, None]
    weights[:, names.index("jaw")] += low
