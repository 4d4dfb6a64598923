"""Synthetic SMPL+H motion from trigonometric functions: walks, runs, waves, squats and jumps for the demo.

A walk places the feet along a path over the floor: a foot is still during its stance and swings on a smooth arc to
its next place; the legs follow by two-link inverse kinematics in closed form. The arms swing against the legs.
Body axes are SMPL's: X left, Y up, Z forward; T-pose at rest. World axes are AMASS's: Z up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from mocap_ray.skeleton import BODY_JOINTS, HUMANML3D_BONES

_INDEX = {name: k for k, name in enumerate(BODY_JOINTS)}
THIGH = float(HUMANML3D_BONES[_INDEX["left_knee"]])
SHANK = float(HUMANML3D_BONES[_INDEX["left_ankle"]])
HIP = np.array([0.06, -0.09, 0.0])
"""Offset of the left hip from the pelvis, body axes, m; for the right hip, x is negated."""
STANDING = 0.93
"""Height of the pelvis, m."""
ANKLE = 0.07
"""Height of the ankle over the floor, m."""
FOOT = 0.13
"""Distance from the ankle forward to the ball of the foot, over which the foot rolls, m."""
GRAVITY = 9.81
STANCE = 0.6
"""Fraction of a gait cycle in which a foot is on the floor."""


@dataclass(frozen=True, slots=True)
class Style:
    """Style of a motion: speed m/s, turn rad/s, cadence cycles/s, heading rad, arm swing rad, bounce m, lift m."""

    speed: float = 1.2
    turn: float = 0.0
    cadence: float = 0.95
    heading: float = 0.0
    arms: float = 0.45
    bounce: float = 0.02
    lift: float = 0.08


def walk(
    t: Float[np.ndarray, "T"], style: Style
) -> tuple[Float[np.ndarray, "T 156"], Float[np.ndarray, "T 3"]]:
    """Poses, rad, and trans, m, of a walk along an arc; times `t` in s. With speed 0, the person runs on the spot."""
    phase = style.cadence * t
    angle = style.heading + style.turn * t - 0.06 * np.cos(2 * np.pi * phase)
    root = _path(t, style)
    root[:, 2] = (
        STANDING
        - 0.02
        - 0.1 * max(0.0, style.speed / style.cadence - 1.1)
        + style.bounce * np.cos(4 * np.pi * (phase - 0.3))
    )
    feet = [_foot(phase + shift, shift, side, style) for side, shift in ((1, 0.0), (-1, 0.5))]
    body = _Body(len(t))
    body.stand(root, angle, lean=0.03 + 0.05 * style.bounce / 0.02)
    for side, (place, pitch) in zip(("left", "right"), feet, strict=True):
        body.reach(side, place, pitch)
    swing = -style.arms * np.cos(2 * np.pi * phase)  # the left foot is in front at whole phases
    body.arm("left", swing, bend=0.35 + 0.3 * style.arms)
    body.arm("right", -swing, bend=0.35 + 0.3 * style.arms)
    body.turn("spine1", y=0.06 * np.cos(2 * np.pi * phase))
    body.turn("spine3", y=0.12 * np.cos(2 * np.pi * phase))
    return body.poses(), root


def wave(
    t: Float[np.ndarray, "T"], style: Style
) -> tuple[Float[np.ndarray, "T 156"], Float[np.ndarray, "T 3"]]:
    """Poses, rad, and trans, m, of a person who stands and waves with the right hand."""
    up = _smooth(t / 0.8) * _smooth((t[-1] - t) / 0.8)
    body, root = _standing(t, style, drop=np.zeros_like(t))
    body.arm("left", 0.04 * np.sin(t), bend=0.2)
    # A small sway, because a real shoulder is never completely still.
    sway = _times(_about("x", 0.06 * np.sin(1.7 * t)), _about("y", 0.06 * np.cos(1.1 * t)))
    body.joints["right_shoulder"] = _times(_about("z", 1.25 - up * 1.6 + 0.05 * np.sin(2.1 * t)), sway)
    body.joints["right_elbow"] = _about("z", -up * (1.1 + 0.45 * np.sin(2 * np.pi * style.cadence * 1.6 * t)))
    return body.poses(), root


def squat(
    t: Float[np.ndarray, "T"], style: Style
) -> tuple[Float[np.ndarray, "T 156"], Float[np.ndarray, "T 3"]]:
    """Poses, rad, and trans, m, of squats with the arms stretched forward."""
    down = 0.5 - 0.5 * np.cos(2 * np.pi * 0.45 * style.cadence * t)
    body, root = _standing(t, style, drop=0.38 * down, back=0.12 * down)
    for side in ("left", "right"):
        body.arm(side, 1.4 * down, bend=0.15)
    body.turn("spine1", x=0.45 * down)
    return body.poses(), root


def jump(
    t: Float[np.ndarray, "T"], style: Style
) -> tuple[Float[np.ndarray, "T 156"], Float[np.ndarray, "T 3"]]:
    """Poses, rad, and trans, m, of repeated jumps on the spot: ballistic in the air, otherwise feet on the floor."""
    period, flight = 2.0 / style.cadence, 0.42
    ground, speed = period - flight, 0.5 * GRAVITY * flight
    clock = np.mod(t + 0.5 * ground, period)  # starts upright on the ground
    x = np.clip(clock - ground, 0, flight)
    height = 0.5 * GRAVITY * x * (flight - x)
    # A dip after the landing and its mirror image before the take-off, each with the speed of the flight.
    drop = np.zeros_like(t)
    for since in (clock, ground - clock):
        part = np.clip(2 * since / ground, 0, 1)
        drop += 0.5 * ground * speed * part * (1 - part) ** 3
    air = x / flight
    body, root = _standing(t, style, drop=drop, rise=height, back=0.3 * drop)
    for side in ("left", "right"):
        body.arm(side, 2.2 * air * (1 - air) * 2 - 1.2 * drop, bend=0.25)
    body.turn("spine1", x=0.8 * drop)
    return body.poses(), root


class _Body:
    """Local rotations of the body joints as quaternions [T, 4] (w, x, y, z), filled in step by step."""

    def __init__(self, frames: int) -> None:
        self.joints: dict[str, np.ndarray] = {}
        self.frames = frames
        self.q_world_body = np.zeros((frames, 4))
        self.root = np.zeros((frames, 3))

    def stand(self, root: np.ndarray, angle: np.ndarray, *, lean: float = 0.0) -> None:
        """Place the body upright with its pelvis at `root`, facing `angle` about the vertical (0: along world X)."""
        # SMPL's Y becomes the world's Z and its Z (forward) the world's X, then the turn.
        upright = _times(_about("z", angle + np.pi / 2), _about("x", np.full(self.frames, np.pi / 2)))
        self.q_world_body, self.root = upright, root
        self.joints["pelvis"] = upright
        self.joints["spine2"] = _about("x", np.full(self.frames, lean))

    def reach(self, side: str, foot: np.ndarray, pitch: np.ndarray) -> None:
        """Bend a leg so that its ankle reaches `foot` [T, 3] (world), with the toes pitched down by `pitch`, rad."""
        hip = HIP * (1 if side == "left" else -1, 1, 1)
        d = _rotate(_conjugate(self.q_world_body), foot - self.root) - hip
        length = np.minimum(np.linalg.norm(d, axis=1), 0.999 * (THIGH + SHANK))
        knee = np.pi - np.arccos(np.clip((THIGH**2 + SHANK**2 - length**2) / (2 * THIGH * SHANK), -1, 1))
        bent = np.arctan2(SHANK * np.sin(knee), THIGH + SHANK * np.cos(knee))
        back = np.arcsin(np.clip(-d[:, 2] / np.linalg.norm(d, axis=1), -1, 1))
        out = np.arctan2(d[:, 0], -d[:, 1])
        self.joints[f"{side}_hip"] = _times(_about("z", out), _about("x", back - bent))
        self.joints[f"{side}_knee"] = _about("x", knee)
        leg = _times(self.joints[f"{side}_hip"], self.joints[f"{side}_knee"])
        self.joints[f"{side}_ankle"] = _times(_conjugate(leg), _about("x", pitch))

    def arm(self, side: str, forward: np.ndarray, *, bend: float) -> None:
        """Lower an arm from the T-pose, swung forward by `forward` and bent at the elbow by `bend`, rad."""
        sign = 1 if side == "left" else -1
        self.joints[f"{side}_shoulder"] = _times(
            _about("x", -forward), _about("z", np.full(self.frames, -1.25 * sign))
        )
        # With the arm hanging, the forearm comes forward about the arm's own vertical axis.
        self.joints[f"{side}_elbow"] = _about("y", np.full(self.frames, -bend * sign))

    def turn(self, joint: str, *, x: np.ndarray | None = None, y: np.ndarray | None = None) -> None:
        """Rotate one joint about its local x or y axis, rad."""
        self.joints[joint] = _about("x", x) if x is not None else _about("y", y)

    def poses(self) -> Float[np.ndarray, "T 156"]:
        """SMPL+H poses, rad; joints that were not set and both hands are at rest."""
        poses = np.zeros((self.frames, 156))
        for name, quaternion in self.joints.items():
            k = _INDEX[name]
            poses[:, 3 * k : 3 * k + 3] = _rotation_vector(quaternion)
        return poses


def _standing(
    t: np.ndarray,
    style: Style,
    *,
    drop: np.ndarray,
    rise: np.ndarray | float = 0.0,
    back: np.ndarray | float = 0.0,
) -> tuple[_Body, np.ndarray]:
    """Both feet on one spot; the pelvis lowered by `drop` and moved `back`, everything lifted by `rise`."""
    body = _Body(len(t))
    forward = np.array([np.cos(style.heading), np.sin(style.heading), 0.0])
    left = np.array([-forward[1], forward[0], 0.0])
    up = np.array([0.0, 0.0, 1.0])
    sway = 0.008 * np.sin(2 * np.pi * 0.3 * t)
    root = np.outer(STANDING - drop + rise, up) + np.outer(sway, left) - np.outer(back + 0 * t, forward)
    body.stand(root, style.heading + 0.02 * np.sin(t))
    for side, sign in (("left", 1), ("right", -1)):
        foot = sign * 0.1 * left + np.outer(ANKLE + rise + 0 * t, up)
        body.reach(side, foot, 0.9 * np.clip(np.asarray(rise + 0 * t) / 0.1, 0, 1))
    return body, root


def _path(t: np.ndarray, style: Style) -> np.ndarray:
    """Points of the path over the floor at times t: an arc, or a line."""
    if abs(style.turn) < 1e-6:
        x, y = style.speed * t, np.zeros_like(t)
    else:
        radius = style.speed / style.turn
        x, y = radius * np.sin(style.turn * t), radius * (1 - np.cos(style.turn * t))
    c, s = np.cos(style.heading), np.sin(style.heading)
    return np.stack([c * x - s * y, s * x + c * y, np.zeros_like(t)], axis=1)


def _foot(phase: np.ndarray, shift: float, side: int, style: Style) -> tuple[np.ndarray, np.ndarray]:
    """Ankle [T, 3] in the world and pitch of the sole [T], for a foot whose stance begins at integer phases."""
    cycle = np.floor(phase)
    clock = phase - cycle
    fly = _smooth((clock - STANCE) / (1 - STANCE))
    current, following = (_spot(cycle + k, shift, side, style) for k in (0, 1))
    # Late in the stance the heel rises and the foot rolls over its ball; in flight it becomes level again.
    pitch = 0.75 * _smooth((clock - 0.25) / (STANCE - 0.25)) * (1 - _smooth((clock - STANCE) / 0.3))
    angle = style.heading + style.turn * phase / style.cadence
    place = current + fly[:, None] * (following - current)
    place += (FOOT * (1 - np.cos(pitch)))[:, None] * _forward(angle)
    place[:, 2] = ANKLE + style.lift * np.sin(np.pi * fly) + FOOT * np.sin(pitch)
    return place, pitch


def _spot(cycle: np.ndarray, shift: float, side: int, style: Style) -> np.ndarray:
    """Position of a foot in a cycle: beside the path's point at the middle of its stance, slightly behind it."""
    t = (cycle - shift + STANCE / 2) / style.cadence
    angle = style.heading + style.turn * t
    forward = _forward(angle)
    left = forward[:, [1, 0, 2]] * (-1, 1, 1)
    spot: np.ndarray = _path(t, style) + side * 0.09 * left - 0.04 * forward
    return spot


