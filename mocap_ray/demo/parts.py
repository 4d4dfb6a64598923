"""The parts of the mannequin: the paths and radii of its tubes, in plain numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mocap_ray.body.proportions import Proportions

_X, _Y, _Z = np.eye(3)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One closed tube.

    Attributes:
        path: [K, 3] points of its centre line.
        radii: [K, 2] half axes of the ellipse at each point, along `axes`.
        axes: two directions that span its rings.
        joints: names of the joints that move it, in order along the path.
        blend: metres before and after a joint over which the skin blends from one bone to the next.
        rings, sectors: resolution; the tube has rings * sectors + 2 vertices.
        name: the kind of part, without a side.
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


def torso(at: dict[str, np.ndarray], p: Proportions) -> Part:
    """From the crotch to the base of the neck, moved by pelvis, spine and neck."""
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


def neck(at: dict[str, np.ndarray], p: Proportions) -> Part:
    """A short tube inside torso and head."""
    up = p.size * _Y
    rows = [
        (at["neck"] - 0.04 * up, 0.058, 0.058),
        (at["neck"] + 0.03 * up, 0.054, 0.056),
        (at["head"] + p.size * np.array((0.0, 0.025, -0.012)), 0.054, 0.064),
    ]
    return _part("neck", rows, (_X, _Z), ("neck", "head"), (7, 24), blend=0.035, scale=p.size * p.girth**0.5)


def head(at: dict[str, np.ndarray], p: Proportions, *, rings: int) -> Part:
    """From the chin to the crown; its resolution follows the family."""
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


def eye(at: dict[str, np.ndarray], p: Proportions) -> Part:
    """The left eyeball, which has its own joint in SMPL-X."""
    centre, radius = at["left_eye"], 0.014 * p.size * p.head_size
    rows = [
        (centre - radius * _Y, radius, radius),
        (centre, radius, radius),
        (centre + radius * _Y, radius, radius),
    ]
    return _part("eye", rows, (_X, _Z), ("left_eye",), (7, 10), blend=0.01, scale=1.0)


def leg(at: dict[str, np.ndarray], p: Proportions) -> Part:
    """The left leg from inside the hip to inside the foot."""
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


def foot(at: dict[str, np.ndarray], p: Proportions) -> Part:
    """The left foot with a flat sole, from heel to toes."""
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


def arm(at: dict[str, np.ndarray], p: Proportions) -> Part:
    """The left arm from inside the chest to the wrist."""
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


def hand(at: dict[str, np.ndarray], p: Proportions, *, family: str) -> list[Part]:
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
