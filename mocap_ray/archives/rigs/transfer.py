"""From the motion of a rig to the 22 body joints: their positions, or rotations of the SMPL family.

Rotations are transferred globally. In a T pose, the axes of a rig's joint are turned by Q against the world (its rest),
and SMPL's are not, so SMPL's joint turns by R Q^T where the rig's turns by R. A limb of the rig may also rest in
another direction than SMPL's; its rotation is corrected by the smallest one between the two, so that limbs point where
the rig's do. Torso, neck, head and collars keep the rig's upright rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float64

from mocap_ray.archives.layouts import Unusable
from mocap_ray.archives.rigs import rotations
from mocap_ray.archives.rigs.kinematics import forward, with_ancestors
from mocap_ray.archives.rigs.rig import Places, Rig, rest_rotations
from mocap_ray.archives.rigs.take import Take
from mocap_ray.motion.clip import Reason
from mocap_ray.skeleton import BODY_JOINTS, BODY_PARENTS

SMALLEST, TALLEST, _TYPICAL = 0.4, 2.6, 1.5
"""Metres of a skeleton from the ankles along legs, spine and neck to the head joint: of a baby, of the tallest person,
and of an adult."""

_LEFT_LIMBS = {  # joint: the joint at its other end, and the direction to it in SMPL's rest
    "left_hip": ("left_knee", (0.10, -0.99, -0.02)),
    "left_knee": ("left_ankle", (-0.04, -0.99, -0.11)),
    "left_shoulder": ("left_elbow", (0.99, -0.05, -0.09)),
    "left_elbow": ("left_wrist", (1.00, 0.03, -0.01)),
}
"""The directions of SMPL's mean body, rounded and made symmetric. They were found from takes that exist both as BVH and
as parameters of SMPL: a constant rotation lies between the two at each limb."""
_FOLLOWS = {
    f"{side}_{end}": f"{side}_{limb}"
    for side in ("left", "right")
    for end, limb in (("wrist", "elbow"), ("ankle", "knee"), ("foot", "knee"))
}
"""Hands and feet are corrected with the limb that they are on: they rest alike against it."""

SMPL_LEG = 0.78
"""Metres from hip to ankle of SMPL's mean body. Paths are scaled by it over the rig's leg, so that feet stand still."""
SMPL_HIPS = np.array([0.0, -0.09, -0.01])
"""[3] metres from SMPL's pelvis to the middle of its hips, at rest."""
SMPL_PELVIS = np.array([0.0, -0.22, 0.02])
"""[3] metres from the origin of SMPL's mean body to its pelvis, at rest."""

_UNITS = {
    "millimetres": 0.001,
    "centimetres": 0.01,
    "inches": 0.0254,
    "inches / 0.45": 0.0564444,
    "feet": 0.3048,
    "metres": 1.0,
}


@dataclass(frozen=True, slots=True, eq=False)
class Mapped:
    """A rig in a file, found and measured.

    Attributes:
        take: the motion, without the frames to skip.
        places: the rig's joints for the 22 body joints.
        rest: rig's joint -> [3, 3] rotation from its axes to the world in the T pose.
        body: [22, 3] metres, the body joints in the T pose.
        metre: metres in a unit of the file.
        world: [3, 3] from the axes of the file to Y up; a reflection if those are left-handed.
    """

    take: Take
    places: Places
    rest: dict[int, np.ndarray]
    body: Float64[np.ndarray, "22 3"]
    metre: float
    world: Float64[np.ndarray, "3 3"]


def mapped(take: Take, rig: Rig, *, scale: float | None, world: Float64[np.ndarray, "3 3"]) -> Mapped:
    """Find the rig's joints in a take, and check the size of the person.

    Args:
        take: the motion.
        rig: the map of its joints.
        scale: metres in a unit of the file; None takes what the file says, or else the map.
        world: [3, 3] from the axes of the file to Y up.

    Raises:
        Unusable: a joint is missing, or the person is larger or smaller than any.
    """
    skeleton, places = take.skeleton, rig.places(take.skeleton)
    rest = rest_rotations(rig, skeleton, with_ancestors(skeleton, places.joints))
    at: dict[int, np.ndarray] = {}
    for joint in rest:
        parent = skeleton.parents[joint]
        at[joint] = (
            skeleton.offsets[joint] if parent < 0 else at[parent] + rest[parent] @ skeleton.offsets[joint]
        )
    units = np.array([np.mean([at[j] for j in joints], axis=0) for joints in places.at])
    metre = next((m for m in (scale, take.metre, rig.metre) if m is not None), 0.01)
    require_stature(units * metre, metre)
    return Mapped(take, places, rest, units * metre, metre, world)


def joints(found: Mapped) -> Float64[np.ndarray, "T 22 3"]:
    """The positions of the 22 body joints, metres, Y up."""
    out = np.empty((len(found.take.values), 22, 3))
    turn = found.world * found.metre
    for part, pose in forward(found.take, found.places.joints):
        for k, sources in enumerate(found.places.at):
            at = sum(pose.positions[j] for j in sources) / len(sources)
            out[part, k] = (turn @ at).T
    return out


