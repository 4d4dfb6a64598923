"""Full meshes through `smplx`, for data sets with vertices.

The classes of `smplx` unpickle whatever a model file holds and cut SMPL+H to 10 shape coefficients. So its
skinning function is called directly with arrays that are read here; one call works for all three families.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Shaped

from mocap_ray.body.arrays import read_arrays
from mocap_ray.body.model import checked, shape_columns
from mocap_ray.errors import UserError

if TYPE_CHECKING:
    import torch

_CHUNK_BYTES = 2**26
"""Working memory of one chunk of frames; skinning holds about 40 numbers per vertex and frame. Measured on one
core, SMPL-X: 64 MB give 995 frames/s, 256 MB 807 and 16 MB 704, with the same bits."""

_MESHES = 3
"""Models cached per process: the genders of one family, at most 110 MB each (SMPL-X with 300 coefficients)."""

_NAMES = ("J_regressor", "v_template", "shapedirs", "kintree_table", "posedirs", "weights")


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """The arrays of a model file for skinning, as float32 tensors on one device: 45 MB (SMPL+H) to 110 MB.

    Attributes:
        family: smpl, smplh or smplx.
        device: device of the tensors.
        template: [V, 3] metres.
        directions: [V, 3, B] shape directions, without those of the expression.
        features: [9 (J - 1), 3 V] pose directions.
        regressor: [J, V].
        parents: [J].
        weights: [V, J].
    """

    family: str
    device: str
    template: Any
    directions: Any
    features: Any
    regressor: Any
    parents: Any
    weights: Any

    @classmethod
    def read(cls, path: str | Path, *, family: str, device: str = "cpu") -> Mesh:
        """Read a model file; `load` does the same with a cache.

        Raises:
            UnsafePickle, ValueError, OSError: it cannot be read as a model of this family.
            UserError: `device` is not available.
        """
        import torch

        path = Path(path)
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise UserError(
                f"device {device!r}: torch {torch.__version__} finds no GPU in this process. Expected a machine with "
                "a GPU and a torch built for CUDA; set ray.gpus_per_worker to 0 to compute vertices on CPUs."
            )
        arrays = read_arrays(path, names=_NAMES)
        regressor, template, directions, parents = checked(arrays, family=family, where=str(path))
        weights, features = skinning(arrays, family=family, where=str(path))
        count = shape_columns(directions.shape[2], family=family)
        return cls(
            family=family,
            device=device,
            template=_tensor(template, device),
            directions=_tensor(directions[:, :, :count], device),
            features=_tensor(features, device),
            regressor=_tensor(regressor, device),
            parents=torch.as_tensor(parents, device=device),
            weights=_tensor(weights, device),
        )

    def vertices(
        self,
        *,
        poses: Float[np.ndarray, "T J 3"],
        trans: Float[np.ndarray, "T 3"],
        betas: Shaped[np.ndarray, "B"],
    ) -> Float[np.ndarray, "T V 3"]:
        """Vertices of a posed body, float32 metres, by `smplx.lbs.lbs` in float32.

        Frames go to the device in chunks of bounded memory, counted from the first frame, so that the bits of
        a clip depend on that clip alone.

        Args:
            poses: [T, J, 3] axis-angle in rad of all joints, hands complete (no mean is added).
            trans: [T, 3] metres.
            betas: [B] shape coefficients; the first min(B, number in the file) are used.

        Raises:
            ValueError: the poses have another number of joints.
        """
        import torch
        from smplx.lbs import lbs

        joints = len(self.parents)
        if poses.shape[1] != joints:
            raise ValueError(
                f"poses have {poses.shape[1]} joints. Expected all {joints} of the family {self.family}."
            )
        count = min(len(betas), self.directions.shape[2])
        fixed = (self.template, self.directions[:, :, :count], self.features, self.regressor)
        shape = _tensor(betas[:count], self.device)[None]
        out = np.empty((len(poses), len(self.template), 3), dtype=np.float32)
        step = max(1, _CHUNK_BYTES // (4 * 40 * len(self.template)))
        with torch.no_grad():
            for start in range(0, len(poses), step):
                piece = slice(start, start + step)
                pose = _tensor(poses[piece], self.device).reshape(-1, 3 * joints)
                skinned, _ = lbs(shape.expand(len(pose), -1), pose, *fixed, self.parents, self.weights)
                skinned += _tensor(trans[piece], self.device)[:, None]
                out[piece] = skinned.cpu().numpy()
        return out


def load(path: str | Path, *, family: str, device: str = "cpu") -> Mesh:
    """Read a model with `Mesh.read`, cached in this process until the file changes.

    A worker makes thousands of clips with a handful of models, and reading one takes up to seconds. The cache
    holds the last three.

    Raises:
        as `Mesh.read`.
    """
    info = Path(path).stat()
    return _cached(str(path), info.st_mtime_ns, info.st_size, family, device)


@lru_cache(maxsize=_MESHES)
def _cached(path: str, mtime_ns: int, size: int, family: str, device: str) -> Mesh:
    """Read a model; time and size are part of the key, so that a changed file is read again."""
    return Mesh.read(path, family=family, device=device)


def vertices(
    model_path: str | Path,
    *,
    family: str,
    poses: Float[np.ndarray, "T J 3"],
    trans: Float[np.ndarray, "T 3"],
    betas: Shaped[np.ndarray, "B"],
    device: str = "cpu",
) -> Float[np.ndarray, "T V 3"]:
    """Vertices [T, V, 3] of a posed body: `load`, then `Mesh.vertices`; raises what they raise."""
    return load(model_path, family=family, device=device).vertices(poses=poses, trans=trans, betas=betas)


def _tensor(array: np.ndarray, device: str) -> torch.Tensor:
    """A contiguous float32 copy on a device."""
    import torch

    return torch.as_tensor(np.array(array, dtype=np.float32, order="C"), device=device)


def skinning(
    arrays: dict[str, np.ndarray], *, family: str, where: str
) -> tuple[Shaped[np.ndarray, "V J"], Shaped[np.ndarray, "features columns"]]:
    """Skinning weights and pose directions as `smplx.lbs` expects them. Raises UserError for other shapes."""
    total = arrays["v_template"].shape[0]
    joints = arrays["kintree_table"].shape[1]
    expected = {"weights": (total, joints), "posedirs": (total, 3, 9 * (joints - 1))}
    for name, shape in expected.items():
        found = arrays[name].shape if name in arrays else None
        if found != shape:
            raise UserError(
                f"{where}: {name!r} has shape {found}. Expected {shape} in a model of the family {family}; "
                "joints can be computed from this file, meshes cannot."
            )
    return arrays["weights"], arrays["posedirs"].reshape(3 * total, -1).T
