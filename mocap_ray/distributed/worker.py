"""One worker of a training: the function that Ray Train runs in each process."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import ray.train
import ray.train.torch
import torch
from torch import nn

from mocap_ray.distributed.callbacks import ForwardToDriver
from mocap_ray.distributed.metrics import TrainMetrics
from mocap_ray.errors import UserError, bug_report
from mocap_ray.lock import Locked, lock
from mocap_ray.runs.train import TrainConfig
from mocap_ray.storage import place
from mocap_ray.training import lockstep
from mocap_ray.training.callbacks import CallbackList
from mocap_ray.training.streaming import ShardReader
from mocap_ray.training.team import Team

LEAVE_S = 60.0
"""How long to wait for the workers of a stopped trial to exit."""


def work(task: dict[str, Any]) -> None:
    """Run one worker, from the start or from the last checkpoint; an error that a retry cannot fix stops the run."""
    config, events = TrainConfig.model_validate_json(task["config"]), task["events"]
    # Ray sets OMP_NUM_THREADS to the whole CPUs of a worker, rounded down: 1 of the 1.99 within a trial.
    torch.set_num_threads(task["threads"])
    context = ray.train.get_context()
    team = _team(context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device())
    try:
        forward = None
        if team.rank == 0:
            forward = CallbackList([ForwardToDriver(events), TrainMetrics(config.output.root)])
        # When Tune restarts a trial, its old and its new run must not write at the same time.
        out = place(config.output.root) if task["trial"] and team.rank == 0 else None
        with nullcontext() if out is None else lock(out, what="training", wait_s=LEAVE_S):
            setup = replace(config.setup(), searched=task["searched"])
            summary = lockstep.run(setup, team=team, callback=forward, reader=_reader)
    except Exception as error:
        if not _is_retryable(error, team):
            # A restart would fail again; the driver stops the run on this event.
            events.put("failed", _error_message(error, config), wait=True)
        elif not isinstance(error, OSError):
            events.put("retried", _error_message(error, config), wait=True)
        raise
    if team.rank == 0:
        events.put("done", summary, wait=True)


def _reader() -> ShardReader:
    # Imported here because Ray Data takes a second to import, and only streaming needs it.
    from mocap_ray.distributed.stream import RayDataReader

    return RayDataReader()


def _is_retryable(error: Exception, team: Team) -> bool:
    """Whether a restart may help: after an I/O error, or after the loss of a worker.

    If a worker is lost, the others get a RuntimeError from gloo or NCCL, which cannot be distinguished from other
    RuntimeErrors of torch. Those are retried too, until `ray.max_failures` is reached.
    """
    collective = team.world > 1 and isinstance(error, RuntimeError)
    out_of_memory = isinstance(error, torch.OutOfMemoryError)
    return isinstance(error, OSError) or (collective and not out_of_memory)


def _error_message(error: Exception, config: TrainConfig) -> str:
    """The message of an error; a bug also shows its traceback."""
    if isinstance(error, UserError | Locked):
        return str(error)
    if isinstance(error, torch.OutOfMemoryError):
        first = (str(error).splitlines() or [""])[0]
        return f"{first} Lower data.batch_size ({config.data.batch_size}), or add workers."
    return bug_report(error, code="the code that trains")


def _team(rank: int, world: int, device: torch.device) -> Team:
    if world == 1:
        return Team(device=device)

    def wrap(module: nn.Module) -> nn.Module:
        ids = [device] if device.type == "cuda" else None
        # Buffers are statistics of the training split, equal on all ranks, or running means of which rank 0 saves its
        # own: there is nothing to broadcast.
        return nn.parallel.DistributedDataParallel(module, device_ids=ids, broadcast_buffers=False)

    def mean(values: dict[str, float]) -> dict[str, float]:
        total = torch.tensor(list(values.values()), dtype=torch.float64, device=device)
        torch.distributed.all_reduce(total)
        return dict(zip(values, (total / world).tolist(), strict=True))

    def gather(value: Any) -> list[Any]:
        parts: list[Any] = [None] * world
        torch.distributed.all_gather_object(parts, value)
        return parts

    return Team(rank, world, device, wrap, mean, gather)
