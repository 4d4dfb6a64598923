"""The recipe: every setting that changes rows; without paths, addresses and worker counts.

`shared_recipe` is what all sources of a data set agree on, `source_recipe` what belongs to one of them. This is also
the only place that knows recipes from before a data set could have several sources (`recipes_of`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from mocap_ray.archives import ARCHIVES, Archive
from mocap_ray.archives.labels import LabelTable
from mocap_ray.archives.rigs.rig import Rig
from mocap_ray.archives.segments import SegmentIndex
from mocap_ray.body.bodies import Bodies
from mocap_ray.dataset.options import BodyOptions, MotionOptions, OutputOptions, SourceOptions
from mocap_ray.errors import UserError
from mocap_ray.options import digest
from mocap_ray.shards.recipe import SOURCES, Recipe, Recipes, SourceRecipe
from mocap_ray.storage import Place

RECIPE_VERSION = 3
"""Increased by hand when a change of the code changes rows."""
UPGRADABLE = 2
"""The version before a data set could have several sources: its rows are the same, but lack some columns."""


def source_name(source: SourceOptions, archive: Archive) -> str:
    """The name of the source in the data set: `source.name`, or that of the archive."""
    return source.name or archive.name


def shared_recipe(body: BodyOptions, motion: MotionOptions, output: OutputOptions) -> dict[str, Any]:
    """The settings that all sources of a data set agree on, as plain values."""
    values = motion.model_dump(mode="json")
    del values["max_frames"]  # of the source: it cuts nothing where there are segments
    return {
        "recipe_version": RECIPE_VERSION,
        "body": {"gender": body.gender, "betas": body.betas},
        "motion": values,
        "columns": sorted(output.columns),
        "shard_mb": output.shard_mb,
    }


def source_recipe(
    source: SourceOptions,
    motion: MotionOptions,
    bodies: Bodies,
    lists: Mapping[str, Any] | None,
    segments: SegmentIndex | None = None,
    labels: LabelTable | None = None,
    rig: Rig | None = None,
    *,
    archive: Archive,
    split: str,
    ignored: Collection[str] = (),
) -> SourceRecipe:
    """The settings that belong to a source, as plain values.

    Args:
        source, motion: the sections of the config.
        bodies: the models that were found, identified by their sha256.
        lists: content of the split file, if `source.split` names one; its path is not part of the recipe.
        segments: the index that `source.segments` names, with its captions; their paths are not part of the recipe.
        labels: the table that `source.labels` names; its path is not part of the recipe.
        rig: the map that `source.rig` names; its path is not part of the recipe.
        archive: the archive.
        split: `source.split`; for a published split, the name of the archive.
        ignored: names of the recordings that `source.ignore` rejects.
    """
    name = source_name(source, archive)
    cuts = motion.max_frames is not None and motion.window is None and segments is None
    settings = {
        "archive": source.archive,
        "domain": source.domain or name,
        "dataset": source.dataset,
        "fps": source.fps,
        "split": {"lists": digest(lists)} if lists is not None else split,
        "fractions": source.fractions.model_dump() if source.split == "subject" else None,
        "models": bodies.identities(),
        # No keys for what is not used, so that recipes from before these keys existed keep their hash.
        **({"max_frames": motion.max_frames} if cuts else {}),
        **({"segments": segments.sha256} if segments is not None else {}),
        **({"captions": True} if source.texts is not None else {}),
        **({"labels": labels.sha256} if labels is not None else {}),
        **({"rig": rig.identity(str(source.rig))} if rig is not None else {}),
        **source.model_dump(include={"read_as", "family", "scale", "axes"}, exclude_none=True),
        **({"ignored": digest(sorted(ignored))} if ignored else {}),
        **({"scaling": source.scaling} if source.scaling is not None else {}),
    }
    return SourceRecipe(name, settings, about(archive))


def about(archive: Archive) -> dict[str, str]:
    """Where recordings of an archive come from, for the data card."""
    return {
        "title": archive.title,
        "licence": archive.licence,
        "citation": archive.citation,
        "url": archive.url,
    }


def require_same_models(out: Place, found: Recipes, run: Recipe) -> None:
    """Raise UserError if another source of the data set was made with another file of the same body model."""
    mine = run.source.settings["models"]
    for name, other in sorted(found.sources.items()):
        models = other.settings.get("models", {})
        changed = [key for key in mine if key in models and models[key] != mine[key]]
        if name != run.name and changed:
            raise UserError(
                f"{out.uri}: the body model {changed[0]} is another file than the one that made its source {name}, and "
                "one person would have two skeletons. Use the same body.root for all sources, or choose another "
                "output.root."
            )


def recipes_of(values: Mapping[str, Any]) -> Recipes:
    """The recipe of a manifest, also of one from before a data set could have several sources."""
    return of_one_source(values) if values.get(SOURCES) is None else Recipes.parse(values)


def of_one_source(values: Mapping[str, Any], *, name: str | None = None) -> Recipes:
    """The recipe of a data set from before it could have several sources: all of it belongs to one source.

    Args:
        values: the recipe as it was.
        name: the name of the source; default: that of its archive.
    """
    home = str(values.get("archive", ""))
    name = name or home.rpartition(":")[2].lower() or "source"
    body, motion = dict(_section(values, "body")), dict(_section(values, "motion"))
    most = motion.pop("max_frames", None)
    shared = {
        "recipe_version": values.get("recipe_version"),
        "body": {key: value for key, value in body.items() if key != "models"},
        "motion": motion,
        "columns": values.get("columns", []),
        "shard_mb": values.get("shard_mb"),
    }
    settings = {
        **{key: value for key, value in values.items() if key not in shared},
        "archive": home,
        "domain": name,
        "models": body.get("models", {}),
        **({} if most is None else {"max_frames": most}),
    }
    known = ARCHIVES.get(home)
    return Recipes(shared, {name: SourceRecipe(name, settings, about(known) if known else {})})


def _section(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A section of a recipe; empty if a stranger's file has something else there."""
    section = values.get(key)
    return section if isinstance(section, Mapping) else {}
