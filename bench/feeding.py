"""Poses per second and the share of waiting: from memory and by stream, and with one and two workers.

A data set of some 200,000 poses is written by the real extraction. `fit` trains two epochs with each loader, in turn,
in this process; the figures are those of metrics.csv, of the second epoch and, for the stream, also of the first, which
starts its pipeline. gaussian_prior computes next to nothing and measures the loader, joint_flow measures a training.
The training uses one thread, which leaves a CPU for the stream's tasks; with a GPU they have all CPUs.

One worker is compared with two by `mocap-ray train` on a sixth of the data. On one machine both have the same CPUs: one
worker computes with one thread per CPU, two with one thread each. So the ratio is the overhead of two workers, not the
gain of a second machine.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from mocap_ray.dataset.build import prepare
from mocap_ray.demo.archive import write_demo
from mocap_ray.demo.standin import write_standin
from mocap_ray.distributed.cluster import Cluster, connected
from mocap_ray.distributed.resources import Share
from mocap_ray.distributed.stream import RayDataReader
from mocap_ray.distributed.train import train
from mocap_ray.runs.extract import ExtractConfig
from mocap_ray.runs.ray import RayOptions
from mocap_ray.runs.train import TrainConfig
from mocap_ray.shards.running import InProcess, NoCallback, run
from mocap_ray.storage import place
from mocap_ray.training.callbacks import Callback, EpochReport, Progress, TrainStart
from mocap_ray.training.fit import fit
from mocap_ray.training.loaders import Loaders, memory_loaders
from mocap_ray.training.session import validation
from mocap_ray.training.streaming import stream_loaders
from mocap_ray.training.team import Team

MADE = 60
"""Recordings of the demo archive, each linked `COPIES` times."""
COPIES = 36
FEW = 6
BATCH = 256
EPOCHS = 2


def measure() -> dict[str, float]:
    """All figures by name."""
    folder = Path(tempfile.mkdtemp(prefix="mocap-bench-"))
    try:
        write_demo(folder / "made", recordings=MADE, bad=False)
        write_standin(folder / "bodies", families=("smplh",), genders=("neutral", "male", "female"))
        many = _data_set(folder, copies=COPIES)
        few = _data_set(folder, copies=FEW)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # the other CPU reads
        with connected(RayOptions(workers=2)):
            figures = {
                "poses to train on": float(memory_loaders(_config("joint_flow", many).setup(), Team()).rows)
            }
            for kind in ("gaussian_prior", "joint_flow"):
                figures |= _feeds_in_turn(kind, many)
        torch.set_num_threads(threads)
        return figures | _workers(few, folder)
    finally:
        shutil.rmtree(folder)


def _data_set(folder: Path, *, copies: int) -> Path:
    """The demo takes, linked under the names of `copies` times as many subjects, extracted."""
    source, out = folder / f"archive{copies}", folder / f"set{copies}"
    for k in range(copies):
        for file in sorted((folder / "made").rglob("*.npz")):
            link = source / "CMU" / f"{k:03}_{file.parent.parent.name}_{file.parent.name}" / file.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file)
    config = ExtractConfig.model_validate(
        {
            "source": {"root": str(source)},
            "body": {"root": str(folder / "bodies")},
            "output": {"root": str(out), "columns": ["features", "poses"]},
        }
    )
    run(
        lambda: prepare(config.source, config.body, config.motion, config.output),
        lambda: nullcontext(InProcess()),
        out=place(out),
        callback=NoCallback(),
    )
    return out


def _config(kind: str, root: Path, **sections: dict[str, Any]) -> TrainConfig:
    plain: dict[str, Any] = {
        "model": {"kind": kind},
        "data": {"root": str(root), "joints": "body", "batch_size": BATCH},
        "training": {"max_epochs": EPOCHS, "patience": None},
        "output": {"root": "unused", "tensorboard": False},
        "ray": {"workers": 1, "gpus_per_worker": 0},
    }
    return TrainConfig.model_validate({k: {**v, **sections.get(k, {})} for k, v in plain.items()})


class _Reports(Callback):
    def __init__(self) -> None:
        self.all: list[EpochReport] = []

    def on_epoch_saved(self, report: EpochReport, model: torch.nn.Module) -> None:
        self.all.append(report)


def _trained(kind: str, data: Path, *, feed: str) -> list[EpochReport]:
    setup = _config(kind, data, data={"feed": feed}).setup()
    team, reports = Team(), _Reports()
    loaders: Loaders = (
        memory_loaders(setup, team) if feed == "memory" else stream_loaders(setup, team, RayDataReader())
    )
    torch.manual_seed(0)
    model = setup.task.model(loaders.sample)
    assert loaders.val is not None
    try:
        validate = validation(setup.task, model, loaders.val, team, seed=0)
        fit(model, loaders.train, options=setup.training, validate=validate, callback=reports)
    finally:
        loaders.close()
    return reports.all


def _feeds_in_turn(kind: str, data: Path) -> dict[str, float]:
    memory, stream = (_trained(kind, data, feed=feed) for feed in ("memory", "stream"))
    return {
        f"{kind}, batch {BATCH}: poses/s from memory": memory[-1].samples_per_s,
        f"{kind}, batch {BATCH}: poses/s by stream": stream[-1].samples_per_s,
        f"{kind}: stream / memory": stream[-1].samples_per_s / memory[-1].samples_per_s,
        f"{kind}: waiting, memory": memory[-1].waiting,
        f"{kind}: waiting, stream": stream[-1].waiting,
        f"{kind}: waiting, stream, first epoch": stream[0].waiting,
    }


class _Silent:
    """A view that shows nothing."""

    def on_cluster(self, cluster: Cluster, part: Share) -> None: ...
    def on_start(self, start: TrainStart) -> None: ...
    def on_progress(self, progress: Progress) -> None: ...
    def on_epoch_saved(self, report: EpochReport) -> None: ...
    def on_note(self, text: str) -> None: ...


def _workers(data: Path, folder: Path) -> dict[str, float]:
    found = {}
    for count in (1, 2):
        # A separate Ray cluster for each: one worker gets all CPUs of the machine, two share them.
        settings = {"output": {"root": str(folder / f"run{count}")}, "ray": {"workers": count}}
        found[count] = train(_config("joint_flow", data, **settings), _Silent())["samples_per_s"]
    return {
        "joint_flow: poses/s, 1 worker": found[1],
        "joint_flow: poses/s, 2 workers": found[2],
        "joint_flow: 2 workers / 1": found[2] / found[1],
    }
