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
import traceback
import uuid
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import ray
import ray.train
import ray.train.torch
import torch
from pyarrow import fs as pafs
from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from torch import nn

from mocap_ray.distributed.board import News
from mocap_ray.distributed.cluster import Cluster, connected
from mocap_ray.lock import lock
from mocap_ray.runs.ray import RayOptions
from mocap_ray.runs.train import TrainConfig, TrainRay
from mocap_ray.storage import Place, place
from mocap_ray.training import session
from mocap_ray.training.feeds import Feeds
from mocap_ray.training.fit import Team
from mocap_ray.training.listener import Beat, EpochReport, Listener, Start

RAY_FOLDER = ".ray-train"
"""Prefix of Ray Train's own folder in the output, there while a training runs."""
TRIAL_CPU = 0.01
"""Of the process in which Tune runs a trial; 0 is refused."""
POLL_S = 0.1
"""How often the driver asks for news."""
HEALTH_S = 0.2
"""How often Ray Train looks after its workers; its default of 2 s finds a lost one late."""

LEAVE_S = 60.0
"""How long the workers of a trial that was ended may take to go."""


class TrainingFailed(RuntimeError):
    """The training could not finish; its last checkpoint stays, and `--resume` goes on from there."""


class TrainListener(Protocol):
    """Who watches a training: a terminal, a log, a trial of a search."""

    def cluster(self, cluster: Cluster, part: Share) -> None:
        """Ray is there; what each worker gets."""

    def started(self, start: Start) -> None:
        """The first step is about to run; again after a lost worker."""

    def beat(self, beat: Beat) -> None:
        """About once a second within an epoch."""

    def epoch(self, report: EpochReport) -> None:
        """An epoch ended and its checkpoints stand."""

    def note(self, text: str) -> None:
        """Something a person should know."""


@dataclass(frozen=True, slots=True)
class Share:
    """What each worker of a training gets.

    Attributes:
        workers: processes.
        cpus, gpus: of each.
    """

    workers: int
    cpus: float
    gpus: float


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a cluster can give, with the machines that its autoscaler may still start."""

    cpus: float
    gpus: float


def capacity() -> Capacity:
    """Of the cluster that this process is connected to."""
    now = ray.cluster_resources()
    # No public call tells what an autoscaler may add; Ray Train itself asks this one.
    later = ray._private.state.state.get_max_resources_from_cluster_config() or {}

    def most(key: str) -> float:
        # An unbounded autoscaler says so by the largest integer.
        return float(max(now.get(key, 0), later.get(key, 0)))

    return Capacity(most("CPU"), most("GPU"))


def share(options: TrainRay, has: Capacity, *, device: str = "auto", whole: bool = False) -> Share:
    """Resolve `auto`, and refuse what the cluster can never give.

    Args:
        options: the `ray:` section.
        has: of the cluster.
        device: `training.device`; `cpu` leaves GPUs alone.
        whole: the cluster is ours alone: its CPUs are divided among the workers.

    Raises:
        ValueError: more workers or GPUs than there can ever be; says how many there can.
    """
    gpus = options.gpus_per_worker
    if device == "cpu":
        gpus = 0.0
    elif gpus == "auto":
        gpus = 1.0 if has.gpus >= 1 else 0.0
    if device == "cuda" and not gpus:
        raise ValueError(
            f"training.device cuda: ray.gpus_per_worker is 0 or the cluster has no GPU ({has.gpus:g}); use device: auto"
        )
    most = max(0, math.floor(has.cpus))
    if gpus:
        most = min(most, math.floor(has.gpus / gpus))
    workers = max(1, most) if options.workers == "auto" else options.workers
    if workers > most:
        each = "1 CPU" + (f" and {gpus:g} GPU" if gpus else "")
        raise ValueError(
            f"ray.workers {workers}: the cluster can never give more than {most} workers of {each} each "
            f"({has.cpus:g} CPUs, {has.gpus:g} GPUs in all). Lower ray.workers, or set it to auto."
        )
    cpus = float(max(1, math.floor(has.cpus) // workers)) if whole and not gpus else 1.0
    return Share(workers, cpus, float(gpus))


class _Posting(Listener):
    """Forwards what rank 0 hears to the driver."""

    def __init__(self, news: News) -> None:
        self.news = news

    def started(self, start: Start) -> None:
        self.news.post("started", start)

    def beat(self, beat: Beat) -> None:
        self.news.post("beat", beat)

    def epoch(self, report: EpochReport, model: nn.Module) -> None:
        self.news.post("epoch", report)

    def note(self, text: str) -> None:
        self.news.post("note", text)


def _work(task: dict[str, Any]) -> None:
    """One worker of a team, from its start or from the last checkpoint; what is no accident ends the run."""
    config, news = TrainConfig.model_validate_json(task["config"]), task["news"]
    # Ray sets OMP_NUM_THREADS to the whole CPUs of a worker, rounded down: 1 of the 1.99 within a trial.
    torch.set_num_threads(task["threads"])
    context = ray.train.get_context()
    team = _team(context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device())
    try:
        posting = _Posting(news) if team.rank == 0 else None
        # A trial that Tune ends and starts again must not be written by both of its runs.
        held = place(config.output.root) if task["trial"] and team.rank == 0 else None
        with nullcontext() if held is None else lock(held, wait_s=LEAVE_S):
            summary = session.run(config, team=team, listener=posting, stream=_stream)
    except Exception as error:
        if not _is_accident(error, team):
            # Starting again would only repeat it; the driver ends the run on hearing this.
            news.post("failed", _sentence(error, config), wait=True)
        raise
    if team.rank == 0:
        news.post("done", summary, wait=True)


def _stream(config: TrainConfig, team: Team) -> Feeds:
    # Ray Data takes a second to import: only those who stream pay for it.
    from mocap_ray.distributed.stream import stream_feeds

    return stream_feeds(config, team)


def _is_accident(error: Exception, team: Team) -> bool:
    """Whether a fresh start may help: a file system that is away, or a team that lost one of its members.

    The others then see a RuntimeError of gloo or NCCL, which nothing tells from one of torch's own; as those
    repeat, `ray.max_failures` ends them too.
    """
    collective = team.world > 1 and isinstance(error, RuntimeError)
    out_of_memory = isinstance(error, torch.OutOfMemoryError)
    return isinstance(error, OSError) or (collective and not out_of_memory)


def _sentence(error: Exception, config: TrainConfig) -> str:
    """A fault in words; of one that is no user's, the place as well."""
    if isinstance(error, ValueError):
        return str(error)
    first = (str(error).splitlines() or [""])[0]
    if isinstance(error, torch.OutOfMemoryError):
        return f"{first} Lower data.batch_size ({config.data.batch_size}), or add workers."
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {first} ({Path(last.filename).name}, line {last.lineno})"


