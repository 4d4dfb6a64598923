"""Errors of estimated meshes against true ones, as tables of whole-body estimation print them, in mm.

MPVPE is the mean distance of vertices, MPJPE that of joints, each after one joint is aligned: the pelvis for the whole
body, the wrist for a hand, the neck for the face. PA- stands before errors after a similarity alignment of the part
(Gower, Generalized Procrustes Analysis, 1975). The protocol is that of AGORA and EHF (Pavlakos et al., 2019).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

PELVIS, NECK, WRISTS = 0, 12, (20, 21)
"""Joints of SMPL-X."""
LOST_HAND_MM = 100.0
"""A hand with a larger PA-MPJPE is left out of that error, as in the published tables."""
SIDES = ("l_hand", "r_hand")

_MM = 1000.0


@dataclass(frozen=True, slots=True)
class BodyParts:
    """What the errors read of a mesh of V vertices.

    Attributes:
        joints: regressor of the 55 joints of SMPL-X.
        body: regressor of the 14 joints of the LSP data set.
        hands: per side, left first, regressor of a wrist and 20 joints, of which the last of each finger is its tip.
        hand_vertices: per side, left first, vertices of the hand.
        face_vertices: vertices of the face.
    """

    joints: Float[np.ndarray, "55 V"]
    body: Float[np.ndarray, "14 V"]
    hands: tuple[Float[np.ndarray, "21 V"], Float[np.ndarray, "21 V"]]
    hand_vertices: tuple[Int[np.ndarray, "L"], Int[np.ndarray, "R"]]
    face_vertices: Int[np.ndarray, "F"]


def mesh_errors(
    found: Float[np.ndarray, "B V 3"],
    true: Float[np.ndarray, "B V 3"],
    *,
    parts: BodyParts,
    hands: Bool[np.ndarray, "B 2"],
) -> dict[str, Float[np.ndarray, "B"]]:
    """Name of the error -> its value for each person, mm; NaN where a person has none.

    Args:
        found, true: vertices in metres, each in its own frame without rotation between the two.
        parts: joints and parts of the mesh.
        hands: whether the true left and right hand are known. `..._hand` is the mean of those that are.
    """
    joints, true_joints = parts.joints @ found, parts.joints @ true
    moved = found + (true_joints - joints)[:, [PELVIS]]
    errors = {
        "pa_mpvpe_all": distance(aligned(found, true), true),
        "mpvpe_all": distance(moved, true),
        "pa_mpjpe_body": distance(aligned(parts.body @ found, parts.body @ true), parts.body @ true),
        "mpjpe_body": distance(parts.body @ moved, parts.body @ true),
    }
    face = (x[:, parts.face_vertices] for x in (found, true))
    errors |= _part("vpe_face", *face, at=joints[:, [NECK]], true_at=true_joints[:, [NECK]])
    for k, side in enumerate(SIDES):
        at, true_at = joints[:, [WRISTS[k]]], true_joints[:, [WRISTS[k]]]
        vertices = (x[:, parts.hand_vertices[k]] for x in (found, true))
        fingers = (parts.hands[k][1:] @ x for x in (found, true))
        of_side = _part(f"vpe_{side}", *vertices, at=at, true_at=true_at)
        of_side |= _part(f"jpe_{side}", *fingers, at=at, true_at=true_at)
        errors |= {name: np.where(hands[:, k], error, np.nan) for name, error in of_side.items()}
    for kind in ("pa_mpvpe", "mpvpe", "pa_mpjpe", "mpjpe"):
        errors[f"{kind}_hand"] = _both(*(errors[f"{kind}_{side}"] for side in SIDES))
    return _without_lost_hands(errors)


def aligned(a: Float[np.ndarray, "*B N 3"], b: Float[np.ndarray, "*B N 3"]) -> Float[np.ndarray, "*B N 3"]:
    """`a` after the rotation, scale and translation that bring it closest to `b`; never a reflection.

    Umeyama, Least-Squares Estimation of Transformation Parameters, 1991. Points that coincide go to the mean of `b`.
    """
    mean_a, mean_b = a.mean(-2, keepdims=True), b.mean(-2, keepdims=True)
    from_a, from_b = a - mean_a, b - mean_b
    U, lengths, Vt = np.linalg.svd(from_a.swapaxes(-1, -2) @ from_b)
    signs = np.ones_like(lengths)
    signs[..., 2] = np.sign(np.linalg.det(U) * np.linalg.det(Vt))
    R = (U * signs[..., None, :]) @ Vt
    spread = (from_a**2).sum((-2, -1))
    scale = np.divide((lengths * signs).sum(-1), spread, out=np.zeros_like(spread), where=spread > 0)
    moved: np.ndarray = scale[..., None, None] * (from_a @ R) + mean_b
    return moved


def distance(a: Float[np.ndarray, "*B N 3"], b: Float[np.ndarray, "*B N 3"]) -> Float[np.ndarray, "*B"]:
    """Mean distance of corresponding points in metres, as mm."""
    mean: np.ndarray = _MM * np.linalg.norm(a - b, axis=-1).mean(-1)
    return mean


def _part(
    name: str,
    found: Float[np.ndarray, "B N 3"],
    true: Float[np.ndarray, "B N 3"],
    *,
    at: Float[np.ndarray, "B 1 3"],
    true_at: Float[np.ndarray, "B 1 3"],
) -> dict[str, Float[np.ndarray, "B"]]:
    """Both errors of a part: after its joint is aligned, and after a similarity."""
    return {
        f"pa_mp{name}": distance(aligned(found, true), true),
        f"mp{name}": distance(found - at, true - true_at),
    }


def _both(left: Float[np.ndarray, "B"], right: Float[np.ndarray, "B"]) -> Float[np.ndarray, "B"]:
    """The mean of the two, or the one that there is."""
    pair = np.stack([left, right])
    known = np.isfinite(pair)
    total, count = np.where(known, pair, 0).sum(0), known.sum(0)
    mean: np.ndarray = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean


def _without_lost_hands(errors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """PA-MPJPE without hands that are lost; the mean of a person who lost one is left out too."""
    sides = [f"pa_mpjpe_{side}" for side in SIDES]
    lost = [np.nan_to_num(errors[name]) > LOST_HAND_MM for name in sides]
    kept = {name: np.where(gone, np.nan, errors[name]) for name, gone in zip(sides, lost, strict=True)}
    kept["pa_mpjpe_hand"] = np.where(lost[0] | lost[1], np.nan, errors["pa_mpjpe_hand"])
    return {**errors, **kept}
