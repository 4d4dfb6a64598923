"""A driver's time and memory against the number of recordings, up to a million: plan, and hand every shard to Ray.

- plan: `mocap-ray extract amass` up to its first task, on links to 20 small takes of the synthetic archive.
- schedule: a whole run of a product that reads nothing, so that only the driver works: plan, tasks, receipts, manifest;
  then the plan of the same run again, which finds every shard finished.

Each figure comes from a process of its own, because a process never gives its peak memory back. Needs 16 GB of memory
for the cache of the file system, and a million inodes.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from bench.memory import small_takes
from mocap_ray.archives import amass
from mocap_ray.dataset.build import prepare
from mocap_ray.demo.standin import write_standin
from mocap_ray.distributed.shards import ray_engine
from mocap_ray.records import Recording, Rejection
from mocap_ray.runs.extract import ExtractConfig
from mocap_ray.runs.ray import RayOptions
from mocap_ray.shards.build import Build, plan_run
from mocap_ray.shards.layout import Layout, Sums
from mocap_ray.shards.product import Product
from mocap_ray.shards.recipe import Recipe, SourceRecipe
from mocap_ray.shards.running import NoCallback, run
from mocap_ray.storage import Place, place

COUNTS = (125_000, 250_000, 500_000, 1_000_000)
SUBJECT, DATASET = 100, 200_000
"""Recordings of a subject, and of a sub-dataset."""
LINKS = 50_000
"""Most file systems allow 65,000 names for one file."""


def measure() -> dict[str, float]:
    """Seconds and peak MB of the driver, for each count."""
    folder = Path(tempfile.mkdtemp(prefix="mocap-bench-"))
    try:
        write_standin(folder / "bodies", families=("smplh",))
        takes = small_takes(folder)
        figures: dict[str, float] = {"before: driver MB": _in_a_process("nothing", folder, 0)["peak_mb"]}
        for count in COUNTS:
            root = folder / f"archive{count}"
            link_archive(root, takes, count)
            for what in ("plan", "schedule", "resume"):
                found = _in_a_process(what, folder, count)
                figures |= {
                    f"{what} {count:,}: seconds": found["seconds"],
                    f"{what} {count:,}: driver MB": found["peak_mb"],
                    f"{what} {count:,}: shards": found["shards"],
                }
            shutil.rmtree(root)
            shutil.rmtree(folder / f"out{count}")
        return figures
    finally:
        shutil.rmtree(folder)


def link_archive(root: Path, takes: Sequence[Path], count: int) -> None:
    """An archive of so many recordings, as hard links to a few takes."""
    for k in range(count):
        link = root / f"DS{k // DATASET}" / f"{k // SUBJECT:05}" / f"{k:07}_poses.npz"
        if k % SUBJECT == 0:
            link.parent.mkdir(parents=True, exist_ok=True)
        os.link(takes[k // LINKS % len(takes)], link)


class _Reason(StrEnum):
    UNREADABLE = "unreadable"
    WORKER_DIED = "worker_died"
    EXCLUDED = "excluded"


class _Count(Sums):
    AMOUNTS: ClassVar[tuple[str, ...]] = ("names",)
    names: int

    def merge(self, other: _Count) -> _Count:
        return _Count(names=self.names + other.names)


@dataclass(frozen=True)
class Names(Product[Recording, str, _Count]):
    """One row per recording: its name; nothing is read."""

    layout = Layout(folder="names", keys=("dataset",), reasons=_Reason, sums=_Count)

    def process(self, input: Recording) -> list[str | Rejection[Recording]]:
        """Its name."""
        return [input.name]

    def table(self, items: Sequence[str]) -> pa.Table:
        """The names."""
        return pa.table({"name": list(items)})

    def sums(self, items: Sequence[str]) -> _Count:
        """How many."""
        return _Count(names=len(items))


def plan_names(archive: Place, out: Place) -> Build[Recording, str, _Count]:
    """The plan of the product that reads nothing, with shards of 32 MB of source files."""
    listed = amass.discover(archive)
    groups = {r.name: (r.dataset,) for r in listed}
    made_by = Recipe({"product": "names"}, SourceRecipe("names", {}))
    return plan_run(Names(), listed, groups, out=out, run=made_by, target=32 * 2**20)


def _in_a_process(what: str, folder: Path, count: int) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.scale", what, str(folder), str(count)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _measured(what: str, folder: Path, count: int) -> dict[str, float]:
    since = time.perf_counter()
    shards = {"nothing": lambda: 0, "plan": _plan, "schedule": _schedule, "resume": _resume}[what](
        *([] if what == "nothing" else [folder, count])
    )
    return {
        "seconds": time.perf_counter() - since,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "shards": shards,
    }


def _plan(folder: Path, count: int) -> int:
    config = ExtractConfig.model_validate(
        {
            "source": {"root": str(folder / f"archive{count}"), "check_root": False},
            "body": {"root": str(folder / "bodies")},
            "output": {"root": str(folder / "none")},
        }
    )
    return len(prepare(config.source, config.body, config.motion, config.output).todo)


def _schedule(folder: Path, count: int) -> int:
    archive, out = place(folder / f"archive{count}"), place(folder / f"out{count}")
    made = run(
        lambda: plan_names(archive, out),
        lambda: ray_engine(RayOptions(workers=2)),
        out=out,
        callback=NoCallback(),
    )
    assert made.manifest["totals"]["rows"] == count, "every recording is one row"
    return made.made


def _resume(folder: Path, count: int) -> int:
    build = plan_names(place(folder / f"archive{count}"), place(folder / f"out{count}"))
    assert build.complete, "nothing is left to do"
    return len(build.done)


if __name__ == "__main__":
    print(json.dumps(_measured(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
