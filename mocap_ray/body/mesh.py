"""Full meshes through `smplx`, for those who want vertices (floor 1).

`smplx`'s own classes unpickle whatever a model file holds and cut SMPL+H to 10 shape coefficients, so its
skinning function is called directly with arrays read here; one call serves all three families.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped

from mocap_ray.body.arrays import read_arrays
from mocap_ray.body.model import checked, shape_columns

_CHUNK_BYTES = 2**28
"""Working memory of one chunk of frames; skinning holds about 40 numbers per vertex and frame."""


def vertices(
    model_path: str | Path,
    *,
    family: str,
    poses: Float[np.ndarray, "T J 3"],
    trans: Float[np.ndarray, "T 3"],
    betas: Shaped[np.ndarray, "B"],
    device: str = "cpu",
) -> Float[np.ndarray, "T V 3"]:
    """Vertices of a posed body, float32 metres, by `smplx.lbs.lbs` in float32 on one device.

    Args:
        model_path: a model file of the family.
        family: smpl, smplh or smplx.
        poses: [T, J, 3] axis-angle in rad of all joints, hands complete (no mean is added).
        trans: [T, 3] metres.
        betas: [B] shape coefficients; as many as both file and `betas` have are used.
        device: where torch computes; frames go there in chunks of bounded memory.

    Raises:
        UnsafePickle, ValueError, OSError: the model cannot be read, or the poses have another number of joints.
    """
    import torch
    from smplx.lbs import lbs

    path = Path(model_path)
    arrays = read_arrays(
        path, names=("J_regressor", "v_template", "shapedirs", "kintree_table", "posedirs", "weights")
    )
    regressor, template, directions, parents = checked(arrays, family=family, where=str(path))
    skin, features = skinning(arrays, family=family, where=str(path))
    joints = len(parents)
    if poses.shape[1] != joints:
        raise ValueError(f"poses have {poses.shape[1]} joints. Expected all {joints} of the family {family}.")
    count = min(len(betas), shape_columns(directions.shape[2], family=family))

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(np.array(array, dtype=np.float32, order="C"), device=device)

    fixed = (tensor(template), tensor(directions[:, :, :count]), tensor(features), tensor(regressor))
    tree, weights = torch.as_tensor(parents, device=device), tensor(skin)
    shape = tensor(betas[:count])[None]
    out = np.empty((len(poses), len(template), 3), dtype=np.float32)
    step = max(1, _CHUNK_BYTES // (4 * 40 * len(template)))
    with torch.no_grad():
        for start in range(0, len(poses), step):
            piece = slice(start, start + step)
            pose = tensor(poses[piece]).reshape(-1, 3 * joints)
            skinned, _ = lbs(shape.expand(len(pose), -1), pose, *fixed, tree, weights)
            out[piece] = (skinned + tensor(trans[piece])[:, None]).cpu().numpy()
    return out


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
