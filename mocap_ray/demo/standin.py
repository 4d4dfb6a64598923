"""Write stand-in models of all three families: a mannequin free of licences.

The files have the layout of the originals, so `smplx` and this package load them like any other, and a
member `mocap_ray_standin` that marks them as stand-ins. They are for trials, tests and the demo: joints and
shapes look like a person, but are not those of any real person.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mocap_ray import storage
from mocap_ray.body.arrays import STANDIN_KEY, npz_bytes, read_arrays
from mocap_ray.body.files import GENDERS
from mocap_ray.body.proportions import GENDER_PROPORTIONS, joint_positions
from mocap_ray.demo.mannequin import Mesh, build
from mocap_ray.errors import UserError
from mocap_ray.skeleton import FAMILIES, JOINT_NAMES, PARENTS

SHAPE_COEFFICIENTS = {"smpl": 10, "smplh": 16, "smplx": 10}
EXPRESSIONS = 10  # columns after those of SMPL-X's shape

_NOTE = "Stand-in body written by mocap_ray from plain numbers. No part of SMPL, SMPL+H or SMPL-X; no licence needed."

_Array = np.ndarray[Any, np.dtype[Any]]


def write_standin(
    root: str | Path, *, families: Iterable[str] = FAMILIES, genders: Iterable[str] = GENDERS
) -> list[Path]:
    """Write stand-in models below `root`, with the names that `smplx` looks for.

    SMPL as `smpl/SMPL_*.pkl` (a pickle of numpy arrays only), SMPL+H as `smplh/SMPLH_*.npz`, SMPL-X
    as `smplx/SMPLX_*.npz`. The same versions of numpy and zlib give the same bytes.

    Returns:
        The files, in the order of families and genders.

    Raises:
        UserError: an unknown family or gender, or a file that is not a stand-in would be replaced.
        OSError: `root` is not writable.
    """
    written = []
    genders = tuple(genders)
    for family in families:
        for gender in genders:
            if family not in FAMILIES or gender not in GENDERS:
                raise UserError(
                    f"{family}/{gender}: no such model. Expected one of {', '.join(FAMILIES)} and one of "
                    f"{', '.join(GENDERS)}."
                )
            ending = "pkl" if family == "smpl" else "npz"
            path = Path(root) / family / f"{family.upper()}_{gender.upper()}.{ending}"
            _refuse_to_replace(path)
            arrays = standin_arrays(family=family, gender=gender)
            data = pickle.dumps(arrays, protocol=4) if ending == "pkl" else npz_bytes(arrays)
            storage.place(path.parent).write_atomic(data, path.name)
            written.append(path)
    return written


def _refuse_to_replace(path: Path) -> None:
    if path.exists() and STANDIN_KEY not in read_arrays(path, names=(STANDIN_KEY,)):
        raise UserError(
            f"{path}: already exists and is not a stand-in. It was not changed; choose another folder."
        )


def standin_arrays(*, family: str, gender: str) -> dict[str, _Array]:
    """All members of one stand-in model file, named as in the originals."""
    names = JOINT_NAMES[family]
    proportions = GENDER_PROPORTIONS[gender]
    mesh = build(proportions, family=family, names=names)
    count = SHAPE_COEFFICIENTS[family]
    shapes = [
        build(proportions.changed(k), family=family, names=names).vertices - mesh.vertices
        for k in range(count)
    ]
    if family == "smplx":
        shapes += _expressions(mesh, joint_positions(proportions)["jaw"])
    at = joint_positions(proportions)
    joints = np.array([at[name] for name in names])
    regressor = _regressor(mesh, joints, names)
    tree = np.stack([np.array(PARENTS[family]), np.arange(len(names))])
    arrays: dict[str, _Array] = {
        STANDIN_KEY: np.array(_NOTE),
        "v_template": mesh.vertices.astype(np.float32),
        "f": mesh.faces.astype(np.uint32),
        "shapedirs": np.stack(shapes, axis=2).astype(np.float32),
        "posedirs": _pose_directions(mesh, names, PARENTS[family]),
        "J_regressor": regressor.astype(np.float32),
        "J": (regressor @ mesh.vertices).astype(np.float32),
        "weights": mesh.weights.astype(np.float32),
        "kintree_table": tree.astype(np.int64),
        "bs_style": np.array("lbs"),
        "bs_type": np.array("lrotmin"),
    }
    if family != "smpl":
        arrays |= _hand_space()
    if family == "smplx":
        arrays |= _landmarks(mesh)
    return arrays


def _regressor(mesh: Mesh, joints: _Array, names: tuple[str, ...]) -> _Array:
    """Regressor [J, V]: each joint as an affine mean of the rings around it.

    Among all weights that sum to 1 and give the joint exactly, these are the closest to equal weights (least norm).
    """
    regressor = np.zeros((len(names), len(mesh.vertices)))
    for j, name in enumerate(names):
        chosen = np.flatnonzero(mesh.part == mesh.parts.index(_part_of(name, mesh.parts)))
        rings = mesh.ring[chosen]
        order = np.unique(rings)
        centres = np.array([mesh.vertices[chosen[rings == r]].mean(axis=0) for r in order])
        near = order[np.argsort(np.linalg.norm(centres - joints[j], axis=1), kind="stable")[:3]]
        members = chosen[np.isin(rings, near)]
        relative = np.concatenate([np.ones((1, len(members))), (mesh.vertices[members] - joints[j]).T])
        goal = np.array([1.0, 0.0, 0.0, 0.0])
        equal = np.full(len(members), 1.0 / len(members))
        regressor[j, members] = equal + np.linalg.pinv(relative) @ (goal - relative @ equal)
    return regressor


def _part_of(joint: str, parts: tuple[str, ...]) -> str:
    """Name of the part whose rings surround a joint."""
    if joint in ("pelvis", "spine1", "spine2", "spine3"):
        return "torso"
    if joint in ("neck", "head"):
        return joint
    if joint == "jaw":
        return "head"
    side, name = joint.split("_", 1)
    kinds = {"hip": "leg", "knee": "leg", "ankle": "leg", "foot": "foot", "hand": "palm", "eye": "eye"}
    finger = name.rstrip("123")
    kind = kinds.get(name, finger if f"{side}_{finger}" in parts else "arm")
    return f"{side}_{kind}"


def _pose_directions(mesh: Mesh, names: tuple[str, ...], parents: tuple[int, ...]) -> _Array:
    """Pose directions [V, 3, 9 (J - 1)] float32: the skin bulges slightly around a joint that bends.

    A feature is an entry of R - 1, row by row; only the diagonal, which decreases as the joint turns, is used.
    """
    directions = np.zeros((len(mesh.vertices), 3, 9 * (len(names) - 1)), dtype=np.float32)
    outward = _normals(mesh)
    for j in range(1, len(names)):
        shared = mesh.weights[:, j] * mesh.weights[:, parents[j]]
        for diagonal in (0, 4, 8):
            directions[:, :, 9 * (j - 1) + diagonal] = -0.01 * shared[:, None] * outward
    return directions


def _normals(mesh: Mesh) -> _Array:
    """Unit normals [V, 3], the mean over the adjacent faces."""
    corners = mesh.vertices[mesh.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.zeros_like(mesh.vertices)
    for k in range(3):
        np.add.at(total, mesh.faces[:, k], normals)
    return np.asarray(total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12))


def _expressions(mesh: Mesh, jaw: _Array) -> list[_Array]:
    """Expression directions: small waves around the mouth; they move the jaw joint, as in the original models."""
    relative = mesh.vertices - jaw
    face = np.exp(-np.sum((relative / 0.05) ** 2, axis=1)) * (mesh.part == mesh.parts.index("head"))
    waves = []
    for k in range(EXPRESSIONS):
        wave = 0.004 * face * np.cos(20.0 * k * relative[:, 1])
        waves.append(wave[:, None] * np.eye(3)[(k + 1) % 3])
    return waves


def _hand_space() -> dict[str, _Array]:
    """A relaxed mean pose of the hands, and an orthonormal basis instead of principal components."""
    curl = np.zeros((15, 3))
    curl[:12, 2] = -0.2  # the fingers bend about Z, palm down
    mirror = curl * (1.0, -1.0, -1.0)
    return {
        "hands_meanl": curl.ravel(),
        "hands_meanr": mirror.ravel(),
        "hands_componentsl": np.eye(45),
        "hands_componentsr": np.eye(45),
    }


def _landmarks(mesh: Mesh) -> dict[str, _Array]:
    """51 static and 79 x 17 dynamic landmarks on the front of the head, in the shapes that `smplx` expects."""
    on_head = np.flatnonzero((mesh.part == mesh.parts.index("head"))[mesh.faces].all(axis=1))
    front = on_head[np.argsort(-mesh.vertices[mesh.faces[on_head]][:, :, 2].mean(axis=1), kind="stable")]
    chosen = np.sort(front[:510])[::10]
    return {
        "lmk_faces_idx": chosen.astype(np.int64),
        "lmk_bary_coords": np.full((51, 3), 1.0 / 3.0),
        "dynamic_lmk_faces_idx": np.tile(chosen[:17], (79, 1)).astype(np.int64),
        "dynamic_lmk_bary_coords": np.full((79, 17, 3), 1.0 / 3.0),
    }
