"""The plan of an extraction, made before any work: which recordings, which bodies, which splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mocap_ray.archives import find_archive, named_split, published_split
from mocap_ray.archives.labels import read_labels
from mocap_ray.archives.segments import SegmentIndex, read_segments
from mocap_ray.archives.splits import assign, read_lists
from mocap_ray.body.bodies import Bodies
from mocap_ray.dataset.options import BodyOptions, MotionOptions, OutputOptions, SourceOptions
from mocap_ray.dataset.person import left_out
from mocap_ray.dataset.process import Plan
from mocap_ray.dataset.product import CLIPS, ClipBuild, ClipProduct
from mocap_ray.dataset.recipe import recipe
from mocap_ray.dataset.schema import NAME
from mocap_ray.errors import UserError
from mocap_ray.motion.clip import Motion
from mocap_ray.options import digest
from mocap_ray.records import Recording, Rejection
from mocap_ray.shards.build import earlier, plan_run
from mocap_ray.shards.receipts import Receipt
from mocap_ray.storage import Place, place
from mocap_ray.wording import counted

PEEKS = 4
"""How many files of a sub-dataset may be opened to find its body family; a `shape.npz` does not show it."""


def prepare(
    source: SourceOptions,
    body: BodyOptions,
    motion: MotionOptions,
    output: OutputOptions,
    *,
    lists: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    prune: bool = False,
    gpus: float = 0.0,
) -> ClipBuild:
    """List the archive, load and check the body models, and compare with the output.

    Args:
        source, body, motion, output: sections of the config.
        lists: content of the YAML file that `source.split` names, if any.
        overwrite: whether to replace a data set made by another recipe.
        prune: whether to drop recordings that the archive no longer lists.
        gpus: GPUs of each worker, which then computes vertices there; not part of the recipe.

    Raises:
        UserError: bad paths, an empty archive, a missing body model, an empty split, an output made by another
            recipe, recordings that are no longer listed; the message says what to do. Nothing was changed.
    """
    archive = find_archive(source.archive)
    if lists is None and not named_split(archive, source.split):
        lists = read_lists(source.split)
    root = place(source.root)
    listed = archive.discover(root, dataset=source.dataset)
    index = _segments(source, motion)
    segments, notes = index.match(listed) if index is not None else (None, [])
    table = read_labels(source.labels) if source.labels is not None else None
    archived = listed
    if segments is not None:
        listed = [r for r in listed if r.name in segments]
    # Absolute, because workers that read a model for its vertices have another working directory.
    bodies = Bodies.load(Path(body.root).expanduser().absolute(), gender=body.gender, families=body.families)
    out = place(output.root)
    published = published_split(archive, source.split) if lists is None else None
    split = published[0] if published else source.split
    settings = recipe(source, body, motion, output, bodies, lists, index, table, split=split)
    old = earlier(out, CLIPS, recipe_hash=digest(settings))
    selected, limited = _selected(listed, source, old, prune=prune, out=out)
    plan = Plan(
        archive=archive,
        place=root,
        bodies=bodies,
        body=body,
        motion=motion,
        columns=output.columns if segments is None else (*output.columns, NAME),
        fps=source.fps,
        segments=segments,
        device="cuda" if gpus else "cpu",
    )
    # Split before the limit: a trial of a few recordings does not have to fill every split.
    splits = assign(
        selected,
        split=source.split,
        fractions=source.fractions.model_dump(),
        lists=lists,
        published=published[1] if published else None,
    )
    recordings = [r for r in selected if r.name in limited and r.name in splits]
    if unlisted := sum(r.name not in splits for r in selected):
        notes.append(
            f"Left out, because no list of source.split names them: {counted(unlisted, 'recording')}."
        )
    if index is not None and motion.max_frames is not None:
        notes.append(
            f"motion.max_frames does not cut the rows of {index.where}: each is one clip with one name."
        )
    if table is not None:
        labels, unmatched = table.match(archived, recordings)
        plan = replace(plan, labels=labels)
        notes += unmatched
    notes += _need_bodies(recordings, plan)
    return plan_run(
        ClipProduct(plan, settings, gpus),
        recordings,
        {r.name: (r.dataset, splits[r.name]) for r in recordings},
        out=out,
        settings=settings,
        old=old,
        target=int(output.shard_mb * 2**20),
        overwrite=overwrite,
        notes=notes,
    )


def _segments(source: SourceOptions, motion: MotionOptions) -> SegmentIndex | None:
    """The index that the config names, if any. Raises UserError if it is invalid or conflicts with other keys."""
    if source.segments is None:
        return None
    for key, used in (("window", motion.window is not None), ("quality.cut", motion.quality.cut)):
        if used:
            raise UserError(
                f"source.segments together with motion.{key}: a row of the index is one clip with one name. "
                f"Leave motion.{key} out, or source.segments."
            )
    return read_segments(source.segments, texts=source.texts)


def _selected(
    listed: Sequence[Recording],
    source: SourceOptions,
    old: Mapping[str, Receipt[Any]],
    *,
    prune: bool,
    out: Place,
) -> tuple[list[Recording], set[str]]:
    """The recordings of the finished data set: those that the config selects, and those that it already holds.

    A narrower selection than last time removes nothing, so that extracting A and then B gives A + B.

    Returns:
        The recordings before `limit` is applied, and the names of those that remain after it.
    """

    def is_selected(name: str) -> bool:
        included = not source.include or any(fnmatchcase(name, g) for g in source.include)
        return included and not any(fnmatchcase(name, g) for g in source.exclude)

    where = place(source.root).uri
    selected = [r.name for r in listed if is_selected(r.name)]
    if not selected:
        raise UserError(
            f"{where}: include {list(source.include)} and exclude {list(source.exclude)} select none of "
            f"{counted(len(listed), 'recording')}. Globs match names such as {listed[0].name!r}."
        )
    names = {r.name for r in listed}
    present = {i.name for receipt in old.values() for i in receipt.inputs}
    missing = sorted(present - names)
    if missing and not prune:
        raise UserError(
            f"{out.uri} holds {counted(len(missing), 'recording')} that {where} no longer lists (first: {missing[0]}). "
            "Point source.root to an archive that has them, choose another output.root, or pass --prune to drop them."
        )
    wanted = {*selected, *present}
    return [r for r in listed if r.name in wanted], {*selected[: source.limit], *present}


def _need_bodies(recordings: Sequence[Recording], plan: Plan) -> list[str]:
    """Raise MissingBody before any work if a body model is missing, judging by one file of each sub-dataset.

    A source of joints alone needs no body model, and neither does a recording that `body.families` leaves out.

    Returns:
        A note if such a recording was seen.
    """
    tried: dict[str, int] = {}
    notes: list[str] = []
    # The smallest files first. A model that only other files need is missed here; workers raise MissingBody later.
    for recording in sorted(recordings, key=lambda r: (r.size, r.name)):
        if tried.setdefault(recording.dataset, 0) >= PEEKS:
            continue
        tried[recording.dataset] += 1
        try:
            motion = plan.archive.read(plan.place, recording, fps=plan.fps)
        except OSError:
            continue  # a worker will read it again, with retries
        if isinstance(motion, Rejection):
            continue
        if (rejection := left_out(motion, plan.body)) is not None:
            notes = notes or [f"Some recordings will be rejected as {rejection.reason}: {rejection.detail}"]
            continue
        if isinstance(motion, Motion):
            plan.bodies.choose(motion.family, motion.gender)
        tried[recording.dataset] = PEEKS
    return notes
