"""The whole extraction, compared with a straightforward program, the floor, and two plain processes.

- obvious: a straightforward program, with smplx's full forward pass of every kept frame and naive numpy features, one
  process.
- floor: reading the same bytes with numpy and writing the same tables with pyarrow, one process.
- ours: `shards.making.make` over the same recordings, one process; then two processes by
  `multiprocessing.Pool` and two Ray workers, both warmed up, so that start-up does not count.
"""

from __future__ import annotations

import multiprocessing
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from bench.features import naive_twin
from mocap_ray.dataset import schema
from mocap_ray.dataset.build import prepare
from mocap_ray.dataset.product import ClipBuild, ClipProduct
from mocap_ray.demo.archive import write_demo
from mocap_ray.demo.standin import write_standin
from mocap_ray.distributed.cluster import connected
from mocap_ray.distributed.shards import RayEngine
from mocap_ray.records import Recording
from mocap_ray.runs.extract import ExtractConfig
from mocap_ray.runs.ray import RayOptions
from mocap_ray.shards.cutting import Shard
from mocap_ray.shards.making import make
from mocap_ray.shards.running import SHARDS_PER_TASK
from mocap_ray.storage import place

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "amass"
RECORDINGS = 2000
REPEATS = 5


def measure() -> dict[str, float]:
    """All figures by name; microseconds are per kept frame."""
    folder = Path(tempfile.mkdtemp(prefix="mocap-bench-"))
    try:
        return _measure(folder)
    finally:
        shutil.rmtree(folder)


def _measure(folder: Path) -> dict[str, float]:
    source = SHARED
    if not source.is_dir():
        source = folder / "made"
        write_demo(source, recordings=90, bad=False)
    bodies = folder / "bodies"
    write_standin(bodies, families=("smplh",), genders=("neutral", "male", "female"))
    figures: dict[str, float] = {}
    small = _build(source, bodies, folder / "small")
    figures |= _against_floor(small, folder)
    lean = _against_floor(_build(source, bodies, folder / "lean", columns=["features"]), folder / "lean")
    figures |= {f"features alone: {k}": lean[k] for k in ("ours us/frame", "floor us/frame", "ours / floor")}
    figures["obvious us/frame"] = _obvious(small, bodies)
    many = _build(_repeated(source, folder / "many"), bodies, folder / "out")
    figures["recordings"] = sum(len(g.inputs) for g in many.shards)
    figures |= _two_processes(many, folder)
    figures["obvious / ours"] = figures["obvious us/frame"] / figures["ours us/frame"]
    return figures


def _build(
    source: Path, bodies: Path, out: Path, *, columns: Sequence[str] = schema.OPTIONAL_COLUMNS[:4]
) -> ClipBuild:
    config = ExtractConfig.model_validate(
        {
            "source": {"root": str(source), "split": "none"},
            "body": {"root": str(bodies)},
            "output": {"root": str(out), "columns": list(columns)},
        }
    )
    return prepare(config.source, config.body, config.motion, config.output)


