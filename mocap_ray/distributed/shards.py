"""Shards on Ray Data: what travels, what comes back, and what happens when a worker dies.

One task makes one shard whole; Ray carries only small reports. A product that has something to set up gets workers that
stay alive (actors), one that has not gets tasks.
"""

from __future__ import annotations

import json
import logging
import pickle
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext, TaskPoolStrategy
from ray.exceptions import NodeDiedError, OutOfMemoryError, WorkerCrashedError

from mocap_ray.distributed.cluster import Cluster, connected
from mocap_ray.runs.ray import RayOptions
from mocap_ray.shards.reports import ShardReport, bug, report
from mocap_ray.shards.running import TASK_RETRIES, AnyJob, AnyShard, Engine

NO_PROGRESS_S = 300
"""Ray Data gives up when nothing moves for so long; the longest shard takes seconds."""


@contextmanager
def ray_engine(options: RayOptions) -> Iterator[Engine]:
    """The Ray that the config names, or one of our own, for the time of the block."""
    with connected(options) as cluster:
        yield RayEngine(cluster)


class RayEngine:
    """Makes shards on a connected Ray."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    @property
    def workers(self) -> int:
        """Processes at once."""
        return self.cluster.workers

    @property
    def joined(self) -> str:
        """The cluster, where it is not our own."""
        return "" if self.cluster.own else f"a cluster of {self.cluster.nodes} nodes"

    @property
    def versions(self) -> Mapping[str, str]:
        """Ray's."""
        return {"ray": ray.__version__}

    def make(
        self,
        shards: Sequence[AnyShard],
        job: AnyJob,
        *,
        per_task: int,
        dead: Mapping[str, str] | None = None,
    ) -> Generator[ShardReport, None, None]:
        """Reports of the shards as they are made, in any order; none for a shard whose workers died.

        Who stops early closes it: Ray Data's own thread must have ended before Ray does, or it takes the process along.
        """
        if not shards:
            return
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        items = [{"shard": pickle.dumps(s)} for s in shards]
        with DataContext.current(_context(self.cluster)), warnings.catch_warnings():
            # Ray 2.60 deprecates options by keyword and names no other way to bound the retries of a task.
            warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
            blocks = -(-len(items) // per_task)
            data = ray.data.from_items(items, override_num_blocks=blocks).map_batches(
                **_worker(job, dict(dead or {}), self.workers),
                batch_size=per_task,
                batch_format="pyarrow",
                num_cpus=job.product.resources.cpus,
                num_gpus=job.product.resources.gpus,
            )
            for batch in data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                for text in batch["report"].to_pylist():
                    yield ShardReport(**json.loads(text))

    def dying(self, inputs: Sequence[Any], job: AnyJob) -> set[str]:
        """Read each input in a task of its own; the names of those whose process died."""
        takes = job.product.resources
        probe = ray.remote(num_cpus=takes.cpus, num_gpus=takes.gpus, max_retries=0, max_calls=1)(_probe)
        died = set()
        for start in range(0, len(inputs), self.workers):
            window = inputs[start : start + self.workers]
            tasks = [probe.remote(input, job) for input in window]
            for input, task in zip(window, tasks, strict=True):
                try:
                    ray.get(task)
                except (WorkerCrashedError, OutOfMemoryError, NodeDiedError):
                    died.add(input.name)
        return died


def _worker(job: AnyJob, dead: dict[str, str], workers: int) -> dict[str, Any]:
    """Arguments of `map_batches`: a task, or an actor where something is set up."""
    arguments = {"job": job, "dead": dead}
    if not job.product.needs_setup:
        return {
            "fn": make_batch,
            "fn_kwargs": arguments,
            "compute": TaskPoolStrategy(size=workers),
            "max_retries": TASK_RETRIES,
        }
    return {
        "fn": KeptWorker,
        "fn_constructor_kwargs": arguments,
        "compute": ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
        "max_restarts": -1,  # a shard that kills its worker leaves the worker to the others
        "max_task_retries": TASK_RETRIES,
    }


def _context(cluster: Cluster) -> DataContext:
    """Settings of Ray Data for one execution."""
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = NO_PROGRESS_S
    # A task whose worker died too often is dropped here and seen by its missing report.
    context.max_errored_blocks = -1
    if cluster.whole:
        # Backpressure guards the object store, where a report takes 1 kB, and keeps only as many tasks in
        # flight as there are CPUs; as Ray Data looks for finished tasks every 0.1 s, CPUs then idle between
        # tasks: 0.5 of multiprocessing.Pool(2) with it, 0.95 without. The CPUs bound what runs at once.
        context.set_config("backpressure_policies.enabled", [])
    return context


def make_batch(batch: pa.Table, job: AnyJob, dead: dict[str, str]) -> Iterator[pa.Table]:
    """The task: make the shards of a batch of pickled ones; errors come back as reports, too."""
    pa.set_cpu_count(1)
    for item in batch["shard"].to_pylist():
        yield _row(report(pickle.loads(item), job, dead))


class KeptWorker:
    """The actor: sets the product up before its first shard, and makes shards until the run ends."""

    def __init__(self, job: AnyJob, dead: dict[str, str]) -> None:
        self.job = job
        self.dead = dead
        self.ready: AnyJob | None = None

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Make the shards of a batch; a `setup` that fails is a report, too."""
        if self.ready is None:
            try:
                self.ready = self.job.ready()
            except Exception as error:
                yield from (
                    _row(_not_set_up(pickle.loads(item), error)) for item in batch["shard"].to_pylist()
                )
                return
        yield from make_batch(batch, self.ready, self.dead)


def _not_set_up(shard: AnyShard, error: Exception) -> ShardReport:
    from mocap_ray.errors import UserError

    text = str(error) if isinstance(error, UserError) else bug(f"{shard.path}: setup: {error}")
    return ShardReport(shard.name, ok=False, error=text, fatal=True)


def _row(made: ShardReport) -> pa.Table:
    return pa.table({"report": [json.dumps(asdict(made))]})


def _probe(input: Any, job: AnyJob) -> None:
    """Whether reading an input kills its process; what else goes wrong shows when its shard is made."""
    try:
        job.ready().product.process(input)
    except Exception:
        return
