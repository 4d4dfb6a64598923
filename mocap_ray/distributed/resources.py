"""What a cluster can give, and what each worker of a training gets of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import ray

from mocap_ray.errors import UserError
from mocap_ray.runs.train import TrainRay


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
        UserError: more workers or GPUs than there can ever be; says how many there can.
    """
    gpus = options.gpus_per_worker
    if device == "cpu":
        gpus = 0.0
    elif gpus == "auto":
        gpus = 1.0 if has.gpus >= 1 else 0.0
    if device == "cuda" and not gpus:
        raise UserError(
            f"training.device cuda: ray.gpus_per_worker is 0 or the cluster has no GPU ({has.gpus:g}); use device: auto"
        )
    most = max(0, math.floor(has.cpus))
    if gpus:
        most = min(most, math.floor(has.gpus / gpus))
    workers = max(1, most) if options.workers == "auto" else options.workers
    if workers > most:
        each = "1 CPU" + (f" and {gpus:g} GPU" if gpus else "")
        raise UserError(
            f"ray.workers {workers}: the cluster can never give more than {most} workers of {each} each "
            f"({has.cpus:g} CPUs, {has.gpus:g} GPUs in all). Lower ray.workers, or set it to auto."
        )
    cpus = float(max(1, math.floor(has.cpus) // workers)) if whole and not gpus else 1.0
    return Share(workers, cpus, float(gpus))
