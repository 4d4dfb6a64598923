"""Extraction on Ray: converts an archive of motion into a data set of clips."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mocap_ray.archives import find_archive, named_split
from mocap_ray.archives.rigs.rig import known
from mocap_ray.archives.segments import SegmentIndex
from mocap_ray.archives.splits import checked_lists
from mocap_ray.config import dump_yaml, read_yaml
from mocap_ray.dataset.build import prepare
from mocap_ray.dataset.exclusion import Change, prepare_change
from mocap_ray.dataset.product import ClipBuild
from mocap_ray.dataset.recipe import source_name
from mocap_ray.distributed.shards import ray_engine
from mocap_ray.errors import UserError
from mocap_ray.runs.extract import ExtractConfig
from mocap_ray.shards.running import RunCallback, RunResult, run
from mocap_ray.storage import place


def plan(
    config: ExtractConfig,
    *,
    overwrite: bool = False,
    prune: bool = False,
    index: SegmentIndex | None = None,
) -> ClipBuild:
    """Plan an extraction without changing any file. Raises UserError with a remedy."""
    config.require_lasting()
    return prepare(
        config.source,
        config.body,
        config.motion,
        config.output,
        lists=_lists(config),
        index=index,
        overwrite=overwrite,
        prune=prune,
        gpus=config.ray.gpus_per_worker,
    )


def _lists(config: ExtractConfig) -> dict[str, list[str]] | None:
    """The content of the YAML file that `source.split` names, if any."""
    path = Path(config.source.split)
    return checked_lists(read_yaml(path), str(path)) if path.suffix in (".yaml", ".yml") else None


def extract(
    config: ExtractConfig,
    callback: RunCallback,
    *,
    overwrite: bool = False,
    prune: bool = False,
    strict: bool = False,
    index: SegmentIndex | None = None,
) -> RunResult:
    """Convert an archive into a data set; a second run resumes it, or adds new recordings.

    Args:
        config: the complete config.
        callback: is called on progress.
        overwrite: replace a data set that was made with another recipe.
        prune: remove recordings that are no longer in the archive.
        strict: fail on the first rejection.
        index: what `source.segments` names, if it was read already.

    Raises:
        UserError: the run cannot start; nothing was changed.
        Locked: another run is writing this data set.
        RunFailed: some shards could not be written, or every recording was rejected.
    """
    config.require_lasting()

    def prepared() -> ClipBuild:
        return plan(config, overwrite=overwrite, prune=prune, index=index)

    return _run(config, prepared, callback, strict=strict)


def change_exclusions(config: ExtractConfig, change: Change, callback: RunCallback) -> RunResult:
    """Take recordings out of a data set for good, or in again; only their shards are remade.

    Args:
        config: the config that made the data set; `output.root` is the data set.
        change: what to take out or in.
        callback: is called on progress.

    Raises:
        UserError: the change is impossible, or the shards cannot be remade; nothing was changed.
        Locked: another run is writing this data set.
        RunFailed: some shards could not be written; the same call resumes.
    """
    config.require_lasting()

    def prepared() -> ClipBuild:
        try:
            lists, gpus = _lists(config), config.ray.gpus_per_worker
            return prepare_change(
                config.source, config.body, config.motion, config.output, change, lists=lists, gpus=gpus
            )
        except UserError as error:
            raise UserError(
                f"{error}\nNothing was changed. The shards of these recordings have to be remade, from "
                f"{config.source.root} and {config.body.root}. If they are elsewhere now, add --override "
                "source.root=... body.root=..."
            ) from error

    return _run(config, prepared, callback)


def _run(
    config: ExtractConfig, prepared: Callable[[], ClipBuild], callback: RunCallback, *, strict: bool = False
) -> RunResult:
    return run(
        prepared,
        lambda: ray_engine(config.ray, note=callback.on_note),
        out=place(config.output.root),
        callback=callback,
        config=dump_yaml(_logged(config)),
        strict=strict,
    )


def _logged(config: ExtractConfig) -> dict[str, Any]:
    """The config for the log: absolute paths, so that it works in any folder, and addresses without credentials."""
    values = config.model_dump(mode="json")
    archive = find_archive(config.source.archive)
    # So that `mocap-ray dataset exclude` finds it without importing the archive.
    values["source"]["name"] = source_name(config.source, archive)
    paths = [
        ("source", "root"),
        ("source", "segments"),
        ("source", "texts"),
        ("source", "labels"),
        ("source", "humanact12"),
        ("source", "rates"),
        ("body", "root"),
        ("output", "root"),
    ]
    if not named_split(archive, config.source.split):
        paths.append(("source", "split"))
    if config.source.rig not in (None, *known()):
        paths.append(("source", "rig"))
    if config.source.ignore not in ("published", "none"):
        paths.append(("source", "ignore"))
    for section, key in paths:
        text = values[section][key]
        if text is not None:
            found = place(text)
            values[section][key] = found.uri if "://" in text else found.path
    return values
