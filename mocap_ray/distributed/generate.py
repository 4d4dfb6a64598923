"""Generating at scale: a file of requests becomes a data set of clips, by Ray Data actors that hold the model."""

from __future__ import annotations

from collections.abc import Mapping

from mocap_ray.config import dump_yaml
from mocap_ray.distributed.shards import ray_engine
from mocap_ray.generation.generated import plan
from mocap_ray.generation.generator import Generator
from mocap_ray.generation.requests import Request
from mocap_ray.runs.job import require_lasting
from mocap_ray.runs.ray import RayOptions
from mocap_ray.shards.running import RunCallback, RunResult, run
from mocap_ray.storage import place


def generate(
    generator: Generator,
    requests: Mapping[str, Request],
    callback: RunCallback,
    *,
    out: str,
    ray: RayOptions,
    overwrite: bool = False,
) -> RunResult:
    """Generate a data set of clips; a second run resumes it, or adds new requests.

    Args:
        generator: the model; each worker loads it again.
        requests: by the place that each comes from.
        callback: is called on progress.
        out: root of the data set.
        ray: the cluster.
        overwrite: whether to replace a data set made by another recipe.

    Raises:
        UserError: the run cannot start; nothing was changed.
        Locked: another run is writing this data set.
        RunFailed: some shards could not be made.
    """
    model = generator.sampling.model
    require_lasting({"MODEL": model, "--out": out})
    where = place(out)
    log = {"model": model, "sha256": generator.sha256, "motions": len(requests)}
    return run(
        lambda: plan(requests, generator, out=where, overwrite=overwrite),
        lambda: ray_engine(ray, note=callback.on_note),
        out=where,
        callback=callback,
        config=dump_yaml(log),
    )
