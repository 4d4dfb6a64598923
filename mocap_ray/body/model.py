"""Body models reduced to their joints: Model -> Shaped -> joints, without meshes.

SMPL's joints are linear in the shape, J(beta) = R (template + S beta) for a joint regressor R, and the pose
moves them by forward kinematics alone (pose blend shapes only move the skin). So the joints need only the rest
joints R template [J, 3] and their directions R S [J, 3, B]: kilobytes of a file of 250 MB.
Loper et al., SMPL, 2015; Romero et al., Embodied Hands, 2017; Pavlakos et al., SMPL-X, 2019.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from mocap_ray.body.arrays import STANDIN_KEY, read_arrays
from mocap_ray.body.kernels import forward, shape_rest
from mocap_ray.errors import UserError
from mocap_ray.skeleton import PARENTS
from mocap_ray.wording import counted

VERTICES = {"smpl": 6890, "smplh": 6890, "smplx": 10475}
_CHUNK = 1024  # frames copied at a time: a few hundred kB, which fit into the cache


@dataclass(frozen=True, slots=True, eq=False)
class BodyModel:
    """One model file, reduced.

    Attributes:
        family: smpl, smplh or smplx.
        gender: neutral, male or female.
        rest_joints: [J, 3] metres, of the mean shape, in the model's axes (Y up, facing +Z).
        shape_directions: [J, 3, B] metres per coefficient; shape only, never expression.
        parents: [J], -1 for the root.
        sha256: of the file.
        standin: whether it is one of this project's stand-ins.
        source: the path it was read from, for messages.
    """

    family: str
    gender: str
    rest_joints: Float[np.ndarray, "J 3"]
    shape_directions: Float[np.ndarray, "J 3 B"]
    parents: Int[np.ndarray, "J"]
    sha256: str
    standin: bool
    source: str

    def shaped(self, betas: Shaped[np.ndarray, "B"]) -> ShapedBody:
        """The body of one person; uses the first min(B, number in the model) coefficients."""
        count = min(len(betas), self.shape_directions.shape[2])
        rest = np.empty_like(self.rest_joints)
        shape_rest(self.rest_joints, self.shape_directions, np.array(betas[:count], dtype=np.float64), rest)
        offsets = rest.copy()
        offsets[1:] -= rest[self.parents[1:]]
        return ShapedBody(rest, offsets, self.parents)


@dataclass(frozen=True, slots=True, eq=False)
class ShapedBody:
    """A body model with a fixed shape.

    Attributes:
        rest: [J, 3] metres, joints of the rest pose; row 0 is the pelvis, which is not the origin.
        offsets: [J, 3] joint minus parent, row 0 the pelvis itself.
        parents: [J].
    """

    rest: Float[np.ndarray, "J 3"]
    offsets: Float[np.ndarray, "J 3"]
    parents: Int[np.ndarray, "J"]

    def joints(
        self, poses: Float[np.ndarray, "T K 3"], trans: Float[np.ndarray, "T 3"], *, count: int = 22
    ) -> Float[np.ndarray, "T count 3"]:
        """Joint positions by forward kinematics; equal to the first joints of `smplx` without its mesh.

        Args:
            poses: [T, K, 3] axis-angle in rad, K at least `count`; any layout, read-only views included.
            trans: [T, 3] metres.
            count: number of joints, from the first; only their rotations are read.

        Returns:
            [T, count, 3] float64 metres. T = 0 gives an empty array; non-finite input gives NaN in its frame.

        Raises:
            ValueError: more joints are requested than the body or the poses have.
        """
        frames, given = poses.shape[:2]
        if not 1 <= count <= min(given, len(self.rest)):
            raise ValueError(
                f"{counted(count, 'joint')} requested; the poses have {given}, the body has {len(self.rest)}."
            )
        assert len(trans) == frames, "poses and trans are of one recording"
        parents = np.ascontiguousarray(self.parents[:count], dtype=np.int64)
        turns = np.zeros(count, dtype=bool)
        turns[parents[1:]] = True
        offsets = np.ascontiguousarray(self.offsets[:count])
        out = np.empty((frames, count, 3))
        for start in range(0, frames, _CHUNK):
            piece = slice(start, min(start + _CHUNK, frames))
            # A small copy fixes dtype, layout and alignment, so that one compiled kernel works for all inputs.
            rotations = np.array(poses[piece, :count], dtype=np.float64, order="C")
            forward(
                rotations,
                np.array(trans[piece], dtype=np.float64, order="C"),
                offsets,
                parents,
                turns,
                out[piece],
            )
        return out


def load_body(path: str | Path, *, family: str, gender: str) -> BodyModel:
    """Read a model file and reduce it to its joints.

    Only `J_regressor`, `v_template`, `shapedirs` and `kintree_table` are used. In SMPL-X, 400 columns of
    `shapedirs` are 300 of shape and 100 of expression, fewer are 10 of shape and the rest expression, as in
    `smplx`; in SMPL and SMPL+H up to 300 are shape.

    Raises:
        UnsafePickle: a PKL names something outside the closed list.
        UserError: not a model of this family; the message says which array differs and how.
        OSError: the file does not exist or is not readable.
    """
    path = Path(path)
    names = ("J_regressor", "v_template", "shapedirs", "kintree_table", STANDIN_KEY)
    arrays = read_arrays(path, names=names)
    regressor, template, directions, tree = checked(arrays, family=family, where=str(path))
    columns = shape_columns(directions.shape[2], family=family)
    regressed = _regress(regressor, template, directions[:, :, :columns])
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return BodyModel(
        family=family,
        gender=gender,
        rest_joints=regressed[:, :, 0].copy(),
        shape_directions=regressed[:, :, 1:].copy(),
        parents=tree,
        sha256=digest,
        standin=STANDIN_KEY in arrays,
        source=str(path),
    )


def shape_columns(columns: int, *, family: str) -> int:
    """Number of columns of `shapedirs` that are shape; the others are expression."""
    return min(columns, 300) if family != "smplx" or columns >= 300 else min(columns, 10)


_Array = np.ndarray[Any, np.dtype[Any]]


def checked(
    arrays: dict[str, _Array], *, family: str, where: str
) -> tuple[_Array, _Array, _Array, Int[np.ndarray, "J"]]:
    """Regressor, template, shape directions and parents. Raises UserError for arrays of another family."""
    vertices, parents = VERTICES[family], np.array(PARENTS[family], dtype=np.int64)
    joints = len(parents)
    shapes: dict[str, tuple[int | None, ...]] = {
        "v_template": (vertices, 3),
        "shapedirs": (vertices, 3, None),
        "J_regressor": (joints, vertices),
        "kintree_table": (2, joints),
    }
    for name, shape in shapes.items():
        if name not in arrays:
            raise UserError(
                f"{where}: no plain array {name!r}. Expected a model of the family {family}, not a PKL of other "
                "software or a MANO or FLAME file."
            )
        found = arrays[name]
        fits = found.ndim == len(shape) and all(
            n in (None, m) for n, m in zip(shape, found.shape, strict=True)
        )
        if not fits or found.dtype.kind not in "iuf" or 0 in found.shape:
            text = " x ".join("any" if n is None else str(n) for n in shape)
            raise UserError(
                f"{where}: {name!r} is {found.dtype} of shape {found.shape}. Expected numbers of shape {text} in a "
                f"model of the family {family}; is it of another family?"
            )
    # The root's parent is -1, which the original files hold as the largest unsigned number.
    tree = arrays["kintree_table"][0].astype(np.int64)
    if not np.array_equal(tree[1:], parents[1:]):
        raise UserError(f"{where}: 'kintree_table' is not the kinematic tree of the family {family}.")
    for name in ("v_template", "shapedirs", "J_regressor"):
        if not np.isfinite(arrays[name]).all():
            raise UserError(f"{where}: {name!r} holds values that are not finite; the file is damaged.")
    return arrays["J_regressor"], arrays["v_template"], arrays["shapedirs"], parents


def _regress(
    regressor: Shaped[np.ndarray, "J V"],
    template: Shaped[np.ndarray, "V 3"],
    directions: Shaped[np.ndarray, "V 3 B"],
) -> Float[np.ndarray, "J 3 columns"]:
    """[J, 3, 1 + B] float64: rest joints, then their shape directions.

    Computed by a sparse product: regressors are mostly zeros, and unlike with a threaded BLAS, the order of its sums
    is the same on every machine.
    """
    from scipy import sparse

    vertices = len(template)
    stacked = np.concatenate([template[:, :, None], directions], axis=2, dtype=np.float64)
    rows = sparse.csr_matrix(regressor.astype(np.float64))
    product = np.asarray(rows @ stacked.reshape(vertices, -1))
    return product.reshape(len(regressor), 3, -1)
