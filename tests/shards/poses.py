"""A second product, for the tests: single-frame poses as a table, from recordings of AMASS.

What a recording does when it is read is in its name: `..._kill...` ends the process that reads it,
`..._bug...` raises an unexpected exception, `..._broken...` cannot be read.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from mocap_ray.archives import amass
from mocap_ray.motion.clip import JointMotion
from mocap_ray.records import Recording, Rejection
from mocap_ray.shards.build import Build, plan_run
from mocap_ray.shards.layout import Layout, ProductWords, Sums
from mocap_ray.shards.product import Product
from mocap_ray.shards.recipe import Recipe, SourceRecipe
from mocap_ray.shards.running import InProcess, NoCallback, RunCallback, RunResult, run
from mocap_ray.storage import Place, place

EVERY = 30
"""Every N-th frame of a recording is a row."""


class PoseReason(StrEnum):
    """The closed list of this product."""

    UNREADABLE = "unreadable"
    WORKER_DIED = "worker_died"
    EXCLUDED = "excluded"
    NO_MOTION = "no_motion"


@dataclass(frozen=True, slots=True)
class PoseRow:
    """One pose."""

    recording: str
    frame: int
    betas: np.ndarray
    pose: np.ndarray
    trans: np.ndarray


class PoseSums(Sums):
    """How many poses, and how high the highest root is."""

    AMOUNTS: ClassVar[tuple[str, ...]] = ("poses",)

    poses: int
    highest: float

    def merge(self, other: PoseSums) -> PoseSums:
        return PoseSums(poses=self.poses + other.poses, highest=max(self.highest, other.highest))

    def counts(self) -> dict[str, int | float]:
        return {**super().counts(), "highest": self.highest}


@dataclass(frozen=True)
class PoseProduct(Product[Recording, PoseRow, PoseSums]):
    """Poses of an archive."""

    layout = Layout(
        folder="poses",
        keys=("split",),
        reasons=PoseReason,
        sums=PoseSums,
        words=ProductWords(input="recording", inputs="recordings", rows="rows", start="frame"),
    )

    archive: Place

    def process(self, input: Recording) -> list[PoseRow | Rejection[Recording]]:
        _spring(input.name)
        motion = amass.read(self.archive, input)
        if isinstance(motion, JointMotion | Rejection):
            detail = motion.detail if isinstance(motion, Rejection) else f"{input.source}: joints alone."
            return [Rejection(input, PoseReason.NO_MOTION, detail)]
        return [
            PoseRow(
                input.name, t, np.array(motion.betas), np.array(motion.poses[t]), np.array(motion.trans[t])
            )
            for t in range(0, len(motion.trans), EVERY)
        ]

    def table(self, items: Sequence[PoseRow]) -> pa.Table:
        floats = pa.list_(pa.float32())
        return pa.table(
            {
                "recording": pa.array([i.recording for i in items], pa.string()),
                "frame": pa.array([i.frame for i in items], pa.int32()),
                "betas": pa.array([i.betas.astype(np.float32) for i in items], floats),
                "pose": pa.array([i.pose.astype(np.float32).ravel() for i in items], floats),
                "trans": pa.array([i.trans.astype(np.float32) for i in items], floats),
            }
        )

    def sums(self, items: Sequence[PoseRow]) -> PoseSums:
        highest = max((float(i.trans[2]) for i in items), default=-1e9)
        return PoseSums(poses=len(items), highest=highest)


@dataclass(frozen=True)
class ScaledPoses(PoseProduct):
    """The same poses through a "model" that takes long to load: a scale, read from a file once in each worker."""

    model: str = ""
    marks: str = ""
    scale: float | None = None

    def setup(self) -> ScaledPoses:
        (Path(self.marks) / f"{os.getpid()}.{time.monotonic_ns()}").touch()
        return replace(self, scale=float(Path(self.model).read_text()))

    def process(self, input: Recording) -> list[PoseRow | Rejection[Recording]]:
        assert self.scale is not None, "not set up"
        scale = self.scale
        return [
            i if isinstance(i, Rejection) else replace(i, pose=i.pose * scale) for i in super().process(input)
        ]


def _spring(name: str) -> None:
    time.sleep(float(os.environ.get("TRAP_SLEEP_S", "0")))
    last = name.rpartition("/")[2]
    if "_kill" in last:
        os.kill(os.getpid(), signal.SIGKILL)
    if "_bug" in last:
        raise ValueError("an unexpected error in a library")
    if "_broken" in last:
        raise OSError(5, "the disk does not answer")


def prepared(product: PoseProduct, out: Place, *, limit: int | None = None) -> Build[Any, Any, Any]:
    """The plan of a run: list the archive, assign splits, compare with the output."""
    listed = amass.discover(product.archive)[:limit]
    groups = {r.name: ("val" if r.subject.endswith("2") else "train",) for r in listed}
    source = SourceRecipe("poses", {"every": EVERY})
    run = Recipe({"product": "poses"}, source)
    return plan_run(product, listed, groups, out=out, run=run, target=1_500_000)


def make_poses(
    product: PoseProduct,
    out: Path,
    *,
    engine: Any = None,
    limit: int | None = None,
    callback: RunCallback | None = None,
    strict: bool = False,
) -> RunResult:
    """Run it, in this process unless an engine is given."""
    root = place(out)
    return run(
        lambda: prepared(product, root, limit=limit),
        engine or (lambda: nullcontext(InProcess())),
        out=root,
        callback=callback or NoCallback(),
        strict=strict,
    )
