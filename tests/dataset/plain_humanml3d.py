"""HumanML3D's recipe, step by step in plain numpy: the oracle of `mocap-ray rebuild` and the baseline of its bench.

Written from the published recipe and independent of the package's listing, cutting, mirroring and encoding: poses to
joints at 20 fps, cuts by sub-dataset and row, mirrored twins, features, joints decoded from them, Mean and Std.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from tests.motion import naive

FPS = 20
SWAPS = ((1, 2), (4, 5), (7, 8), (10, 11), (13, 14), (16, 17), (18, 19), (20, 21))
TRIMS = {
    "Eyes_Japan_Dataset": 3,
    "MPI_HDM05": 3,
    "TotalCapture": 1,
    "MPI_Limits": 1,
    "Transitions_mocap": 0.5,
}
"""Seconds that are dropped from the start."""
GROUPS = ((0, 1), (1, 3), (3, 4), (4, 67), (67, 193), (193, 259), (259, 263))
"""Columns that share one std."""

Forward = Callable[[str, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Gender of the model, poses [T, 156], trans [T, 3], 10 betas -> joints [T, 22, 3] in the axes of AMASS."""


def pose_data(take: Path, forward: Forward) -> np.ndarray:
    """[T, 22, 3] at 20 fps with y and z swapped, of a whole take."""
    with np.load(take) as data:
        gender = "male" if str(data["gender"]) == "male" else "female"
        step = int(float(data["mocap_framerate"]) / FPS)
        poses, trans = data["poses"][::step], data["trans"][::step]
        joints = forward(gender, poses, trans, data["betas"][:10])
    return joints[..., [0, 2, 1]]


def segment(data: np.ndarray, row: dict[str, str]) -> np.ndarray:
    """The frames of a row of the index, x negated."""
    if "humanact12" in row["source_path"]:
        return data[:, :22]
    for name, seconds in TRIMS.items():
        if name in row["source_path"]:
            data = data[int(seconds * FPS) :]
    return data[int(row["start_frame"]) : int(row["end_frame"])] * np.array([-1.0, 1.0, 1.0])


def mirrored(data: np.ndarray) -> np.ndarray:
    """The mirrored twin."""
    twin = data.copy()
    twin[..., 0] *= -1
    for left, right in SWAPS:
        twin[:, [left, right]] = twin[:, [right, left]]
    return twin


def rebuilt(
    rows: Iterable[dict[str, str]], read: Callable[[str], np.ndarray]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name -> features [T-1, 263] and joints [T-1, 22, 3], of all rows and their twins.

    Args:
        rows: of the index.
        read: source path -> joints of the whole take at 20 fps.
    """
    found = {}
    for row in rows:
        data, name = segment(read(row["source_path"]), row), row["new_name"].removesuffix(".npy")
        for each, joints in ((name, data), (f"M{name}", mirrored(data))):
            features = naive.encode(joints, "humanml3d", "reference")
            found[each] = features, naive.decode(features)
    return found


def mean_std(features: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean.npy and Std.npy [263] of all clips."""
    rows = np.concatenate(list(features))
    mean, std = rows.mean(0), rows.std(0)
    for first, last in GROUPS:
        std[first:last] = std[first:last].mean()
    return mean, std


def read_index(path: Path) -> list[dict[str, str]]:
    """The rows of index.csv."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
