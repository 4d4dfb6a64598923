"""Motions for tests: random, and close to where rotation formulas degenerate."""

from __future__ import annotations

import numpy as np

from mocap_ray.motion.clip import Motion
from mocap_ray.records import Recording
from mocap_ray.skeleton import PARENTS

RECORDING = Recording("CMU", "CMU/01/01_01_poses", "CMU/01", "CMU/01/01_01_poses.npz", 1, "1")
AMASS_AXES = np.array([[-1.0, 0, 0], [0, 0, 1], [0, 1, 0]])
ANGLES = [0.0, 1e-300, 1e-12, 1e-4, 9.9e-4, 1.1e-3, 0.5, 3.0, np.pi - 1e-9, np.pi, np.pi + 1e-9, 4.0]


def rotvecs(seed: int, *shape: int) -> np.ndarray:
    """[*shape, 3] axis-angle vectors: every angle of ANGLES and random ones up to 3 pi."""
    rng = np.random.default_rng(seed)
    axes = rng.normal(size=(*shape, 3))
    axes /= np.linalg.norm(axes, axis=-1, keepdims=True)
    angles = rng.uniform(0, 3 * np.pi, shape)
    special = rng.random(shape) < 0.6
    angles[special] = rng.choice(ANGLES, special.sum())
    return axes * angles[..., None]


def smooth(seed: int, frames: int, joints: int) -> np.ndarray:
    """[T, J, 3] slowly changing axis-angle vectors."""
    rng = np.random.default_rng(seed)
    phase, size = rng.uniform(0, 6, (joints, 3)), rng.uniform(0, 1, (joints, 3))
    return size * np.sin(np.arange(frames)[:, None, None] / 40 + phase)


def motion(
    poses: np.ndarray, *, trans: np.ndarray | None = None, fps: float = 120.0, first_frame: int = 0
) -> Motion:
    """A motion of the family with this many joints; by default at rest at the origin."""
    family = next(name for name, parents in PARENTS.items() if len(parents) == poses.shape[1])
    return Motion(
        recording=RECORDING,
        family=family,
        gender="neutral",
        fps=fps,
        source_fps=fps,
        poses=poses,
        trans=np.zeros((len(poses), 3)) if trans is None else trans,
        betas=np.zeros(10),
        R_yup_source=AMASS_AXES,
        first_frame=first_frame,
    )


def as_in_a_file(array: np.ndarray) -> np.ndarray:
    """The same numbers as in a stored zip member: read-only and unaligned."""
    data = b"abc" + np.ascontiguousarray(array).tobytes()
    view = np.frombuffer(data, array.dtype, array.size, 3).reshape(array.shape)
    assert not view.flags.aligned
    assert not view.flags.writeable
    return view
