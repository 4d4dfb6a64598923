"""Pictures of poses that have no body of their own: samples of priors as stick figures and hands.

Joints come from the stand-in's proportions, so no model file is needed and the pictures carry no licence.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from html import escape

import numpy as np
from jaxtyping import Bool, Float

from mocap_ray.body.model import ShapedBody
from mocap_ray.body.proportions import GENDER_PROPORTIONS, joint_positions
from mocap_ray.drawing import figures
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
    return figures.figures(posed_joints(poses)[:, :22], labels=labels, standalone=standalone)


def hand_figures(
    poses: Float[np.ndarray, "N 55 3"], *, labels: Sequence[str], standalone: bool = False
) -> list[str]:
    """Both hands of each pose side by side, backs up, fingers away from the viewer, an SVG each."""
    hands = poses.copy()
    hands[:, :25] = 0.0
    joints = posed_joints(hands)
    style = f"<style>{figures.STYLE}</style>" if standalone else ""
    return [_hands(pose, label, style=style) for pose, label in zip(joints, labels, strict=True)]


def completed_figures(
    poses: Float[np.ndarray, "N K 55 3"],
    *,
    visible: Bool[np.ndarray, "N 55"],
    labels: Sequence[Sequence[str]],
    hands: bool,
) -> list[list[str]]:
    """For each of N poses K pictures: the pose itself with its hidden joints pale, then what was put there.

    What was put there is drawn with dots where the pose's own bones lie elsewhere, as a body or as two hands.
    """
    count = poses.shape[1]
    if not hands:
        joints = posed_joints(poses.reshape(-1, 55, 3))[:, :22]
        return figures.variants(
            joints.reshape(-1, count, 22, 3), hidden=~visible[:, :22], labels=labels, standalone=False
        )
    bare = poses.copy()
    bare[..., :25, :] = 0.0
    joints = posed_joints(bare.reshape(-1, 55, 3)).reshape(-1, count, 65, 3)
    return [
        [
            _hands(row[k], label, pale=~seen if k == 0 else None, over=row[0] if k else None)
            for k, label in enumerate(texts)
        ]
        for row, seen, texts in zip(joints, visible, labels, strict=True)
    ]


def _hands(
    pose: Float[np.ndarray, "65 3"],
    label: str,
    *,
    style: str = "",
    pale: Bool[np.ndarray, "55"] | None = None,
    over: Float[np.ndarray, "65 3"] | None = None,
) -> str:
    """Both hands as an SVG; `over` is another pose, as dots over it."""
    text = escape(label, quote=True)
    parts = []
    for side, sign, middle in (("left", 1.0, 105.0), ("right", -1.0, 325.0)):
        bones = _hand(pose, side, sign, middle, pale=pale)
        # Dots only where the two differ: a bone that fits is drawn once.
        kept = {_place(line) for line in bones}
        dots = [] if over is None else _hand(over, side, sign, middle, css="mr-g")
        parts += [*bones, *(line for line in dots if _place(line) not in kept)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 430 250" role="img" aria-label="{text}">'
        f'<title>{text}</title>{style}<g class="mr-b" fill="none">{"".join(parts)}</g></svg>'
    )


def _place(line: str) -> str:
    """Where a line runs, without how it looks."""
    return line[line.index("x1") : line.index("stroke-width")]


def _hand(
    pose: Float[np.ndarray, "65 3"],
    side: str,
    sign: float,
    middle: float,
    *,
    pale: Bool[np.ndarray, "55"] | None = None,
    css: str | None = None,
) -> list[str]:
    """Lines of one hand, far ones first; `sign` is the direction of its fingers along X at rest.

    Bones that hang on a `pale` joint are thin and grey; `css` makes all thin and of that class.
    """
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
            kind, width = f"mr-{'t' if n == 0 else side[0]}", (6, 9.5, 8, 7)[n]
            if css is not None:
                kind, width = css, 2.6
            elif n and pale is not None and pale[chain[n - 1]]:
                kind, width = "mr-x", 5
            lines.append(
                (
                    near,
                    f'<line class="{kind}" x1="{x[n]:.1f}" y1="{y[n]:.1f}" x2="{x[n + 1]:.1f}" '
                    f'y2="{y[n + 1]:.1f}" stroke-width="{width}"/>',
                )
            )
    return [text for _, text in sorted(lines, key=lambda item: item[0])]
