"""The resources of a cluster, and the resources of each worker of a training."""

from __future__ import annotations

import math
from dataclasses import dataclass

import ray

from mocap_ray.errors import UserError
from mocap_ray.runs.ray import RayOptions
from mocap_ray.runs.train import TrainRay
from mocap_ray.wording import counted


@dataclass(frozen=True, slots=True)
class Share:
    """The resources of each worker of a training.

    Attributes:
        workers: number of processes.
        cpus, gpus: per process.
    """

    workers: int
    cpus: float
    gpus: float

    @property
    def bundles(self) -> list[dict[str, float]]:
        """The resources of all workers, as Ray writes them."""
        return [{"CPU": self.cpus, **({"GPU": self.gpus} if self.gpus else {})}] * self.workers


@dataclass(frozen=True, slots=True)
class Capacity:
    """The resources that a cluster has, or may grow to."""

    cpus: float
    gpus: float


def amount(number: float, unit: str) -> str:
    """A number of CPUs or GPUs, which may be fractional.

    >>> amount(1.0, "GPU"), amount(0.5, "GPU"), amount(16.0, "CPU")
    ('1 GPU', '0.5 GPUs', '16 CPUs')
    """
    return f"{number:g} {unit if number == 1 else f'{unit}s'}"


def capacity(options: RayOptions | None = None) -> Capacity:
    """The capacity of the cluster that this process is connected to.

    Args:
        options: with `max_workers`, the cluster may grow to hold so many: Ray 2.60 does not say what its autoscaler
            may add.
    """
    now = ray.cluster_resources()
    more = (options.max_workers or 0) if options is not None else 0
    # `auto` is text: whether the nodes to come have GPUs is unknown.
    each = (
        options.gpus_per_worker if options is not None and not isinstance(options.gpus_per_worker, str) else 0
    )
    return Capacity(float(max(now.get("CPU", 0), more)), float(max(now.get("GPU", 0), more * each)))


def share(options: TrainRay, has: Capacity, *, device: str = "auto", whole: bool = False) -> Share:
    """Resolve `auto`, and check that the cluster can provide the resources.

    Args:
        options: the section `ray`.
        has: capacity of the cluster.
        device: `training.device`; with `cpu` no GPUs are used.
        whole: no other run uses the cluster: its CPUs are divided among the workers.

    Raises:
        UserError: more workers or GPUs are requested than the cluster can ever provide; says how many it can.
    """
    gpus = options.gpus_per_worker
    if device == "cpu":
        gpus = 0.0
    elif gpus == "auto":
        gpus = 1.0 if has.gpus >= 1 else 0.0
    if device == "cuda" and not gpus:
        raise UserError(
            f"training.device cuda: ray.gpus_per_worker is 0, or the cluster has no GPU ({has.gpus:g} found). Use "
            "device: auto."
        )
    most = max(0, math.floor(has.cpus))
    if gpus:
        most = min(most, math.floor(has.gpus / gpus))
    workers = max(1, min(most, options.max_workers or most)) if options.workers == "auto" else options.workers
    if workers > most:
        each = "1 CPU" + (f" and {amount(gpus, 'GPU')}" if gpus else "")
        raise UserError(
            f"ray.workers {workers}: the cluster has room for at most {counted(most, 'worker')} with {each} each "
            f"({amount(has.cpus, 'CPU')} and {amount(has.gpus, 'GPU')} in total). Lower ray.workers, or set it to "
            "auto."
        )
    cpus = float(max(1, math.floor(has.cpus) // workers)) if whole and not gpus else 1.0
    return Share(workers, cpus, float(gpus))
