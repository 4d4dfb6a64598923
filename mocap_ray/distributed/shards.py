"""Writing shards on Ray Data: tasks and actors, their reports, and the death of workers.

A task writes complete shards; Ray transfers only small reports. A product with a setup runs in actors, which stay
alive; a product without one runs in tasks.
"""

from __future__ import annotations

import json
import logging
import pickle
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, cast

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext, TaskPoolStrategy
from ray.data._internal.execution.backpressure_policy import ConcurrencyCapBackpressurePolicy
from ray.exceptions import NodeDiedError, OutOfMemoryError, WorkerCrashedError

from mocap_ray.distributed.cluster import Cluster, connected
from mocap_ray.distributed.metrics import ShardMetrics, run_name
from mocap_ray.distributed.reach import require_reach
from mocap_ray.distributed.waiting import Note, wait_for
from mocap_ray.errors import UserError
from mocap_ray.runs.ray import RayOptions
from mocap_ray.shards.reports import ShardReport, bug, report
from mocap_ray.shards.running import TASK_RETRIES, AnyJob, AnyShard, Engine
from mocap_ray.wording import counted

NO_PROGRESS_S, NO_PROGRESS_KEPT_S = 900, 4 * 3600
"""Ray Data fails after this many seconds without progress. The longest shard takes seconds, but Ray 2.60 may take five
minutes to give up the tasks of a node that lost its power, and meanwhile start no others. One of a product with a setup
may take an hour: a large network on a CPU."""


@contextmanager
def ray_engine(options: RayOptions, *, note: Note = print) -> Iterator[Engine]:
    """Connect to the Ray cluster of the config, or start a local one, inside the block.

    Args:
        options: the section `ray` of the config.
        note: is called with a sentence while the run waits for nodes.
    """
    with connected(options) as cluster:
        yield RayEngine(cluster, note=note, wait_s=options.wait_s)


class RayEngine:
    """Writes shards on a connected Ray cluster."""

    def __init__(self, cluster: Cluster, *, note: Note = print, wait_s: float = 900.0) -> None:
        self.cluster, self.note, self.wait_s = cluster, note, wait_s
        self.metrics: ShardMetrics | None = None

    @property
    def workers(self) -> int:
        """Number of processes."""
        return self.cluster.workers

    @property
    def joined(self) -> str:
        """Description of the cluster; empty for a local Ray instance."""
        return "" if self.cluster.own else f"a cluster of {counted(self.cluster.nodes, 'node')}"

    @property
    def versions(self) -> Mapping[str, str]:
        """Version of Ray."""
        return {"ray": ray.__version__}

    def make(
        self,
        shards: Sequence[AnyShard],
        job: AnyJob,
        *,
        per_task: int,
        dead: Mapping[str, str] | None = None,
    ) -> Generator[ShardReport, None, None]:
        """Yield reports of the shards as they finish, in any order; none for a shard whose workers died.

        Close the generator to stop early: the thread of Ray Data must end before Ray does, or it kills the process.
        """
        if not shards:
            return
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        if self.metrics is None:
            self.metrics = ShardMetrics(run_name(job.out.uri))
        takes = job.product.resources
        if not self.cluster.own:
            # The first worker; the tasks that wait for a CPU ask for the others.
            bundle = {"CPU": takes.cpus, **({"GPU": takes.gpus} if takes.gpus else {})}
            wait_for([bundle], self.note, at_most_s=self.wait_s, of="this run")
            require_reach(reads=job.product.reads, writes={"output.root": job.out})
        items = _Pickled(shards)
        context = _context(self.cluster, kept=job.product.needs_setup)
        with DataContext.current(context), warnings.catch_warnings():
            # Ray 2.60 deprecates options by keyword, but has no other way to limit the retries of a task.
            warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
            blocks = -(-len(items) // per_task)
            # Ray Data asks for a length and for items by number.
            data = ray.data.from_items(cast("list[Any]", items), override_num_blocks=blocks).map_batches(
                **_worker(job, dict(dead or {}), min(self.workers, blocks)),
                batch_size=per_task,
                batch_format="pyarrow",
                num_cpus=takes.cpus,
                num_gpus=takes.gpus,
            )
            for batch in data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                for text in batch["report"].to_pylist():
                    made = ShardReport(**json.loads(text))
                    self.metrics.add(made)
                    yield made

    def dying(self, inputs: Sequence[Any], job: AnyJob) -> set[str]:
        """Read each input in a separate task; returns the names of those whose process died."""
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


class _Pickled(Sequence[dict[str, bytes]]):
    """Shards as items of Ray Data, each pickled when it is asked for: those of a million recordings take 100 MB."""

    def __init__(self, shards: Sequence[AnyShard]) -> None:
        self.shards = shards

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, number: Any) -> Any:
        return {"shard": pickle.dumps(self.shards[number])}