def poses(found: Mapped, *, joints: int) -> tuple[Float64[np.ndarray, "T J 3"], Float64[np.ndarray, "T 3"]]:
    """Poses of the SMPL family, rad, and the translation of its mean body, metres; Y up. Hands stay at rest.

    Args:
        found: the rig.
        joints: of the family: 24, 52 or 55.
    """
    frames = len(found.take.values)
    out, trans = np.zeros((frames, joints, 3)), np.empty((frames, 3))
    fixed = _corrections(found)
    scale = found.metre * SMPL_LEG / _leg(found.body)
    hips = [j for name in ("left_hip", "right_hip") for j in found.places.at[BODY_JOINTS.index(name)]]
    world = found.world[:, :, None]
    for part, pose in forward(found.take, found.places.joints):
        turned = []
        for k, sources in enumerate(found.places.turns):
            R = [rotations.times(pose.rotations[j], found.rest[j].T[:, :, None]) for j in sources]
            middle = R[0] if len(R) == 1 else rotations.halfway(*R)
            # Conjugated: the same rotation in the axes of the data set, also where those are a reflection.
            upright = rotations.times(rotations.times(world, middle), np.swapaxes(world, 0, 1))
            turned.append(rotations.times(upright, fixed[k][:, :, None]))
            parent = BODY_PARENTS[k]
            local = turned[k] if parent < 0 else rotations.inverse_times(turned[parent], turned[k])
            out[part, k] = rotations.rotation_vectors(local).T
        middle_hip = found.world @ (sum(pose.positions[j] for j in hips) / len(hips)) * scale
        pelvis = middle_hip - rotations.applied(turned[0], SMPL_HIPS[:, None])
        trans[part] = pelvis.T - SMPL_PELVIS
    return out, trans


def require_stature(body: Float64[np.ndarray, "22 3"], metre: float) -> None:
    """Check that a body in metres is one of a person.

    Args:
        body: [22, 3] the body joints in any pose.
        metre: metres in a unit of the file, as assumed.

    Raises:
        Unusable: it is too large or too small; the detail names the unit that fits.
    """
    size = stature(body)
    if SMALLEST <= size <= TALLEST:
        return
    units = size / metre
    fitting = [f"{value:g} ({name})" for name, value in _UNITS.items() if 1.1 <= units * value <= 1.9]
    if fitting:
        remedy = f"Set source.scale to {fitting[0]}"
    elif 1e-9 < units < 1e9:
        remedy = f"Set source.scale to about {_TYPICAL / units:.2g}"
    else:
        remedy = "Correct the file"
    raise Unusable(
        Reason.BAD_VALUE,
        f"a person of {size:.3g} m from the ankles to the head joint, with {metre:g} m for each unit. "
        f"Expected {SMALLEST:g} to {TALLEST:g} m. {remedy}",
    )


def stature(body: Float64[np.ndarray, "22 3"]) -> float:
    """Metres along the bones from the ankles over hips and spine to the head joint, in any pose."""
    at = dict(zip(BODY_JOINTS, body, strict=True))
    spine = ("pelvis", "spine1", "spine2", "spine3", "neck", "head")
    with np.errstate(over="ignore", invalid="ignore"):  # of damaged files
        hips = (at["left_hip"] + at["right_hip"]) / 2
        up = float(np.linalg.norm(at["pelvis"] - hips))
        back = sum(float(np.linalg.norm(at[b] - at[a])) for a, b in pairwise(spine))
        return _leg(body) + up + back


def _leg(body: Float64[np.ndarray, "22 3"]) -> float:
    """Metres from hip to ankle, the mean of both sides."""
    at = dict(zip(BODY_JOINTS, body, strict=True))
    pairs = [
        (f"{side}_{a}", f"{side}_{b}")
        for side in ("left", "right")
        for a, b in (("hip", "knee"), ("knee", "ankle"))
    ]
    return 0.5 * sum(float(np.linalg.norm(at[b] - at[a])) for a, b in pairs)


def _corrections(found: Mapped) -> list[Float64[np.ndarray, "3 3"]]:
    """Of the 22 body joints: the rotation from SMPL's rest direction to the rig's, for limbs; else the identity."""
    body = found.body @ found.world.T
    fixed = {}
    for name, (other, direction) in _LEFT_LIMBS.items():
        for side, mirror in (("left", 1.0), ("right", -1.0)):
            joint, end = (BODY_JOINTS.index(n.replace("left", side)) for n in (name, other))
            of_smpl = np.array(direction) * (mirror, 1.0, 1.0)
            fixed[BODY_JOINTS[joint]] = rotations.between(of_smpl, body[end] - body[joint])
    fixed |= {name: fixed[other] for name, other in _FOLLOWS.items()}
    return [fixed.get(name, np.eye(3)) for name in BODY_JOINTS]
