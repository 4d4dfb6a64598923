"""A pass over the shards of a data set on Ray Data: one task for a few shards, small results."""

from __future__ import annotations

import logging
import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import ray.data
from ray.data import DataContext, TaskPoolStrategy
from ray.exceptions import OutOfMemoryError, RayError, WorkerCrashedError

from mocap_ray.dataset.passes import Pass
from mocap_ray.distributed.cluster import connected
from mocap_ray.runs.ray import RayOptions
from mocap_ray.shards.running import RunFailed

TASK_RETRIES = 2
PER_TASK = 8
"""Items of a task at most, so that starting tasks costs little and progress is seen."""


@contextmanager
def ray_pass(options: RayOptions) -> Iterator[Pass]:
    """Connect to the Ray cluster of the options, or start a local one, inside the block."""
    with connected(options) as cluster:

        def run(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
            yield from _run(function, items, cluster.workers)

        yield run


def _run(function: Callable[[Any], Any], items: Sequence[Any], workers: int) -> Iterator[Any]:
    """The results as they are ready. Raises what the function raises, and RunFailed if workers die."""
    if not items:
        return
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    per_task = max(1, min(PER_TASK, len(items) // (4 * workers)))
    with DataContext.current(context), warnings.catch_warnings():
        # Ray 2.60 deprecates options by keyword, but has no other way to limit the retries of a task.
        warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
        rows = [{"item": pickle.dumps(item)} for item in items]
        data = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // per_task)).map_batches(
            _apply,
            fn_kwargs={"function": function},
            batch_size=per_task,
            batch_format="pyarrow",
            num_cpus=1,
            compute=TaskPoolStrategy(size=workers),
            max_retries=TASK_RETRIES,
        )
        try:
            for batch in data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                for result in batch["result"].to_pylist():
                    value = pickle.loads(result)
                    if isinstance(value, _Failed):
                        raise value.error
                    yield value
        except (WorkerCrashedError, OutOfMemoryError) as error:
            raise RunFailed(
                "a worker died several times while it read the data set: out of memory, or a crash in native code. "
                "Use fewer workers (--workers)."
            ) from error
        except RayError as error:
            raise RunFailed(f"Ray failed: {str(error).splitlines()[0]}") from error


class _Failed:
    """What the function raised, as a value: Ray would wrap it."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _apply(batch: pa.Table, function: Callable[[Any], Any]) -> Iterator[pa.Table]:
    """The task."""
    pa.set_cpu_count(1)
    for item in batch["item"].to_pylist():
        try:
            value = function(pickle.loads(item))
        except Exception as error:
            value = _Failed(error)
        yield pa.table({"result": pa.array([pickle.dumps(value)], pa.large_binary())})
