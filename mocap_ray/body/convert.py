"""Convert an original PKL to a clean NPZ of plain arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mocap_ray import storage
from mocap_ray.body.arrays import npz_bytes, read_arrays
from mocap_ray.body.model import checked
from mocap_ray.errors import UserError
from mocap_ray.skeleton import FAMILIES, PARENTS


def convert(path: str | Path, out: str | Path) -> Path:
    """Write all plain arrays of a model file as NPZ, sparse ones dense, chumpy ones evaluated.

    Everything that `smplx` reads is kept (hands, landmarks, faces); objects of other software are dropped.

    Args:
        path: a PKL or NPZ of SMPL, SMPL+H or SMPL-X.
        out: the file to write, or a folder, in which the file is named after `path` with the ending npz.

    Returns:
        The file that was written.

    Raises:
        UnsafePickle: the file names something outside the closed list; none of its code was run.
        UserError: not a body model, or `out` is `path` or not an NPZ.
        OSError: `path` is not readable, or `out` is not writable.
    """
    path, out = Path(path), Path(out)
    if out.is_dir():
        out = out / f"{path.stem}.npz"
    if out.suffix.lower() != ".npz":
        raise UserError(f"{out}: expected a name that ends in .npz, or a folder.")
    if out.exists() and out.samefile(path):
        raise UserError(f"{out}: is the file to convert itself. Choose another name or folder.")
    arrays = read_arrays(path)
    checked(arrays, family=family_of(arrays, where=str(path)), where=str(path))
    storage.place(out.parent).write_atomic(npz_bytes(arrays), out.name)
    return out


def family_of(arrays: Mapping[str, object], *, where: str) -> str:
    """The family with the number of joints of the kinematic tree. Raises UserError if there is none."""
    shape = getattr(arrays.get("kintree_table"), "shape", None)
    for family in FAMILIES:
        if shape == (2, len(PARENTS[family])):
            return family
    raise UserError(
        f"{where}: 'kintree_table' has shape {shape}. Expected 24 joints (SMPL), 52 (SMPL+H) or 55 (SMPL-X)."
    )
