"""Pictures of poses that have no body of their own: samples of priors as stick figures and hands (floor 5).

Joints come from the stand-in's proportions, so no model file is needed and the pictures carry no licence.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from html import escape

import numpy as np
from jaxtyping import Float

from mocap_ray.body.model import ShapedBody
from mocap_ray.body.proportions import GENDER_PROPORTIONS, joint_positions
from mocap_ray.dataset import pictures
from mocap_ray.skeleton import PARENTS, SMPLX_JOINTS

_FINGERS = ("index", "middle", "pinky", "ring", "thumb")
_TIPS = tuple(f"{side}_{finger}" for side in ("left", "right") for finger in _FINGERS)
_TILT = np.deg2rad(38.0)  # hands are seen from above and a little from the wrist, so that curling shows
_PX = 1000.0  # pixels per metre of a hand


@lru_cache(maxsize=1)
def figure_body() -> ShapedBody:
    """The neutral stand-in with the 55 joints of SMPL-X and, after them, ten fingertips, left hand first."""
    at = joint_positions(GENDER_PROPORTIONS["neutral"])
    rest = np.array([at[name] for name in (*SMPLX_JOINTS, *(f"{tip}4" for tip in _TIPS))])
    parents = np.array([*PARENTS["smplx"], *(SMPLX_JOINTS.index(f"{tip}3") for tip in _TIPS)], dtype=np.int64)
    offsets = rest.copy()
    offsets[1:] -= rest[parents[1:]]
    return ShapedBody(rest, offsets, parents)


def posed_joints(poses: Float[np.ndarray, "N 55 3"]) -> Float[np.ndarray, "N 65 3"]:
    """Joints of the stand-in, metres, fingertips last."""
    whole = np.concatenate([poses, np.zeros((len(poses), len(_TIPS), 3), poses.dtype)], axis=1)
    return figure_body().joints(whole, np.zeros((len(poses), 3)), count=65)


def body_figures(
    poses: Float[np.ndarray, "N 55 3"], *, labels: Sequence[str], standalone: bool = False
) -> list[str]:
    """Each pose as a stick figure, an SVG each."""
    return pictures.figures(posed_joints(poses)[:, :22], labels=labels, standalone=standalone)


def hand_figures(
    poses: Float[np.ndarray, "N 55 3"], *, labels: Sequence[str], standalone: bool = False
) -> list[str]:
    """Both hands of each pose side by side, backs up, fingers away from the viewer, an SVG each."""
    hands = poses.copy()
    hands[:, :25] = 0.0
    joints = posed_joints(hands)
    style = f"<style>{pictures.STYLE}</style>" if standalone else ""
    drawn = []
    for pose, label in zip(joints, labels, strict=True):
        text = escape(label, quote=True)
        parts = [*_hand(pose, "left", 1.0, 105.0), *_hand(pose, "right", -1.0, 325.0)]
        drawn.append(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 430 250" role="img" aria-label="{text}">'
            f'<title>{text}</title>{style}<g class="mr-b" fill="none">{"".join(parts)}</g></svg>'
        )
    return drawn


def _hand(pose: Float[np.ndarray, "65 3"], side: str, sign: float, middle: float) -> list[str]:
    """Lines of one hand, far ones first; `sign` is the direction of its fingers along X at rest."""
    wrist = pose[SMPLX_JOINTS.index(f"{side}_wrist")]
    first = 55 + (5 if side == "right" else 0)
    lines: list[tuple[float, str]] = []
    for k, finger in enumerate(_FINGERS):
        chain = [SMPLX_JOINTS.index(f"{side}_{finger}{n}") for n in (1, 2, 3)]
        points = np.array([wrist, *pose[chain], pose[first + k]]) - wrist
        ahead, up, right = sign * points[:, 0], points[:, 1], sign * points[:, 2]
        x = middle + _PX * right
        y = 200.0 - _PX * (np.cos(_TILT) * ahead + np.sin(_TILT) * up)
        for n in range(4):
            near = 0.5 * (up[n] + up[n + 1])
            lines.append(
                (
                    near,
                    f'<line class="mr-{"t" if n == 0 else side[0]}" x1="{x[n]:.1f}" y1="{y[n]:.1f}" '
                    f'x2="{x[n + 1]:.1f}" y2="{y[n + 1]:.1f}" stroke-width="{(6, 9.5, 8, 7)[n]}"/>',
                )
            )
    return [text for _, text in sorted(lines, key=lambda item: item[0])]
