"""A round of reflow on Ray: pairs of noise and latents, by actors that hold the teacher."""

from __future__ import annotations

from mocap_ray.config import dump_yaml
from mocap_ray.dataset.reader import open
from mocap_ray.distributed.shards import ray_engine
from mocap_ray.generation.generator import Generator
from mocap_ray.generation.reflow import plan, random_requests
from mocap_ray.runs.job import require_lasting
from mocap_ray.runs.ray import RayOptions
from mocap_ray.shards.running import AnyBuild, RunCallback, RunResult, run
from mocap_ray.storage import place


def reflow(
    teacher: Generator,
    callback: RunCallback,
    *,
    data: str,
    split: str,
    count: int,
    seed: int,
    out: str,
    ray: RayOptions,
    overwrite: bool = False,
) -> RunResult:
    """Draw pairs with a teacher; a second run resumes it, or adds pairs if `count` is larger.

    Args:
        teacher: each worker loads it again.
        callback: is called on progress.
        data: the data set whose labels are drawn.
        split: of it.
        count: number of pairs.
        seed: of the first pair.
        out: root of the pairs.
        ray: the cluster.
        overwrite: whether to replace pairs made by another recipe.

    Raises:
        UserError: the run cannot start; nothing was changed.
        Locked: another run is writing these pairs.
        RunFailed: some shards could not be made.
    """
    model = teacher.sampling.model
    require_lasting({"TEACHER": model, "--data": data, "--out": out})
    where = place(out)

    def prepared() -> AnyBuild:
        source = open(data)
        requests = random_requests(teacher, source, split=split, count=count, seed=seed)
        settings = {"data": source.manifest["recipe_hash"], "split": split, "seed": seed}
        return plan(requests, teacher, out=where, settings=settings, overwrite=overwrite)

    log = {"teacher": model, "sha256": teacher.sha256, "data": data, "split": split, "pairs": count}
    return run(
        prepared,
        lambda: ray_engine(ray, note=callback.on_note),
        out=where,
        callback=callback,
        config=dump_yaml(log),
    )
