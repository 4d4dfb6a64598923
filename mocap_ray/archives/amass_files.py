"""Write a motion in the layout of AMASS, as `amass.read` and programs for AMASS read it.

SMPL+H: trans, gender, mocap_framerate, betas [16], dmpls [T, 8] (zero: no soft tissue is known), poses [T, 156];
SMPL: the same with poses [T, 72]; SMPL-X: the keys of its stage-II files, without those of the markers. Metres, rad,
Z up. Names end in `_poses.npz`, those of SMPL-X in `_stageii.npz`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from mocap_ray.archives.amass import R_YUP_AMASS
from mocap_ray.body.arrays import npz_bytes
from mocap_ray.motion.axes import to_y_up
from mocap_ray.motion.clip import Motion

SUFFIX = {"smpl": "_poses.npz", "smplh": "_poses.npz", "smplx": "_stageii.npz"}
_DMPLS, _BETAS = 8, 16


def amass_bytes(motion: Motion, rest_pelvis: Float[np.ndarray, "3"]) -> bytes:
    """A motion with Y up as the bytes of an AMASS file; arguments as of `amass_arrays`."""
    return npz_bytes(amass_arrays(motion, rest_pelvis))


def amass_arrays(
    motion: Motion, rest_pelvis: Float[np.ndarray, "3"]
) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """A motion with Y up as the arrays of an AMASS file.

    Args:
        motion: poses of all joints of its family.
        rest_pelvis: [3] metres, position of the shaped body's pelvis at rest; AMASS turns about it.
    """
    frames = len(motion.poses)
    # The way back from Y up is the same function with the inverse rotation.
    up = to_y_up(replace(motion, R_yup_source=np.ascontiguousarray(R_YUP_AMASS.T)), rest_pelvis)
    poses = np.asarray(up.poses, np.float64).reshape(frames, -1)
    betas = np.zeros(max(_BETAS, len(motion.betas)))
    betas[: len(motion.betas)] = motion.betas
    gender = motion.gender if motion.gender != "unknown" else "neutral"
    common = {
        "trans": np.asarray(up.trans, np.float64),
        "gender": np.array(gender),
        "betas": betas,
        "poses": poses,
    }
    if motion.family != "smplx":
        extra = {"mocap_framerate": np.array(motion.fps), "dmpls": np.zeros((frames, _DMPLS))}
        return common | extra
    parts = {"root_orient": (0, 3), "pose_body": (3, 66), "pose_jaw": (66, 69), "pose_eye": (69, 75)}
    parts["pose_hand"] = (75, 165)
    return (
        common
        | {name: poses[:, first:last] for name, (first, last) in parts.items()}
        | {
            "surface_model_type": np.array("smplx"),
            "mocap_frame_rate": np.array(motion.fps),
            "mocap_time_length": np.array(frames / motion.fps),
            "num_betas": np.array(len(betas)),
        }
    )
