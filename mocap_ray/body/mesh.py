"""Full meshes through `smplx`, for those who want vertices.

`smplx`'s own classes unpickle whatever a model file holds and cut SMPL+H to 10 shape coefficients, so its
skinning function is called directly with arrays read here; one call serves all three families.
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

if TYPE_CHECKING:
    import torch

_CHUNK_BYTES = 2**26
"""Working memory of one chunk of frames; skinning holds about 40 numbers per vertex and frame. Measured on one
core, SMPL-X: 64 MB give 995 frames/s, 256 MB 807 and 16 MB 704, with the same bits."""

_MESHES = 3
"""Models that a process keeps: the genders of one family, at most 110 MB each (SMPL-X with 300 coefficients)."""

_NAMES = ("J_regressor", "v_template", "shapedirs", "kintree_table", "posedirs", "weights")


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """A model file with all that skinning needs, as float32 tensors on one device: 45 MB (SMPL+H) to 110 MB.

    Attributes:
        family: smpl, smplh or smplx.
        device: where the tensors are.
        template: [V, 3] metres.
        directions: [V, 3, B] of the shape, never of the expression.
        features: [9 (J - 1), 3 V] of the pose.
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
        """Read a model file; `load` is the same, once per process.

        Raises:
            UnsafePickle, ValueError, OSError: it cannot be read as a model of this family.
            ValueError: `device` is not there.
        """
        import torch

        path = Path(path)
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise ValueError(
                f"device {device!r}: torch {torch.__version__} finds no GPU in this process. Expected a machine with "
                "one and a torch built for CUDA; set ray.gpus_per_worker to 0 to compute vertices on CPUs."
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

        Frames go to the device in chunks of bounded memory, which start at the first frame, so that the
        bits of a clip depend on nothing else.

        Args:
            poses: [T, J, 3] axis-angle in rad of all joints, hands complete (no mean is added).
            trans: [T, 3] metres.
            betas: [B] shape coefficients; as many as both file and `betas` have are used.

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
    """A model as `Mesh.read` gives it, kept for the next call in this process while the file stays the same.

    A worker makes thousands of clips with a handful of models, and reading one takes up to seconds. The last
    three are kept.

    Raises:
        as `Mesh.read`.
    """
    info = Path(path).stat()
    return _kept(str(path), info.st_mtime_ns, info.st_size, family, device)


@lru_cache(maxsize=_MESHES)
def _kept(path: str, mtime_ns: int, size: int, family: str, device: str) -> Mesh:
    """A model by what tells its file from a changed one."""
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
    """Skinning weights and pose directions as `smplx.lbs` wants them, or a ValueError that says what is wrong."""
    total = arrays["v_template"].shape[0]
    joints = arrays["kintree_table"].shape[1]
    expected = {"weights": (total, joints), "posedirs": (total, 3, 9 * (joints - 1))}
    for name, shape in expected.items():
        found = arrays[name].shape if name in arrays else None
        if found != shape:
            raise ValueError(
                f"{where}: {name!r} has shape {found}. Expected {shape} in a model of the family {family}; "
                "joints can be computed from this file, meshes cannot."
            )
    return arrays["weights"], arrays["posedirs"].reshape(3 * total, -1).T
