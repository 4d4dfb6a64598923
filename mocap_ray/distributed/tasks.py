"""Shards as tasks of Ray Data: what travels, what comes back, and what happens when a worker dies."""

from __future__ import annotations

import json
import logging
import pickle
import resource
import socket
import time
import traceback
import warnings
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass

import pyarrow as pa
import ray
import ray.data
from ray.data import DataContext, TaskPoolStrategy
from ray.exceptions import NodeDiedError, OutOfMemoryError, WorkerCrashedError

from mocap_ray.dataset.process import Plan, process
from mocap_ray.dataset.shards import Group, Rejected, make
from mocap_ray.distributed.cluster import Cluster
from mocap_ray.records import Recording
from mocap_ray.storage import Place

TASK_RETRIES = 2
"""How often Ray starts a shard again whose worker died, before its recordings are read one by one."""
PROBES = 2
"""How often a recording may kill a worker that reads nothing else, before it is rejected."""
SHARDS_PER_TASK = 4
"""At most; fewer where there would be less than eight tasks a worker."""
NO_PROGRESS_S = 300
"""Ray Data gives up when nothing moves for so long; the longest shard takes seconds."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a task says of its shard; 1 kB, whatever the shard holds. `peak_mb`: memory its process took so far."""

    shard: str
    ok: bool
    recordings: int = 0
    clips: int = 0
    frames: int = 0
    rejected: int = 0
    busy_s: float = 0.0
    peak_mb: float = 0.0
    host: str = ""
    error: str = ""
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class Setup:
    """What every task needs beside its group: kilobytes, 1 MB with segments; sent once per execution."""

    plan: Plan
    out: Place
    recipe_hash: str
    metadata: dict[str, str]
    strict: bool
    gpus: float = 0.0


def on_ray_data(
    groups: Sequence[Group],
    setup: Setup,
    cluster: Cluster,
    *,
    per_task: int,
    dead: dict[str, str] | None = None,
) -> Generator[Report, None, None]:
    """Reports of the groups as their shards are made, in any order; none for a group whose workers died.

    Who stops early closes it: Ray Data's own thread must have ended before Ray does, or it takes the process along.
    """
    if not groups:
        return
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    items = [{"group": pickle.dumps(g)} for g in groups]
    with DataContext.current(_context(cluster)), warnings.catch_warnings():
        # Ray 2.60 deprecates options by keyword and names no other way to bound the retries of a task.
        warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
        blocks = -(-len(items) // per_task)
        data = ray.data.from_items(items, override_num_blocks=blocks).map_batches(
            make_batch,
            batch_size=per_task,
            batch_format="pyarrow",
            compute=TaskPoolStrategy(size=cluster.workers),
            fn_kwargs={"setup": setup, "dead": dead or {}},
            num_cpus=1,
            num_gpus=setup.gpus,
            max_retries=TASK_RETRIES,
        )
        for batch in data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for text in batch["report"].to_pylist():
                yield Report(**json.loads(text))


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


def make_batch(batch: pa.Table, setup: Setup, dead: dict[str, str]) -> Iterator[pa.Table]:
    """The task: make the shards of a batch of pickled groups; errors come back as reports, too."""
    pa.set_cpu_count(1)
    for item in batch["group"].to_pylist():
        report = _make_one(pickle.loads(item), setup, dead)
        yield pa.table({"report": [json.dumps(asdict(report))]})


def _make_one(group: Group, setup: Setup, dead: dict[str, str]) -> Report:
    """One shard, and what to say of it."""
    since = time.monotonic()
    try:
        receipt = make(
            group,
            setup.plan,
            setup.out,
            recipe_hash=setup.recipe_hash,
            metadata=setup.metadata,
            dead=dead,
            strict=setup.strict,
        )
    except (Rejected, ValueError) as error:
        return Report(group.name, ok=False, error=str(error), fatal=True)
    except OSError as error:
        return Report(group.name, ok=False, error=str(error), fatal=str(error).startswith("writing"))
    except Exception:
        return Report(group.name, ok=False, error=f"{group.path}: {traceback.format_exc()}")
    return Report(
        group.name,
        ok=True,
        recordings=len(receipt.inputs),
        clips=receipt.rows,
        frames=receipt.frames,
        rejected=len(receipt.rejections),
        busy_s=time.monotonic() - since,
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        host=socket.gethostname(),
    )


def dead_recordings(group: Group, setup: Setup, cluster: Cluster) -> dict[str, str]:
    """Read each recording of a group in a task of its own, and name those that kill their process."""
    probe = ray.remote(num_cpus=1, num_gpus=setup.gpus, max_retries=0)(_probe)
    deaths = {r.name: 0 for r in group.recordings}
    suspects = list(group.recordings)
    for _ in range(PROBES):
        killers = []
        for start in range(0, len(suspects), cluster.workers):
            window = suspects[start : start + cluster.workers]
            tasks = [probe.remote(recording, setup) for recording in window]
            for recording, task in zip(window, tasks, strict=True):
                try:
                    ray.get(task)
                except (WorkerCrashedError, OutOfMemoryError, NodeDiedError):
                    deaths[recording.name] += 1
                    killers.append(recording)
        suspects = killers
    text = (
        "the process that reads it dies every time, alone as well: out of memory, or a crash in native code"
    )
    return {r.name: text for r in suspects if deaths[r.name] == PROBES}


def _probe(recording: Recording, setup: Setup) -> None:
    """Whether reading a recording kills its process; what else goes wrong shows when its shard is made."""
    try:
        process(recording, setup.plan)
    except Exception:
        return
