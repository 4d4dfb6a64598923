"""BVH files read into joints and poses, compared with a plain reader, joint by joint and number by number.

Frames per second of one core, from the bytes of a file to the 22 joints or to the poses of SMPL; the plain reader stops
at the rotations and positions of the rig's joints.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mocap_ray.archives.rigs import bvh_text, transfer
from mocap_ray.archives.rigs.rig import detect
from mocap_ray.archives.rigs.take import Take
from tests.archives import plain_bvh, rig_texts

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "bvh" / "cmu_daz" / "02_01.bvh"
FRAMES = 10_000
PLAIN_FRAMES = 300
REPEATS = 5


def measure() -> dict[str, float]:
    """All figures by name."""
    text = SHARED.read_text() if SHARED.is_file() else rig_texts.bvh(PLAIN_FRAMES)
    with tempfile.TemporaryDirectory(prefix="mocap-bench-") as folder:
        short = Path(folder) / "short.bvh"
        short.write_text(_repeated(text, PLAIN_FRAMES))
        plain = PLAIN_FRAMES / _seconds(lambda: plain_bvh.read(short), repeats=1)
    data = _repeated(text, FRAMES).encode()
    take = bvh_text.parse(data)
    speeds = {
        "parse": FRAMES / _seconds(lambda: bvh_text.parse(data)),
        "joints": FRAMES / _seconds(lambda: transfer.joints(_mapped(bvh_text.parse(data)))),
        "poses": FRAMES / _seconds(lambda: transfer.poses(_mapped(bvh_text.parse(data)), joints=52)),
    }
    return {
        "channels": float(take.values.shape[1]),
        "plain reader, frames a second": plain,
        **{f"{name}, frames a second": speed for name, speed in speeds.items()},
        "joints, times the plain reader": speeds["joints"] / plain,
        "poses, times the plain reader": speeds["poses"] / plain,
    }


def _mapped(take: Take) -> transfer.Mapped:
    return transfer.mapped(take, detect(take.skeleton), scale=None, world=np.eye(3))


def _repeated(text: str, frames: int) -> str:
    """The text of a file with its frames repeated until there are so many."""
    head, _, motion = text.partition("MOTION\n")
    _, seconds, *rows = motion.strip().splitlines()
    rows = (rows * (frames // len(rows) + 1))[:frames]
    return "\n".join([f"{head}MOTION", f"Frames: {frames}", seconds, *rows, ""])


def _seconds(function: Callable[[], object], *, repeats: int = REPEATS) -> float:
    """Of the fastest of some runs, which other programs disturbed least."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)
