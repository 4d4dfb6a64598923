"""Extraction of single poses on Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mocap_ray.archives.splits import checked_lists
from mocap_ray.config import dump_yaml, read_yaml
from mocap_ray.dataset.single.build import prepare
from mocap_ray.dataset.single.product import PoseBuild
from mocap_ray.distributed.shards import ray_engine
from mocap_ray.runs.extraction import PoseExtractConfig
from mocap_ray.shards.running import RunCallback, RunResult, run
from mocap_ray.storage import place


def plan(config: PoseExtractConfig, *, overwrite: bool = False, prune: bool = False) -> PoseBuild:
    """Plan an extraction without changing any file. Raises UserError with a remedy."""
    config.require_lasting()
    path = Path(config.source.split)
    lists = checked_lists(read_yaml(path), str(path)) if path.suffix in (".yaml", ".yml") else None
    return prepare(config.source, config.output, lists=lists, overwrite=overwrite, prune=prune)


def extract_poses(
    config: PoseExtractConfig,
    callback: RunCallback,
    *,
    overwrite: bool = False,
    prune: bool = False,
    strict: bool = False,
) -> RunResult:
    """Convert files of poses into a data set of single poses; a second run resumes it, or adds new files.

    Arguments and errors are those of `extract.extract`.
    """
    config.require_lasting()
    return run(
        lambda: plan(config, overwrite=overwrite, prune=prune),
        lambda: ray_engine(config.ray, note=callback.on_note),
        out=place(config.output.root),
        callback=callback,
        config=dump_yaml(_logged(config)),
        strict=strict,
    )


def _logged(config: PoseExtractConfig) -> dict[str, Any]:
    """The config for the log: absolute paths, and addresses without credentials."""
    values = config.model_dump(mode="json")

    def lasting(text: str) -> str:
        found = place(text)
        return found.uri if "://" in text else found.path

    values["source"]["root"] = [lasting(root) for root in config.source.roots]
    values["output"]["root"] = lasting(config.output.root)
    for key, kept in (("split", ("name", "none")), ("hand_model", (None,))):
        if values["source"][key] not in kept:
            values["source"][key] = lasting(values["source"][key])
    return values
