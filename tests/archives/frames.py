"""Frames in the layout of MVHumanNet, written as its authors do: a pickle.dump of real torch tensors a frame."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mocap_ray.archives.mvhumannet import R_YUP_SOURCE
from mocap_ray.skeleton import REST_JOINTS

VERTICES, FACES = 300, 500
"""Of the mesh in a frame; SMPL's 6,890 and 13,776 would only take time."""


def motion(frames: int, *, seed: int = 0) -> np.ndarray:
    """[T, 45, 3] metres in the archive's axes: a person who sways and walks along, at 5 frames per second."""
    rng = np.random.default_rng(seed)
    rest = np.zeros((45, 3))
    rest[:22] = REST_JOINTS
    rest[22:] = rest[20] + rng.normal(size=(23, 3)) * 0.05
    time = np.arange(frames)[:, None, None] / 5
    sway = 0.03 * np.sin(time + rng.uniform(0, 6, (45, 3)))
    yup = rest + sway + time * [0.3, 0.0, 0.1] + [0.4, 1.1, 0.2]
    return (yup @ R_YUP_SOURCE).astype(np.float32)


def content(pose: np.ndarray, /, **changes: Any) -> dict[str, Any]:
    """The keys of a published frame, in their order; None takes a key away, except `transl`, which is None there."""
    values = {
        "transl": None,
        "global_orient": torch.eye(3)[None, None],
        "body_pose": torch.eye(3).repeat(1, 23, 1, 1),
        "betas": torch.linspace(-1, 1, 10)[None],
        "vertices": torch.from_numpy(np.resize(pose, (1, VERTICES, 3))),
        "joints": torch.from_numpy(pose.copy())[None],
        "full_pose": torch.eye(3).repeat(1, 24, 1, 1),
        "v_shaped": None,
        "faces": np.arange(3 * FACES, dtype=np.uint32).reshape(FACES, 3),
    }
    return {**values, **changes}


def frame(pose: np.ndarray, /, *, protocol: int = 4, **changes: Any) -> bytes:
    """The bytes of a frame."""
    return pickle.dumps(content(pose, **changes), protocol)


def write(
    root: Path, name: str = "Part_01/100001", *, frames: int = 12, first: int = 0, seed: int = 0
) -> np.ndarray:
    """An outfit below root; returns its joints [T, 45, 3]."""
    folder = root / name / "smpl_param"
    folder.mkdir(parents=True)
    joints = motion(frames, seed=seed)
    for k, pose in enumerate(joints, first):
        (folder / f"{k:06}.pkl").write_bytes(frame(pose))
    return joints