def _worker(job: AnyJob, dead: dict[str, str], workers: int) -> dict[str, Any]:
    """Arguments of `map_batches`: for a task, or for an actor if the product has a setup."""
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
        "compute": ActorPoolStrategy(size=_actors(workers, job), max_tasks_in_flight_per_actor=1),
        "max_restarts": -1,  # a worker killed by a shard is restarted for the other shards
        "max_task_retries": TASK_RETRIES,
    }


def _actors(workers: int, job: AnyJob) -> int:
    """Actors that fit: of a product that needs GPUs, as many as the cluster has GPUs for, and at least one."""
    gpus = job.product.resources.gpus
    return workers if not gpus else max(1, min(workers, int(ray.cluster_resources().get("GPU", 0) / gpus)))


def _context(cluster: Cluster, *, kept: bool) -> DataContext:
    """Settings of Ray Data for one execution; `kept`: by workers that are kept alive."""
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = NO_PROGRESS_KEPT_S if kept else NO_PROGRESS_S
    # A task whose worker died too often is dropped here, and detected by its missing report.
    context.max_errored_blocks = -1
    # Backpressure protects the object store, but a report takes only 1 kB. It also limits the tasks in flight to the
    # number of CPUs. Ray Data polls finished tasks every 0.1 s, so CPUs would idle between tasks: the speed is 0.5 of
    # multiprocessing.Pool(2) with backpressure, 0.95 without. The CPUs limit the running tasks anyway, and tasks that
    # wait for a CPU make an autoscaler add nodes. If other runs share the cluster, `ray.workers` limits the tasks.
    policies = [] if cluster.whole else [ConcurrencyCapBackpressurePolicy]
    context.set_config("backpressure_policies.enabled", policies)
    return context


def make_batch(batch: pa.Table, job: AnyJob, dead: dict[str, str]) -> Iterator[pa.Table]:
    """The task: write a batch of pickled shards; errors are returned as reports."""
    pa.set_cpu_count(1)
    for item in batch["shard"].to_pylist():
        yield _row(report(pickle.loads(item), job, dead))


class KeptWorker:
    """The actor: sets up the product before its first shard, and writes shards until the run ends."""

    def __init__(self, job: AnyJob, dead: dict[str, str]) -> None:
        self.job = job
        self.dead = dead
        self.ready: AnyJob | None = None

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Write the shards of a batch; a failed `setup` is returned as a report."""
        if self.ready is None:
            try:
                self.ready = self.job.ready()
            except Exception as error:
                yield from (
                    _row(_setup_failed(pickle.loads(item), error)) for item in batch["shard"].to_pylist()
                )
                return
        yield from make_batch(batch, self.ready, self.dead)


def _setup_failed(shard: AnyShard, error: Exception) -> ShardReport:
    text = str(error) if isinstance(error, UserError) else bug(f"{shard.path}: setup", error)
    return ShardReport(shard.name, ok=False, error=text, fatal=True)


def _row(made: ShardReport) -> pa.Table:
    return pa.table({"report": [json.dumps(asdict(made))]})


def _probe(input: Any, job: AnyJob) -> None:
    """Read an input to see whether it kills the process; other errors are reported when its shard is written."""
    try:
        job.ready().product.process(input)
    except Exception:
        return
