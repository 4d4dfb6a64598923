"""Plausible joints of an adult from a few plain numbers: the skeleton of the stand-in bodies.

The numbers are this project's own, rounded from common anthropometry (segment lengths as fractions of the
height); none is taken from a licensed model.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from mocap_ray.skeleton import HAND_JOINTS


@dataclass(frozen=True, slots=True)
class Proportions:
    """Factors on the neutral body of 1.70 m; their order is that of the stand-in's shape coefficients."""

    size: float = 1.0
    girth: float = 1.0
    leg_length: float = 1.0
    arm_length: float = 1.0
    shoulder_width: float = 1.0
    hip_width: float = 1.0
    torso_length: float = 1.0
    head_size: float = 1.0
    foot_length: float = 1.0
    belly: float = 1.0
    neck_length: float = 1.0
    hand_size: float = 1.0
    calf_girth: float = 1.0
    chest_depth: float = 1.0
    hip_drop: float = 1.0
    shoulder_height: float = 1.0

    def changed(self, index: int) -> Proportions:
        """One factor increased by a standard deviation: the effect of a shape coefficient of 1."""
        name = fields(self)[index].name
        step = {"size": 0.035, "girth": 0.08, "belly": 0.1, "hip_drop": 0.12, "shoulder_height": 0.08}.get(
            name, 0.04
        )
        return replace(self, **{name: getattr(self, name) * (1.0 + step)})


GENDER_PROPORTIONS = {
    "neutral": Proportions(),
    "male": Proportions(size=1.03, girth=1.03, shoulder_width=1.06, hip_width=0.96, chest_depth=1.05),
    "female": Proportions(size=0.955, girth=0.96, shoulder_width=0.94, hip_width=1.07, head_size=1.02),
}

_FINGERS = {  # first joint from the wrist; lengths of its two bones and of the last phalanx; direction
    "index": ((0.096, 0.001, 0.024), (0.035, 0.025, 0.022), (1.0, 0.0, 0.06)),
    "middle": ((0.100, 0.003, 0.002), (0.038, 0.028, 0.024), (1.0, 0.0, 0.0)),
    "ring": ((0.093, 0.001, -0.018), (0.035, 0.026, 0.023), (1.0, 0.0, -0.06)),
    "pinky": ((0.083, -0.003, -0.036), (0.027, 0.020, 0.019), (1.0, 0.0, -0.14)),
    "thumb": ((0.028, -0.010, 0.026), (0.036, 0.031, 0.026), (0.74, -0.16, 0.65)),
}


def joint_positions(p: Proportions) -> dict[str, np.ndarray]:
    """Rest positions by name of all joints of the three families, metres; Y up, facing +Z, left is +X.

    Fingertips are added under names such as `left_index4`.
    """
    at: dict[str, np.ndarray] = {}

    def put(name: str, parent: str | None, x: float, y: float, z: float) -> None:
        at[name] = np.array((x, y, z)) + (at[parent] if parent else 0.0)

    leg, arm, torso = p.leg_length, p.arm_length, p.torso_length
    # The origin lies in the chest, so that code which takes the pelvis for the origin fails.
    put("pelvis", None, 0.0, -0.22, 0.02)
    put("left_hip", "pelvis", 0.064 * p.hip_width, -0.083 * p.hip_drop, -0.008)
    put("left_knee", "left_hip", 0.026, -0.388 * leg, 0.003)
    put("left_ankle", "left_knee", -0.010, -0.408 * leg, -0.034)
    put("left_foot", "left_ankle", 0.028, -0.052, 0.120 * p.foot_length)
    put("spine1", "pelvis", 0.0, 0.115 * torso, -0.022)
    put("spine2", "spine1", 0.0, 0.135 * torso, 0.004)
    put("spine3", "spine2", 0.0, 0.056 * torso, 0.006)
    put("neck", "spine3", 0.0, 0.214 * torso, -0.040)
    put("head", "neck", 0.0, 0.094 * p.neck_length, 0.034)
    put("left_collar", "spine3", 0.076 * p.shoulder_width, 0.114 * torso * p.shoulder_height, -0.022)
    put("left_shoulder", "left_collar", 0.106 * p.shoulder_width, 0.036, -0.008)
    put("left_elbow", "left_shoulder", 0.261 * arm, -0.014, -0.016)
    put("left_wrist", "left_elbow", 0.256 * arm, 0.008, -0.004)
    put("left_hand", "left_wrist", 0.085 * p.hand_size, -0.006, 0.0)
    put("jaw", "head", 0.0, 0.012 * p.head_size, 0.018 * p.head_size)
    put("left_eye", "head", 0.031 * p.head_size, 0.060 * p.head_size, 0.072 * p.head_size)
    for finger, (base, lengths, direction) in _FINGERS.items():
        along = np.array(direction) / np.linalg.norm(direction)
        at[f"left_{finger}1"] = at["left_wrist"] + p.hand_size * np.array(base)
        for k, length in enumerate(lengths, start=1):
            at[f"left_{finger}{k + 1}"] = at[f"left_{finger}{k}"] + p.hand_size * length * along
    assert all(f"left_{name}" in at for name in HAND_JOINTS)
    for name in [n for n in at if n.startswith("left_")]:
        at[mirrored(name)] = at[name] * (-1.0, 1.0, 1.0)
    return {name: p.size * position for name, position in at.items()}


def mirrored(name: str) -> str:
    """The joint's name on the other side of the body."""
    return name.replace("left_", "right_") if name.startswith("left_") else name.replace("right_", "left_")
