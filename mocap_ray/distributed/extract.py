"""Extraction on Ray: converts an archive of motion into a data set of clips."""

from __future__ import annotations

from pathlib import Path

from mocap_ray.config import dump_yaml, read_yaml
from mocap_ray.dataset.build import prepare
from mocap_ray.dataset.product import ClipBuild
from mocap_ray.distributed.shards import ray_engine
from mocap_ray.runs.extract import ExtractConfig
from mocap_ray.shards.running import RunCallback, RunResult, run
from mocap_ray.storage import place


def plan(config: ExtractConfig, *, overwrite: bool = False, prune: bool = False) -> ClipBuild:
    """Plan an extraction without changing any file. Raises UserError with a remedy."""
    lists = None
    if Path(config.source.split).suffix in (".yaml", ".yml"):
        lists = read_yaml(Path(config.source.split))
    return prepare(
        config.source,
        config.body,
        config.motion,
        config.output,
        lists=lists,
        overwrite=overwrite,
        prune=prune,
        gpus=config.ray.gpus_per_worker,
    )


def extract(
    config: ExtractConfig,
    callback: RunCallback,
    *,
    overwrite: bool = False,
    prune: bool = False,
    strict: bool = False,
) -> RunResult:
    """Convert an archive into a data set; a second run resumes it, or adds new recordings.

    Args:
        config: the complete config.
        callback: is called on progress.
        overwrite: replace a data set that was made with another recipe.
        prune: remove recordings that are no longer in the archive.
        strict: fail on the first rejection.

    Raises:
        UserError: the run cannot start; nothing was changed.
        Locked: another run is writing this data set.
        RunFailed: some shards could not be written, or every recording was rejected.
    """
    return run(
        lambda: plan(config, overwrite=overwrite, prune=prune),
        lambda: ray_engine(config.ray),
        out=place(config.output.root),
        callback=callback,
        config=_without_secrets(config),
        strict=strict,
    )


def _without_secrets(config: ExtractConfig) -> str:
    """The config as YAML for the log, without the credentials that URIs may contain."""
    values = config.model_dump(mode="json")
    for section in ("source", "output"):
        for key in ("root", "segments", "texts", "split"):
            if "://" in str(values[section].get(key)):
                values[section][key] = place(values[section][key]).uri
    return dump_yaml(values)
