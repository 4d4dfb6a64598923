"""Write a .bvh file, as Blender's importer and exporter have them.

Y up, the person at rest in SMPL's T pose facing +Z; metres (import with scale 1, Forward -Z and Up Y, the importer's
own defaults); positions at the root alone; rotations in degrees in the order Z, X, Y, each multiplied from the left, so
a joint turns by Rz Rx Ry. The 22 joints have SMPL's names; `rigs/maps/smpl.yaml` maps them when the file is read again.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from mocap_ray.skeleton import BODY_JOINTS, BODY_PARENTS

ORDER = "ZXY"
_TIP = 0.08
"""Metres of the bones at the ends, which no joint shows: they go on in the direction of the bone before."""
_DIGITS = 6


def bvh_bytes(
    poses: Float[np.ndarray, "T 22 3"],
    pelvis: Float[np.ndarray, "T 3"],
    offsets: Float[np.ndarray, "22 3"],
    *,
    fps: float,
) -> bytes:
    """The text of a .bvh file.

    Args:
        poses: rotation vectors, rad, of the local rotations.
        pelvis: positions of the root, metres, Y up.
        offsets: joint minus parent at rest, metres; row 0 is not read.
        fps: frames per second.
    """
    text = io.StringIO()
    text.write("HIERARCHY\n")
    order = _joint(text, 0, np.asarray(offsets, np.float64), depth=0)
    text.write(f"MOTION\nFrames: {len(poses)}\nFrame Time: {1 / fps:.8f}\n")
    turns = np.stack([_degrees(poses[:, joint]) for joint in order], axis=1).reshape(len(poses), -1)
    np.savetxt(text, np.concatenate([pelvis, turns], axis=1), fmt=f"%.{_DIGITS}f")
    return text.getvalue().encode()


def _joint(text: io.StringIO, joint: int, offsets: np.ndarray, *, depth: int) -> list[int]:
    """Write a joint and all below it; returns them in the order of the channels."""
    tab = "\t" * depth
    text.write(f"{tab}{'JOINT' if depth else 'ROOT'} {BODY_JOINTS[joint]}\n{tab}{{\n")
    text.write(f"{tab}\tOFFSET {_numbers(offsets[joint] if depth else np.zeros(3))}\n")
    place = "" if depth else "Xposition Yposition Zposition "
    turns = " ".join(f"{axis}rotation" for axis in ORDER)
    text.write(f"{tab}\tCHANNELS {3 if depth else 6} {place}{turns}\n")
    order = [joint]
    children = [k for k, parent in enumerate(BODY_PARENTS) if parent == joint]
    for child in children:
        order += _joint(text, child, offsets, depth=depth + 1)
    if not children:
        along = offsets[joint] / max(float(np.linalg.norm(offsets[joint])), 1e-9)
        text.write(f"{tab}\tEnd Site\n{tab}\t{{\n{tab}\t\tOFFSET {_numbers(_TIP * along)}\n{tab}\t}}\n")
    text.write(f"{tab}}}\n")
    return order


def _numbers(values: np.ndarray) -> str:
    return " ".join(f"{value:.{_DIGITS}f}" for value in values)


def _degrees(vectors: Float[np.ndarray, "T 3"]) -> Float[np.ndarray, "T 3"]:
    """Angles about Z, X and Y whose product is each rotation, without jumps of a whole turn over time."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # at the pole of the middle axis scipy chooses, and says so
        angles = Rotation.from_rotvec(np.asarray(vectors, np.float64)).as_euler(ORDER)
    return np.asarray(np.degrees(np.unwrap(angles, axis=0)))
