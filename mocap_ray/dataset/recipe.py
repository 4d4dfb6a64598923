"""The recipe: every setting that changes rows, and its hash; never roots, addresses or worker counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mocap_ray.archives.segments import SegmentIndex
from mocap_ray.body.bodies import Bodies
from mocap_ray.dataset.options import BodyOptions, MotionOptions, OutputOptions, SourceOptions
from mocap_ray.options import digest

RECIPE_VERSION = 2
"""Raised by hand when the code changes the rows that a recipe gives."""


def recipe(
    source: SourceOptions,
    body: BodyOptions,
    motion: MotionOptions,
    output: OutputOptions,
    bodies: Bodies,
    lists: Mapping[str, Any] | None,
    segments: SegmentIndex | None = None,
    *,
    split: str,
) -> dict[str, Any]:
    """The recipe as plain values.

    Args:
        source, body, motion, output: the sections of the config.
        bodies: the models found, by their sha256.
        lists: content of the split file, where `source.split` names one; its path is not part of a recipe.
        segments: the index that `source.segments` names, with the captions; neither is its path.
        split: `source.split`, with the name of an archive for its published split.
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
        "motion": motion.model_dump(mode="json"),
        "columns": sorted(output.columns),
        "shard_mb": output.shard_mb,
        # Absent without segments, so that recipes from before there were any keep their hash.
        **({"segments": segments.sha256} if segments is not None else {}),
    }
