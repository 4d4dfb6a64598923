"""`smplx`'s own forward pass, as the oracle of joints and vertices."""

from __future__ import annotations

from pathlib import Path

import numpy as np

JOINTS = {"smpl": 24, "smplh": 52, "smplx": 55}


def smplx_forward(
    root: Path,
    *,
    family: str,
    gender: str,
    poses: np.ndarray,
    trans: np.ndarray,
    betas: np.ndarray,
    double: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [T, V, 3] and joints [T, J, 3] of the installed `smplx` on the files below a root."""
    import smplx
    import torch

    dtype = torch.float64 if double else torch.float32
    model = smplx.create(
        str(root),
        model_type=family,
        gender=gender,
        ext="pkl" if family == "smpl" else "npz",
        use_pca=False,
        flat_hand_mean=True,
        num_betas=len(betas),
        dtype=dtype,
    )
    frames = len(poses)

    def part(start: int, stop: int) -> torch.Tensor:
        return torch.tensor(poses[:, start:stop].reshape(frames, -1), dtype=dtype)

    given = {"global_orient": part(0, 1), "body_pose": part(1, 24 if family == "smpl" else 22)}
    if family == "smplh":
        given |= {"left_hand_pose": part(22, 37), "right_hand_pose": part(37, 52)}
    if family == "smplx":
        given |= {"jaw_pose": part(22, 23), "leye_pose": part(23, 24), "reye_pose": part(24, 25)}
        given |= {"left_hand_pose": part(25, 40), "right_hand_pose": part(40, 55)}
        given |= {"expression": torch.zeros(frames, 10, dtype=dtype)}
    shape = torch.tensor(betas[: model.num_betas], dtype=dtype)[None].expand(frames, -1)
    with torch.no_grad():
        out = model(transl=torch.tensor(trans, dtype=dtype), betas=shape, **given)
    return out.vertices.numpy(), out.joints[:, : JOINTS[family]].numpy()


def random_motion(
    rng: np.random.Generator, *, family: str, frames: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Poses of all angles from 0 to beyond 2 pi, translations, 10 shape coefficients."""
    axes = rng.normal(size=(frames, JOINTS[family], 3))
    axes /= np.linalg.norm(axes, axis=-1, keepdims=True)
    angles = rng.choice([0.0, 1e-9, 1e-4, 0.3, 1.5, np.pi - 1e-7, np.pi, 4.0, 7.0], size=axes.shape[:2])
    return axes * angles[..., None], rng.normal(size=(frames, 3)), 1.5 * rng.normal(size=10)
