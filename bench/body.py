"""Joints without meshes against the full `smplx` forward pass, on the same poses and one core."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mocap_ray.body.model import load_body
from mocap_ray.demo.standin import write_standin

FRAMES = 8192
SMPLX_FRAMES = 64
"""Frames per call of `smplx`: the fastest of 8 to 512; with more, memory slows it down."""


def motion(*, frames: int, joints: int = 52) -> tuple[np.ndarray, np.ndarray]:
    """Slow random motion as in AMASS: float64, complete hands, a read-only view."""
    rng = np.random.default_rng(0)
    poses = np.cumsum(0.01 * rng.normal(size=(frames, joints, 3)), axis=0) + 0.3 * rng.normal(
        size=(joints, 3)
    )
    poses.flags.writeable = False
    return poses, np.cumsum(0.01 * rng.normal(size=(frames, 3)), axis=0)


def median_seconds(work: Callable[[], object], *, repeats: int = 5) -> float:
    """Median of some runs, after a warm-up run."""
    work()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def full_forward(root: Path, poses: np.ndarray, trans: np.ndarray, betas: np.ndarray) -> Callable[[], object]:
    """The usual way to joints: `smplx` with its mesh, float32, no gradients."""
    import smplx
    import torch

    model = smplx.create(
        str(root), model_type="smplh", gender="male", ext="npz", use_pca=False, flat_hand_mean=True
    )
    flat = torch.tensor(poses.reshape(len(poses), -1), dtype=torch.float32)
    shape = torch.tensor(betas[:10], dtype=torch.float32)[None].expand(len(poses), -1)
    translation = torch.tensor(trans, dtype=torch.float32)

    def work() -> object:
        with torch.no_grad():
            return model(
                betas=shape,
                transl=translation,
                global_orient=flat[:, :3],
                body_pose=flat[:, 3:66],
                left_hand_pose=flat[:, 66:111],
                right_hand_pose=flat[:, 111:],
            ).joints

    return work


def measure() -> dict[str, float]:
    """Frames per second and their ratio, medians of five in one process with one torch thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            (path,) = write_standin(root, families=["smplh"], genders=["male"])
            model = load_body(path, family="smplh", gender="male")
            load = median_seconds(lambda: load_body(path, family="smplh", gender="male"))
            poses, trans = motion(frames=FRAMES)
            betas = np.linspace(-1, 1, 16)
            body = model.shaped(betas)
            some = slice(0, SMPLX_FRAMES)
            mesh = SMPLX_FRAMES / median_seconds(full_forward(root, poses[some], trans[some], betas))
    finally:
        torch.set_num_threads(threads)
    ours = FRAMES / median_seconds(lambda: body.joints(poses, trans))
    all_joints = FRAMES / median_seconds(lambda: body.joints(poses, trans, count=52))
    short = median_seconds(lambda: model.shaped(betas).joints(poses[:170], trans[:170]))
    return {
        "smplx_frames_per_s": mesh,
        "joints22_frames_per_s": ours,
        "joints52_frames_per_s": all_joints,
        "joints22_over_smplx": ours / mesh,
        "shape_and_170_frames_us": 1e6 * short,
        "load_standin_ms": 1e3 * load,
    }


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:28} {value:14,.1f}")
