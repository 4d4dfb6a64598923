"""HumanML3D rebuilt from the takes of ../shared, compared with the obvious program: the steps of its notebooks.

- obvious: for each take `smplx`'s full forward pass, one frame at a time as in the notebook, joints to .npy; then cut,
  mirror, features of the naive twin, joints, Mean and Std to .npy; one process. Only `TAKES` of the takes.
- batches: the same with 64 frames at a time, which the notebook does not do.
- ours: the plan, all shards and the published folder, as `mocap-ray rebuild humanml3d` makes them, one process; the
  start of Ray, which takes seconds whatever the size, does not count.

Seconds of CPU, so that the figures are per core and the disk does not count, on which ours alone waits (fsync).
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from mocap_ray import config as configs
from mocap_ray.archives.segments import SegmentIndex
from mocap_ray.dataset.build import prepare, read_index
from mocap_ray.dataset.rebuild import DATA_SET, SETTINGS, find_lists, rebuild
from mocap_ray.demo.standin import write_standin
from mocap_ray.runs.extract import ExtractConfig
from mocap_ray.shards.running import InProcess, NoCallback, run
from mocap_ray.storage import place
from tests.dataset import plain_humanml3d as plain

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
TAKES = 4
BATCH = 64
REPEATS = 2


def measure() -> dict[str, float]:
    """All figures by name; empty without ../shared, because the index is not shipped."""
    if not (SHARED / "humanml3d" / "index.csv").is_file():
        return {}
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(prefix="mocap-bench-"))
    try:
        write_standin(folder / "bodies", families=("smplh",), genders=("male", "female"))
        return _measure(folder)
    finally:
        torch.set_num_threads(threads)
        shutil.rmtree(folder)


def _measure(folder: Path) -> dict[str, float]:
    _rebuilt(folder, folder / "warm")
    frames = sum(len(np.load(p, mmap_mode="r")) for p in (folder / "warm").rglob("new_joint_vecs/*.npy"))
    times = [_timed(lambda k=k: _rebuilt(folder, folder / f"out{k}")) for k in range(REPEATS)]
    extraction = [_timed(lambda k=k: _extracted(folder, folder / f"part{k}")) for k in range(REPEATS)]
    ours = statistics.median(times) / frames * 1e6
    obvious = _obvious(folder, batch=1)
    batches = _obvious(folder, batch=BATCH)
    return {
        "frames of clips and twins": frames,
        "ours s": statistics.median(times),
        "of which the data set s": statistics.median(extraction),
        "ours us/frame": ours,
        "obvious us/frame": obvious,
        "obvious in batches us/frame": batches,
        "obvious / ours": obvious / ours,
        "obvious in batches / ours": batches / ours,
    }


def _settings(folder: Path, out: Path) -> ExtractConfig:
    keys = {
        "source.root": SHARED / "amass",
        "source.segments": SHARED / "humanml3d" / "index.csv",
        "body.root": folder / "bodies",
        "output.root": out / DATA_SET,
    }
    texts = [*(f"{key}={value}" for key, value in keys.items()), *SETTINGS]
    return configs.load("humanml3d", ExtractConfig, kind="extract", overrides=texts)


def _extracted(folder: Path, out: Path) -> tuple[ExtractConfig, SegmentIndex]:
    settings = _settings(folder, out)
    index = read_index(settings.source)
    run(
        lambda: prepare(settings.source, settings.body, settings.motion, settings.output, index=index),
        lambda: nullcontext(InProcess()),
        out=place(settings.output.root),
        callback=NoCallback(),
    )
    return settings, index


def _rebuilt(folder: Path, out: Path) -> None:
    settings, index = _extracted(folder, out)
    assert settings.source.segments is not None
    rebuild(index, out, lists=find_lists(settings.source.segments))


def _timed(call: Callable[[], object]) -> float:
    since = time.process_time()
    call()
    return time.process_time() - since


def _obvious(folder: Path, *, batch: int) -> float:
    """Microseconds of the obvious program per frame of its clips and twins."""
    amass, out = SHARED / "amass", Path(tempfile.mkdtemp(dir=folder))
    rows: dict[str, list[dict[str, str]]] = {}
    for row in plain.read_index(SHARED / "humanml3d" / "index.csv"):
        name = re.sub(r"\./pose_data/(.*)\.npy", r"\1.npz", row["source_path"])
        if (amass / name).is_file():
            rows.setdefault(name, []).append(row)
    names = sorted(rows)[:: max(1, len(rows) // TAKES)][:TAKES]
    forward = _smplx(folder / "bodies", batch)
    since, vectors = time.process_time(), []
    for name in names:
        os.makedirs(out / "pose_data", exist_ok=True)
        np.save(out / "pose_data" / "take.npy", plain.pose_data(amass / name, forward))
        made = plain.rebuilt(rows[name], lambda _: np.load(out / "pose_data" / "take.npy"))
        for clip, (features, joints) in made.items():
            np.save(out / f"{clip}_vecs.npy", features.astype(np.float32))
            np.save(out / f"{clip}_joints.npy", joints.astype(np.float32))
            vectors.append(features)
    for array, what in zip(plain.mean_std(vectors), ("Mean", "Std"), strict=True):
        np.save(out / f"{what}.npy", array)
    return (time.process_time() - since) / sum(len(v) for v in vectors) * 1e6


def _smplx(bodies: Path, batch: int) -> plain.Forward:
    """The full forward pass, so many frames at a time."""
    import smplx
    import torch

    models = {
        gender: smplx.create(
            str(bodies), model_type="smplh", gender=gender, ext="npz", use_pca=False, flat_hand_mean=True
        )
        for gender in ("male", "female")
    }

    def joints(gender: str, poses: np.ndarray, trans: np.ndarray, betas: np.ndarray) -> np.ndarray:
        p, t, found = torch.Tensor(poses), torch.Tensor(trans), []
        with torch.no_grad():
            for first in range(0, len(p), batch):
                part = p[first : first + batch]
                body = models[gender](
                    global_orient=part[:, :3],
                    body_pose=part[:, 3:66],
                    left_hand_pose=part[:, 66:111],
                    right_hand_pose=part[:, 111:],
                    transl=t[first : first + batch],
                    betas=torch.Tensor(betas)[None].expand(len(part), -1),
                )
                found.append(body.joints[:, :22].numpy())
        return np.concatenate(found).astype(np.float64)

    return joints


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:40} {value:12,.1f}")