def _repeated(source: Path, folder: Path) -> Path:
    """The same takes repeated under other names, as links, up to `RECORDINGS`."""
    files = sorted(source.rglob("*.npz"))
    for k in range(-(-RECORDINGS // len(files))):
        for file in files:
            link = folder / "CMU" / f"{k:03}_{file.parent.name}" / file.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file)
    return folder


def _make_all(groups: Sequence[Shard[Recording]], build: ClipBuild, root: Path) -> int:
    """Frames made, one process."""
    job = replace(build.job(), out=place(root))
    return sum(make(g, job).sums.frames for g in groups)


def _against_floor(build: ClipBuild, folder: Path) -> dict[str, float]:
    """Ours and the floor in turn, on the same takes, with warm caches; medians."""
    assert isinstance(build.product, ClipProduct)
    plan = build.product.plan
    frames = _make_all(build.shards, build, folder / "ours")
    tables = [pq.read_table(p) for p in sorted((folder / "ours" / "clips").rglob("*.parquet"))]
    tables = [t.drop_columns([c for c in ("dataset", "split") if c in t.column_names]) for t in tables]
    paths = [plan.place.join(r.source) for g in build.shards for r in g.inputs]
    times: dict[str, list[float]] = {"ours": [], "floor": [], "read": [], "write": [], "process": []}
    for _ in range(REPEATS):
        times["ours"].append(_timed(lambda: _make_all(build.shards, build, folder / "ours")))
        read = _timed(lambda: [_floor_read(p) for p in paths])
        write = _timed(lambda: [_floor_write(t, folder / "floor.parquet") for t in tables])
        times["read"].append(read)
        times["write"].append(write)
        times["floor"].append(read + write)
        times["process"].append(
            _timed(lambda: [build.product.process(r) for g in build.shards for r in g.inputs])
        )
    us = {name: statistics.median(values) / frames * 1e6 for name, values in times.items()}
    return {
        "kept frames": frames,
        "ours us/frame": us["ours"],
        "floor us/frame": us["floor"],
        "ours / floor": statistics.median(a / b for a, b in zip(times["ours"], times["floor"], strict=True)),
        "floor: read us/frame": us["read"],
        "floor: write us/frame": us["write"],
        "ours: recording to clips us/frame": us["process"],
        "ours: table, Parquet, hash, fsync us/frame": us["ours"] - us["process"],
    }


def _floor_read(path: str) -> None:
    with np.load(path) as file:
        for name in ("poses", "trans", "betas", "gender", "mocap_framerate"):
            file[name]


def _floor_write(table: object, path: Path) -> None:
    path.write_bytes(schema.to_parquet(table))


def _timed(call: Callable[[], object]) -> float:
    since = time.perf_counter()
    call()
    return time.perf_counter() - since


def _obvious(build: ClipBuild, bodies: Path) -> float:
    """Microseconds per kept frame of the straightforward program, on a few takes."""
    import smplx
    import torch

    naive = naive_twin()
    assert isinstance(build.product, ClipProduct)
    plan = build.product.plan
    torch.set_num_threads(1)
    model = smplx.create(
        str(bodies), model_type="smplh", gender="neutral", ext="npz", use_pca=False, flat_hand_mean=True
    )
    spent, frames = 0.0, 0
    for recording in build.shards[0].inputs[:6]:
        since = time.perf_counter()
        with np.load(plan.place.join(recording.source)) as file:
            stride = int(file["mocap_framerate"]) // 20
            poses = torch.from_numpy(file["poses"][::stride].astype(np.float32))
            trans = torch.from_numpy(file["trans"][::stride].astype(np.float32))
        joints = []
        with torch.no_grad():
            for p, t in zip(poses.split(64), trans.split(64), strict=True):
                n = len(p)
                found = model(
                    global_orient=p[:, :3],
                    body_pose=p[:, 3:66],
                    left_hand_pose=p[:, 66:111],
                    right_hand_pose=p[:, 111:],
                    transl=t,
                    betas=torch.zeros(n, 10),
                )
                joints.append(found.joints[:, :22].numpy())
        xyz = np.concatenate(joints).astype(np.float64)
        naive.encode(np.stack([-xyz[..., 0], xyz[..., 2], xyz[..., 1]], axis=-1))
        spent += time.perf_counter() - since
        frames += len(poses) - 1
    return spent / frames * 1e6


def _pool_make(job: tuple[Shard[Recording], ClipBuild, str]) -> int:
    group, build, root = job
    return _make_all([group], build, Path(root))


def _two_processes(build: ClipBuild, folder: Path) -> dict[str, float]:
    """Frames per second of Pool(2) and of two Ray workers, in turn, with the same function."""
    groups = build.todo
    warm = groups[-4:]
    slim = replace(build, shards=(), done={})  # sent to a process with each shard
    pool_fps, ray_fps, heap = [], [], 0.0
    with multiprocessing.get_context("spawn").Pool(2) as pool, connected(RayOptions(workers=2)) as cluster:
        engine, job = RayEngine(cluster), replace(build.job(), out=place(folder / "ray"))
        pool.map(_pool_make, [(g, slim, str(folder / "pool")) for g in warm], chunksize=1)
        list(engine.make(warm, job, per_task=1))
        for _ in range(3):
            frames = 0
            since = time.perf_counter()
            jobs: Iterator[int] = pool.imap_unordered(
                _pool_make, [(g, slim, str(folder / "pool")) for g in groups]
            )
            frames = sum(jobs)
            pool_fps.append(frames / (time.perf_counter() - since))
            since = time.perf_counter()
            made = sum(r.amount for r in engine.make(groups, job, per_task=SHARDS_PER_TASK))
            ray_fps.append(made / (time.perf_counter() - since))
            assert made == frames
        heap = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "Pool(2) frames/s": statistics.median(pool_fps),
        "Ray, 2 workers frames/s": statistics.median(ray_fps),
        "Ray / Pool(2)": statistics.median(r / p for r, p in zip(ray_fps, pool_fps, strict=True)),
        "driver peak MB": heap,
    }
