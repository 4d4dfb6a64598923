"""Files in the layout of AIST++, written as its authors do: one pickle.dump of a dictionary."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from mocap_ray.demo import gait

NAME = "gBR_sBM_cAll_d04_mBR0_ch01"
SCALING = 93.75
FRAMES = 180


def dance(frames: int = FRAMES, **changes: Any) -> dict[str, Any]:
    """A walk at 60 fps, Y up, in the units of the videos (about centimetres); None takes a key away."""
    poses, trans = gait.walk(np.arange(frames) / 60, gait.Style(1.0, 0.2, 0.9))
    poses = poses.reshape(frames, 52, 3)[:, :24].copy()
    poses[:, 22:] = 0
    # The demo's walk has Z up: turned about x, so that a reader that leaves the axes alone sees Y up.
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_euler("x", -90, degrees=True)
    poses[:, 0] = (turn * Rotation.from_rotvec(poses[:, 0])).as_rotvec()
    values = {
        "smpl_loss": 1.59,
        "smpl_poses": poses.reshape(frames, 72).astype(np.float32),
        "smpl_scaling": np.array([SCALING], np.float32),
        "smpl_trans": (turn.apply(trans) * SCALING).astype(np.float32),
    }
    return {key: value for key, value in {**values, **changes}.items() if value is not None}


def write(root: Path, *names: str, values: dict[str, Any] | bytes | None = None) -> Path:
    """Files below root/motions; returns root."""
    folder = root / "motions"
    folder.mkdir(parents=True, exist_ok=True)
    data = values if isinstance(values, bytes) else pickle.dumps(dance() if values is None else values, 5)
    for name in names or (NAME,):
        (folder / f"{name}.pkl").write_bytes(data)
    return root
