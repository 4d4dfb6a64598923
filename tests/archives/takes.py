"""Tiny takes in each published layout, as dictionaries of arrays."""

from __future__ import annotations

import numpy as np

FRAMES = 40


def _drift(rng: np.random.Generator, frames: int, columns: int) -> np.ndarray:
    """Axis-angle numbers that change slowly, so that the quality checks pass."""
    return rng.normal(size=(frames, columns)).cumsum(0) * 0.01


def smplh(frames: int = FRAMES, *, seed: int = 0) -> dict[str, np.ndarray]:
    """AMASS SMPL+H G, 2019: six members in this order, all float64."""
    rng = np.random.default_rng(seed)
    return {
        "trans": rng.normal(size=(frames, 3)).cumsum(0) * 0.01,
        "gender": np.array("female"),
        "mocap_framerate": np.array(120.0),
        "betas": rng.normal(size=16),
        "dmpls": rng.normal(size=(frames, 8)),
        "poses": _drift(rng, frames, 156),
    }


def stage_ii(
    frames: int = FRAMES, *, seed: int = 0, markers: int = 67, betas: int = 16
) -> dict[str, np.ndarray]:
    """AMASS SMPL-X, stage II: parts beside `poses`, whose order is root, body, jaw, eyes, hands; markers."""
    rng = np.random.default_rng(seed)
    parts = {
        name: _drift(rng, frames, width)
        for name, width in (
            ("root_orient", 3),
            ("pose_body", 63),
            ("pose_jaw", 3),
            ("pose_eye", 6),
            ("pose_hand", 90),
        )
    }
    return {
        "gender": np.array("neutral"),
        "surface_model_type": np.array("smplx"),
        "mocap_frame_rate": np.array(120.0000458),
        "mocap_time_length": np.array(frames / 120),
        "markers_latent": rng.normal(size=(markers, 3)),
        "trans": rng.normal(size=(frames, 3)).cumsum(0) * 0.01,
        "poses": np.concatenate(list(parts.values()), axis=1),
        "betas": rng.normal(size=betas),
        "num_betas": np.array(betas),
        "root_orient": parts["root_orient"],
        "pose_body": parts["pose_body"],
        "pose_hand": parts["pose_hand"],
        "pose_jaw": parts["pose_jaw"],
        "pose_eye": parts["pose_eye"],
        "markers": rng.normal(size=(frames, markers, 3)),
        "markers_obs": rng.normal(size=(frames, markers, 3)),
        "markers_sim": rng.normal(size=(frames, markers, 3)),
    }


def smplx_54(frames: int = FRAMES, *, seed: int = 0) -> dict[str, np.ndarray]:
    """SMPL-X with 162 columns and no parts."""
    rng = np.random.default_rng(seed)
    take = smplh(frames, seed=seed)
    return {**take, "poses": _drift(rng, frames, 162), "betas": rng.normal(size=20)}


def smpl(frames: int = FRAMES, *, seed: int = 0) -> dict[str, np.ndarray]:
    """SMPL: 24 joints, float32, gender as bytes, betas [1, 10]."""
    rng = np.random.default_rng(seed)
    return {
        "poses": _drift(rng, frames, 72).astype(np.float32),
        "trans": rng.normal(size=(frames, 3)).astype(np.float32),
        "betas": rng.normal(size=(1, 10)).astype(np.float32),
        "gender": np.array(b"male"),
        "mocap_framerate": np.array([60], np.int64),
    }
