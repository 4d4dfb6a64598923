"""Training on Ray Train (V2): workers run `training.session`, and are restarted after a failure.

The session writes its own checkpoints, two files that rank 0 writes atomically, and does not use `ray.train.report`. In
Ray 2.60, a worker that is killed right after a report can lose that checkpoint, and leaves a folder behind that
`num_to_keep` does not remove.
"""

from __future__ import annotations

import math
import os
import threading
import time
import uuid
from collections.abc import Sequence
from typing import Any

from pyarrow import fs as pafs
from ray.exceptions import RayError
from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from mocap_ray.distributed.callbacks import TrainCallback
from mocap_ray.distributed.cluster import connected
from mocap_ray.distributed.events import EventQueue
from mocap_ray.distributed.reach import require_reach
from mocap_ray.distributed.resources import Share, capacity, share
from mocap_ray.distributed.waiting import Shortage, wait_for
from mocap_ray.distributed.worker import work
from mocap_ray.lock import lock
from mocap_ray.options import paths, with_paths
from mocap_ray.runs.job import require_lasting
from mocap_ray.runs.ray import RayOptions
from mocap_ray.runs.train import TrainConfig
from mocap_ray.storage import Place, lasting, place
from mocap_ray.training.checkpoint import CHECKPOINTS, EXPORT
from mocap_ray.training.folds import fold_folders
from mocap_ray.training.prepare import prepare, refuse_both
from mocap_ray.wording import counted

RAY_FOLDER = ".ray-train"
"""Prefix of the folder of Ray Train in the output, which exists while a training runs."""
TRIAL_CPU = 0.01
"""CPUs of the process in which Tune runs a trial; Tune does not accept 0."""
POLL_S = 0.1
"""Seconds between two polls for events in the driver."""
HEALTH_S = 0.2
"""Seconds between two health checks of Ray Train; its default of 2 s detects a lost worker late."""


class TrainingFailed(RuntimeError):
    """The training could not finish; its last checkpoint is kept, and `--resume` continues from it."""


def train(
    config: TrainConfig, callback: TrainCallback, *, resume: bool = False, overwrite: bool = False
) -> dict[str, Any]:
    """Train a model on the cluster of the config.

    Args:
        config: the complete config.
        callback: is called on progress.
        resume: resume from the last checkpoint in `output.root`.
        overwrite: replace the training in `output.root`.

    Returns:
        The summary, as in summary.json.

    Raises:
        UserError: the training cannot start; nothing was changed.
        Locked: another run is writing this folder.
        TrainingFailed: the training stopped with an error.
    """
    refuse_both(resume=resume, overwrite=overwrite)
    require_lasting(paths(config))
    config = absolute(config)
    with lock(place(config.output.root), what="training"):
        prepare(config.setup(), resume=resume, overwrite=overwrite)
        # A local Ray instance uses the whole machine, so that its workers share all CPUs.
        gpus = 0.0 if config.training.device == "cpu" or config.ray.gpus_per_worker == 0 else 1.0
        options = RayOptions(address=config.ray.address, gpus_per_worker=gpus)
        with connected(options) as cluster:
            has = capacity(None if cluster.own else config.ray)
            part = share(config.ray, has, device=config.training.device, whole=cluster.own)
            callback.on_cluster(cluster, part)
            if not cluster.own:
                wait_for(part.bundles, callback.on_note, at_most_s=config.ray.wait_s, of="this training")
                out = place(config.output.root)
                require_reach(reads={"data.root": place(config.data.root)}, writes={"output.root": out})
            return team_run(config, part, callback)


def team_run(
    config: TrainConfig,
    part: Share,
    callback: TrainCallback,
    *,
    trial: bool = False,
    searched: Sequence[str] = (),
) -> dict[str, Any]:
    """Run a prepared training on the connected Ray cluster, and forward its events to the callback.

    Args:
        config: config with absolute paths.
        part: resources of each worker.
        callback: is called in the calling thread.
        trial: whether this is a trial of Tune, whose actor needs a hundredth of a CPU.
        searched: keys whose values the search compares.

    Raises:
        TrainingFailed: an error that a retry cannot fix, or more lost workers than `ray.max_failures`.
    """
    clean(place(config.output.root))
    events = EventQueue()
    resources = {"CPU": part.cpus - (TRIAL_CPU if trial else 0), **({"GPU": part.gpus} if part.gpus else {})}
    out = place(config.output.root)
    os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = str(HEALTH_S)
    trainer = TorchTrainer(
        work,
        # As text, so that the controller process does not import the classes of the config.
        train_loop_config={
            "config": config.model_dump_json(),
            "events": events,
            "trial": trial,
            "searched": tuple(searched),
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
    outcome: list[BaseException | None] = []

    def fit() -> None:
        try:
            trainer.fit()
            outcome.append(None)
        except BaseException as error:  # re-raised in the calling thread
            outcome.append(error)

    thread = threading.Thread(target=fit, name="ray-train", daemon=True)
    thread.start()
    summary: dict[str, Any] | None = None
    report, shortage = "", Shortage(part.bundles, callback.on_note, of="this training")
    try:
        while True:
            ended = not thread.is_alive()
            for name, value in events.get_all():
                if name == "failed":
                    raise TrainingFailed(value)
                if name == "retried":
                    report = value
                elif name == "done":
                    summary = value
                else:
                    getattr(callback, name)(value)
            if ended:
                break
            shortage.look()
            time.sleep(POLL_S)
    finally:
        clean(out)
    if outcome[0] is not None:
        raise TrainingFailed(_failure_message(outcome[0], config, report)) from outcome[0]
    assert summary is not None, "the training ended without a summary"
    return summary


def clean(out: Place) -> None:
    """Remove temporary files of a killed run, and the folder of Ray Train."""
    folders = [
        place.join(*part) for place in (out, *fold_folders(out)) for part in ((), (CHECKPOINTS,), (EXPORT,))
    ]
    for folder in folders:
        for info in out.fs.get_file_info(pafs.FileSelector(folder, allow_not_found=True)):
            if info.type == pafs.FileType.Directory and info.base_name.startswith(f"{RAY_FOLDER}-"):
                out.fs.delete_dir(info.path)
            if info.type == pafs.FileType.File and info.base_name.startswith(".tmp-"):
                out.fs.delete_file(info.path)


def _failure_message(error: BaseException, config: TrainConfig, report: str) -> str:
    """The reason why Ray Train stopped a run, as one sentence; a possible bug also shows its traceback.

    Args:
        error: what Ray Train raised.
        config: of the training.
        report: of the last error that was retried although it may be a bug; Ray Train drops tracebacks.
    """
    failures = getattr(error, "worker_failures", None)
    first = next(iter(failures.values())) if failures else getattr(error, "controller_failure", error)
    text = str(first).strip().splitlines() or [type(first).__name__]
    return (
        f"{config.output.root}: the workers failed {counted(config.ray.max_failures + 1, 'time')} (ray.max_failures "
        f"{config.ray.max_failures}). Last error: {text[0].rstrip('.')}. The last checkpoint is kept; --resume "
        "continues from it."
    ) + ("" if isinstance(first, OSError | RayError) or not report else f"\n{report}")


def absolute(config: TrainConfig) -> TrainConfig:
    """The config with absolute local paths, because the workers run in other folders."""
    return with_paths(config, lasting)
