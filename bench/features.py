"""Frames per second of `features.encode` against the naive numpy twin, on 170-frame clips, one core."""

from __future__ import annotations

import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np

from mocap_ray.motion.features import encode
from mocap_ray.skeleton import BODY_PARENTS, REST_DIRECTIONS

FRAMES = 170
CLIPS = 32


def naive_twin() -> ModuleType:
    """`tests/motion/naive.py`, which is the oracle of the tests as well."""
    path = Path(__file__).resolve().parents[1] / "tests" / "motion" / "naive.py"
    spec = importlib.util.spec_from_file_location("naive_features", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def clips() -> list[np.ndarray]:
    """Clips of 170 frames of a body whose bones swing about their rest directions."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(CLIPS):
        time_s = np.arange(FRAMES)[:, None] / 20
        p = np.zeros((FRAMES, 22, 3))
        p[:, 0] = np.concatenate([time_s, np.ones_like(time_s), np.sin(time_s)], -1)
        for j in range(1, 22):
            bone = REST_DIRECTIONS[j] + 0.4 * np.sin(3 * time_s + rng.uniform(0, 6, 3))
            length = rng.uniform(0.1, 0.4) / np.linalg.norm(bone, axis=-1, keepdims=True)
            p[:, j] = p[:, BODY_PARENTS[j]] + length * bone
        made.append(p)
    return made


def rate(work: Callable[[np.ndarray], object], clips: list[np.ndarray]) -> float:
    """Frames per second over all clips."""
    start = time.perf_counter()
    for clip in clips:
        work(clip)
    return len(clips) * FRAMES / (time.perf_counter() - start)


def measure() -> dict[str, float]:
    """Median frames/s of five turns, ours and naive side by side, clip by clip as the pipeline calls it."""
    naive, some = naive_twin(), clips()
    figures: dict[str, float] = {}
    for profile in ("humanml3d", "flowmimic"):

        def ours(clip: np.ndarray, profile: str = profile) -> object:
            return encode(clip, profile=profile)  # type: ignore[arg-type]

        def plain(clip: np.ndarray, profile: str = profile) -> object:
            return naive.encode(clip, profile)

        ours(some[0])  # compile
        turns = [(rate(ours, some * 8), rate(plain, some)) for _ in range(5)]
        figures[f"encode_{profile}_frames_per_s"] = statistics.median(a for a, _ in turns)
        figures[f"encode_{profile}_naive_frames_per_s"] = statistics.median(b for _, b in turns)
        figures[f"encode_{profile}_ratio"] = statistics.median(a / b for a, b in turns)
    return figures


if __name__ == "__main__":
    for name, value in measure().items():
        sys.stdout.write(f"{name:40s} {value:12,.1f}\n")