def _team(rank: int, world: int, device: torch.device) -> Team:
    if world == 1:
        return Team(device=device)

    def wrap(module: nn.Module) -> nn.Module:
        ids = [device] if device.type == "cuda" else None
        # Buffers are statistics of the training split, equal in all ranks: nothing to send around each step.
        return nn.parallel.DistributedDataParallel(module, device_ids=ids, broadcast_buffers=False)

    def mean(values: dict[str, float]) -> dict[str, float]:
        total = torch.tensor(list(values.values()), dtype=torch.float64, device=device)
        torch.distributed.all_reduce(total)
        return dict(zip(values, (total / world).tolist(), strict=True))

    return Team(rank, world, device, wrap, mean)


def train(
    config: TrainConfig, listener: TrainListener, *, resume: bool = False, overwrite: bool = False
) -> dict[str, Any]:
    """Train one prior on the cluster that the config names.

    Args:
        config: the whole configuration.
        listener: is told of progress.
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
        session.prepare(config, resume=resume, overwrite=overwrite)
        # A Ray of our own takes the whole machine, so that its workers share all CPUs, however few they are.
        gpus = 0.0 if config.training.device == "cpu" or config.ray.gpus_per_worker == 0 else 1.0
        options = RayOptions(address=config.ray.address, gpus_per_worker=gpus)
        with connected(options) as cluster:
            part = share(config.ray, capacity(), device=config.training.device, whole=cluster.own)
            listener.cluster(cluster, part)
            return team_run(config, part, listener)


def team_run(
    config: TrainConfig, part: Share, listener: TrainListener, *, trial: bool = False
) -> dict[str, Any]:
    """Run a prepared training on the Ray that this process is connected to, with news to the listener.

    Args:
        config: with absolute paths.
        part: what each worker gets.
        listener: is called in the calling thread.
        trial: within a trial of Tune, whose own actor takes a hundredth of a CPU of the first worker.

    Raises:
        TrainingFailed: a fault that repeats, or more lost workers than `ray.max_failures`.
    """
    clean(place(config.output.root))
    news = News()
    resources = {"CPU": part.cpus - (TRIAL_CPU if trial else 0), **({"GPU": part.gpus} if part.gpus else {})}
    out = place(config.output.root)
    os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = str(HEALTH_S)
    trainer = TorchTrainer(
        _work,
        # As text: the process that controls the run need not import what a config is made of.
        train_loop_config={
            "config": config.model_dump_json(),
            "news": news,
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
            for kind, value in news.take():
                if kind == "failed":
                    raise TrainingFailed(value)
                if kind == "done":
                    summary = value
                else:
                    getattr(listener, kind)(value)
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
