"""Training on Ray Train (V2): a team of workers runs `training.session`, and survives its losses.

Checkpoints are the session's own, two files that rank 0 publishes whole; they do not travel through
`ray.train.report`. A worker that is killed right after a report can lose that checkpoint in Ray 2.60, and
leaves a folder behind that `num_to_keep` never sees; a published file is there or is not.
"""

from __future__ import annotations

import math
import os
import threading
import time
import uuid
from pathlib import Path
from typing import Any, Protocol

from pyarrow import fs as pafs
from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from mocap_ray.distributed.cluster import Cluster, connected
from mocap_ray.distributed.events import EventQueue
from mocap_ray.distributed.resources import Share, capacity, share
from mocap_ray.distributed.worker import work
from mocap_ray.lock import lock
from mocap_ray.runs.ray import RayOptions
from mocap_ray.runs.train import TrainConfig
from mocap_ray.storage import Place, place
from mocap_ray.training.callbacks import EpochReport, Progress, TrainStart
from mocap_ray.training.prepare import prepare

RAY_FOLDER = ".ray-train"
"""Prefix of Ray Train's own folder in the output, there while a training runs."""
TRIAL_CPU = 0.01
"""Of the process in which Tune runs a trial; 0 is refused."""
POLL_S = 0.1
"""How often the driver asks for events."""
HEALTH_S = 0.2
"""How often Ray Train looks after its workers; its default of 2 s finds a lost one late."""


class TrainingFailed(RuntimeError):
    """The training could not finish; its last checkpoint stays, and `--resume` goes on from there."""


class TrainCallback(Protocol):
    """Who watches a training: a terminal, a log, a trial of a search."""

    def on_cluster(self, cluster: Cluster, part: Share) -> None:
        """Ray is there; what each worker gets."""

    def on_start(self, start: TrainStart) -> None:
        """The first step is about to run; again after a lost worker."""

    def on_progress(self, progress: Progress) -> None:
        """About once a second within an epoch."""

    def on_epoch_saved(self, report: EpochReport) -> None:
        """An epoch ended and its checkpoints stand."""

    def on_note(self, text: str) -> None:
        """Something a person should know."""


def train(
    config: TrainConfig, callback: TrainCallback, *, resume: bool = False, overwrite: bool = False
) -> dict[str, Any]:
    """Train one prior on the cluster that the config names.

    Args:
        config: the whole configuration.
        callback: is told of progress.
        resume: go on from the last checkpoint in `output.root`.
        overwrite: replace the training in `output.root`.

    Returns:
        The summary, as in summary.json.

    Raises:
        ValueError: the run cannot start; nothing was changed.
        Locked: another run writes this folder.
        TrainingFailed: it cannot go on.
    """
    config = absolute(config)
    with lock(place(config.output.root)):
        prepare(config.setup(), resume=resume, overwrite=overwrite)
        # A Ray of our own takes the whole machine, so that its workers share all CPUs, however few they are.
        gpus = 0.0 if config.training.device == "cpu" or config.ray.gpus_per_worker == 0 else 1.0
        options = RayOptions(address=config.ray.address, gpus_per_worker=gpus)
        with connected(options) as cluster:
            part = share(config.ray, capacity(), device=config.training.device, whole=cluster.own)
            callback.on_cluster(cluster, part)
            return team_run(config, part, callback)


def team_run(
    config: TrainConfig, part: Share, callback: TrainCallback, *, trial: bool = False
) -> dict[str, Any]:
    """Run a prepared training on the Ray that this process is connected to, with events to the callback.

    Args:
        config: with absolute paths.
        part: what each worker gets.
        callback: is called in the calling thread.
        trial: within a trial of Tune, whose own actor takes a hundredth of a CPU of the first worker.

    Raises:
        TrainingFailed: a fault that repeats, or more lost workers than `ray.max_failures`.
    """
    clean(place(config.output.root))
    events = EventQueue()
    resources = {"CPU": part.cpus - (TRIAL_CPU if trial else 0), **({"GPU": part.gpus} if part.gpus else {})}
    out = place(config.output.root)
    os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = str(HEALTH_S)
    trainer = TorchTrainer(
        work,
        # As text: the process that controls the run need not import what a config is made of.
        train_loop_config={
            "config": config.model_dump_json(),
            "events": events,
            "trial": trial,
            "threads": max(1, math.floor(part.cpus)),
        },
        scaling_config=ScalingConfig(
            num_workers=part.workers, use_gpu=part.gpus > 0, resources_per_worker=resources
        ),
        run_config=RunConfig(
            name=f"{RAY_FOLDER}-{uuid.uuid4().hex[:8]}",
            storage_path=out.path,
            storage_filesystem=out.fs,
            failure_config=FailureConfig(max_failures=config.ray.max_failures),
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )
    fate: list[BaseException | None] = []

    def fit() -> None:
        try:
            trainer.fit()
            fate.append(None)
        except BaseException as error:  # carried over to the calling thread
            fate.append(error)

    thread = threading.Thread(target=fit, name="ray-train", daemon=True)
    thread.start()
    summary: dict[str, Any] | None = None
    try:
        while True:
            ended = not thread.is_alive()
            for kind, value in events.get_all():
                if kind == "failed":
                    raise TrainingFailed(value)
                if kind == "done":
                    summary = value
                else:
                    getattr(callback, kind)(value)
            if ended:
                break
            time.sleep(POLL_S)
    finally:
        clean(out)
    if fate[0] is not None:
        raise TrainingFailed(_why(fate[0], config)) from fate[0]
    assert summary is not None, "a training ended without saying how"
    return summary


def clean(out: Place) -> None:
    """Remove what is no part of a training: half-written files of a killed run, and Ray Train's own folder."""
    for folder in (out.path, out.join("checkpoints"), out.join("export")):
        for info in out.fs.get_file_info(pafs.FileSelector(folder, allow_not_found=True)):
            if info.type == pafs.FileType.Directory and info.base_name.startswith(f"{RAY_FOLDER}-"):
                out.fs.delete_dir(info.path)
            if info.type == pafs.FileType.File and info.base_name.startswith(".tmp-"):
                out.fs.delete_file(info.path)


def _why(error: BaseException, config: TrainConfig) -> str:
    """What ended a run that Ray Train gave up, in one sentence."""
    failures = getattr(error, "worker_failures", None)
    first = next(iter(failures.values())) if failures else getattr(error, "controller_failure", error)
    text = str(first).strip().splitlines() or [type(first).__name__]
    return (
        f"{config.output.root}: the workers failed {config.ray.max_failures + 1} times (ray.max_failures "
        f"{config.ray.max_failures}), at last: {text[0]}. What was trained is kept; --resume goes on from there."
    )


def absolute(config: TrainConfig) -> TrainConfig:
    """With absolute local paths: the workers run in folders of their own."""

    def whole(root: str) -> str:
        return root if "://" in root else str(Path(root).expanduser().absolute())

    return config.model_copy(
        update={
            "data": config.data.model_copy(update={"root": whole(config.data.root)}),
            "output": config.output.model_copy(update={"root": whole(config.output.root)}),
        }
    )