def _forward(angle: np.ndarray) -> np.ndarray:
    """Unit vectors over the floor in the direction of `angle`."""
    return np.stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)], axis=1)


def _smooth(x: np.ndarray) -> np.ndarray:
    """Smooth step from 0 to 1, without jumps in velocity or acceleration."""
    x = np.clip(x, 0, 1)
    smooth: np.ndarray = x**3 * (10 - 15 * x + 6 * x**2)
    return smooth


def _about(axis: str, angle: Any) -> np.ndarray:
    """Quaternion (w, x, y, z) of a rotation about one axis."""
    angle = np.asarray(angle, np.float64)
    q = np.zeros((*angle.shape, 4))
    q[..., 0] = np.cos(angle / 2)
    q[..., 1 + "xyz".index(axis)] = np.sin(angle / 2)
    return q


def _times(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Hamilton product: first q, then p."""
    w = p[..., :1] * q[..., :1] - (p[..., 1:] * q[..., 1:]).sum(-1, keepdims=True)
    v = p[..., :1] * q[..., 1:] + q[..., :1] * p[..., 1:] + np.cross(p[..., 1:], q[..., 1:])
    return np.concatenate([w, v], axis=-1)


def _conjugate(q: np.ndarray) -> np.ndarray:
    return q * (1, -1, -1, -1)


def _rotate(q: np.ndarray, v: np.ndarray) -> np.ndarray:
    pure = np.concatenate([np.zeros((*v.shape[:-1], 1)), v], axis=-1)
    return _times(_times(q, pure), _conjugate(q))[..., 1:]


def _rotation_vector(q: np.ndarray) -> np.ndarray:
    """Axis times angle in [0, pi], rad."""
    q = np.where(q[..., :1] < 0, -q, q)
    sine = np.linalg.norm(q[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, q[..., :1])
    vector: np.ndarray = q[..., 1:] * (angle / np.maximum(sine, 1e-12))
    return vector
