"""The recipe: every setting that changes rows; without paths, addresses and worker counts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from mocap_ray.archives.labels import LabelTable
from mocap_ray.archives.rigs.rig import Rig
from mocap_ray.archives.segments import SegmentIndex
from mocap_ray.body.bodies import Bodies
from mocap_ray.dataset.options import BodyOptions, MotionOptions, OutputOptions, SourceOptions
from mocap_ray.options import digest

RECIPE_VERSION = 2
"""Increased by hand when a change of the code changes rows."""


def recipe(
    source: SourceOptions,
    body: BodyOptions,
    motion: MotionOptions,
    output: OutputOptions,
    bodies: Bodies,
    lists: Mapping[str, Any] | None,
    segments: SegmentIndex | None = None,
    labels: LabelTable | None = None,
    rig: Rig | None = None,
    *,
    split: str,
    ignored: Collection[str] = (),
) -> dict[str, Any]:
    """The recipe as plain values.

    Args:
        source, body, motion, output: the sections of the config.
        bodies: the models that were found, identified by their sha256.
        lists: content of the split file, if `source.split` names one; its path is not part of the recipe.
        segments: the index that `source.segments` names, with its captions; their paths are not part of the recipe.
        labels: the table that `source.labels` names; its path is not part of the recipe.
        rig: the map that `source.rig` names; its path is not part of the recipe.
        split: `source.split`; for a published split, the name of the archive.
        ignored: names of the recordings that `source.ignore` rejects.
    """
    subject = source.split == "subject"
    return {
        "recipe_version": RECIPE_VERSION,
        "archive": source.archive,
        "dataset": source.dataset,
        "fps": source.fps,
        "split": {"lists": digest(lists)} if lists is not None else split,
        "fractions": source.fractions.model_dump() if subject else None,
        "body": {
            "gender": body.gender,
            "betas": body.betas,
            "models": bodies.identities(),
        },
        "motion": _motion(motion, segments),
        "columns": sorted(output.columns),
        "shard_mb": output.shard_mb,
        # No keys for what is not used, so that recipes from before these keys existed keep their hash.
        **({"segments": segments.sha256} if segments is not None else {}),
        **({"captions": True} if source.texts is not None else {}),
        **({"labels": labels.sha256} if labels is not None else {}),
        **({"rig": rig.identity(str(source.rig))} if rig is not None else {}),
        **source.model_dump(include={"read_as", "family", "scale", "axes"}, exclude_none=True),
        **({"ignored": digest(sorted(ignored))} if ignored else {}),
        **({"scaling": source.scaling} if source.scaling is not None else {}),
    }


def _motion(motion: MotionOptions, segments: SegmentIndex | None) -> dict[str, Any]:
    """The motion section, without `max_frames` where it cuts nothing: rows of an index and windows stay as they are."""
    values = motion.model_dump(mode="json")
    if motion.max_frames is None or motion.window is not None or segments is not None:
        del values["max_frames"]
    return values
