"""Reading a finished data set again: `dataset stats` and `dataset validate` against plain reading by pyarrow.

- plain: `pyarrow.parquet` reads all columns of all files, one thread, and computes nothing.
- stats, validate: what the commands do with these files in one process, one thread.

The data set is made from real takes, or from synthetic ones where there are none.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import mocap_ray
from bench.pipeline import SHARED
from mocap_ray.dataset.build import prepare
from mocap_ray.dataset.reader import DataSet
from mocap_ray.dataset.stats import statistics as feature_statistics
from mocap_ray.dataset.validation import validate
from mocap_ray.demo.archive import write_demo
from mocap_ray.demo.standin import write_standin
from mocap_ray.runs.extract import ExtractConfig
from mocap_ray.shards.running import InProcess, NoCallback, run
from mocap_ray.storage import place

REPEATS = 5


def measure() -> dict[str, float]:
    """All figures by name; the ratios are speeds relative to plain reading of the same columns."""
    folder = Path(tempfile.mkdtemp(prefix="mocap-bench-"))
    try:
        return _measure(_data_set(folder))
    finally:
        shutil.rmtree(folder)


def _data_set(folder: Path) -> DataSet:
    source = SHARED
    if not source.is_dir():
        source = folder / "made"
        write_demo(source, recordings=90, bad=False)
    write_standin(folder / "bodies", families=("smplh",), genders=("neutral", "male", "female"))
    config = ExtractConfig.model_validate(
        {
            "source": {"root": str(source), "split": "none"},
            "body": {"root": str(folder / "bodies")},
            "output": {"root": str(folder / "out"), "shard_mb": 8},
        }
    )
    run(
        lambda: prepare(config.source, config.body, config.motion, config.output),
        lambda: nullcontext(InProcess()),
        out=place(folder / "out"),
        callback=NoCallback(),
    )
    return mocap_ray.open(folder / "out")


def _measure(ds: DataSet) -> dict[str, float]:
    files = [ds.place.join(s.path) for s in ds.shards]
    before = pa.cpu_count()
    pa.set_cpu_count(1)
    try:
        calls: dict[str, Callable[[], object]] = {
            "plain": lambda: [pq.ParquetFile(f).read(use_threads=False) for f in files],
            "plain features": lambda: [
                pq.ParquetFile(f).read(columns=["features"], use_threads=False) for f in files
            ],
            "stats": lambda: feature_statistics(ds),
            "validate": lambda: validate(ds),
        }
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for call in calls.values():
            call()
        for _ in range(REPEATS):  # in turn, so that a busy moment hits all alike
            for name, call in calls.items():
                since = time.perf_counter()
                call()
                seconds[name].append(time.perf_counter() - since)
    finally:
        pa.set_cpu_count(before)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    frames = ds.manifest["totals"]["frames"]
    return {
        **{f"{name} us/frame": 1e6 * value / frames for name, value in median.items()},
        "stats / plain reading": median["plain features"] / median["stats"],
        "validate / plain reading": median["plain"] / median["validate"],
    }
