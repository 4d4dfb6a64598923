"""The plan of an extraction, made before any work: which recordings, which bodies, which splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyarrow import fs as pafs

from mocap_ray.archives import Archive, find_archive, named_split, published_lists, published_split
from mocap_ray.archives.archive import Published
from mocap_ray.archives.humanact12 import with_humanact12
from mocap_ray.archives.labels import LabelTable, read_labels
from mocap_ray.archives.rates import KNOWN, read_rates
from mocap_ray.archives.rigs.rig import Rig, find_rig
from mocap_ray.archives.segments import SegmentIndex, read_segments
from mocap_ray.archives.selection import matched, select
from mocap_ray.archives.splits import assign, moved, read_lists, read_names
from mocap_ray.body.bodies import Bodies
from mocap_ray.dataset import person
from mocap_ray.dataset.choosing import choose
from mocap_ray.dataset.options import BodyOptions, MotionOptions, OutputOptions, SourceOptions
from mocap_ray.dataset.process import Plan
from mocap_ray.dataset.product import CLIPS, ClipBuild, ClipProduct
from mocap_ray.dataset.recipe import require_same_models, shared_recipe, source_recipe
from mocap_ray.errors import UserError
from mocap_ray.motion.clip import Motion
from mocap_ray.records import Recording, Rejection
from mocap_ray.shards import exclusions, recipe
from mocap_ray.shards.build import earlier, plan_run
from mocap_ray.shards.exclusions import Exclusions
from mocap_ray.shards.recipe import Recipe
from mocap_ray.storage import Place, expand, place
from mocap_ray.wording import counted

PEEKS = 4
"""How many files of a sub-dataset may be opened to find its body family; a `shape.npz` does not show it."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What the sections of a config name, found and checked.

    Attributes:
        archive: the archive.
        root: its folder.
        listed: all its recordings.
        index: the index of segments, if there is one.
        labels: the table of labels, if there is one.
        bodies: the body models.
        lists, published: where splits come from, if from lists or from the archive's authors.
        ignored: names of the recordings to reject unread.
        recipe: the recipe.
    """

    archive: Archive
    root: Place
    listed: list[Recording]
    index: SegmentIndex | None
    labels: LabelTable | None
    bodies: Bodies
    lists: Mapping[str, Any] | None
    published: Published | None
    ignored: frozenset[str]
    recipe: Recipe


def prepare(
    source: SourceOptions,
    body: BodyOptions,
    motion: MotionOptions,
    output: OutputOptions,
    *,
    lists: Mapping[str, Any] | None = None,
    index: SegmentIndex | None = None,
    overwrite: bool = False,
    prune: bool = False,
    gpus: float = 0.0,
    excluded: Exclusions | None = None,
) -> ClipBuild:
    """List the archive, load and check the body models, and compare with the output.

    Args:
        source, body, motion, output: sections of the config.
        lists: content of the YAML file that `source.split` names, if any.
        index: what `source.segments` names, if it was read already.
        overwrite: whether to replace a data set made by another recipe.
        prune: whether to drop recordings that the archive no longer lists.
        gpus: GPUs of each worker, which then computes vertices there; not part of the recipe.
        excluded: recordings to leave out -> why; default: those that the data set excludes already.

    Raises:
        UserError: bad paths, an empty archive, a missing body model, an empty split, an output made by another
            recipe, recordings that are no longer listed; the message says what to do. Nothing was changed.
    """
    found = load_sources(source, body, motion, output, lists=lists, index=index)
    out = place(output.root)
    old = earlier(out, CLIPS, found.recipe)
    recipe.require_same(out, found.recipe, overwrite=overwrite)
    if old.others:
        require_same_models(out, recipe.read(out), found.recipe)
    excluded = exclusions.read(out) if excluded is None else excluded
    # Before segments are matched: of two recordings that match one row, source.exclude may leave out one.
    left_out = {r.name for r in matched(found.listed, source.exclude)} - old.inputs().keys()
    product, listed, notes = make_product(
        found, body, motion, output, fps=source.fps, gpus=gpus, left_out=left_out
    )
    chosen = choose(listed, source, old, out=out, excluded=excluded, prune=prune)
    notes += chosen.notes
    # Split before the limit: a trial of a few recordings does not have to fill every split.
    splits = assign(
        chosen.recordings,
        split=source.split,
        fractions=source.fractions.model_dump(),
        lists=found.lists,
        published=found.published,
    )
    if source.split == "subject" and (
        note := moved(chosen.recordings, splits, source.fractions.model_dump())
    ):
        notes.append(note)
    recordings = [r for r in chosen.recordings if r.name in chosen.limited and r.name in splits]
    if unlisted := sum(r.name not in splits for r in chosen.recordings):
        notes.append(
            f"Left out, because no list of source.split names them: {counted(unlisted, 'recording')}."
        )
    if found.index is not None and motion.max_frames is not None:
        notes.append(
            f"motion.max_frames does not cut the rows of {found.index.where}: each is one clip with one name."
        )
    if found.labels is not None:
        notes += found.labels.notes(found.listed, recordings)
    notes += need_bodies(recordings, product.plan)
    return plan_run(
        product,
        recordings,
        {r.name: (r.dataset, splits[r.name]) for r in recordings},
        out=out,
        run=found.recipe,
        old=old,
        excluded=excluded,
        target=int(output.shard_mb * 2**20),
        overwrite=overwrite,
        notes=notes,
    )


def load_sources(
    source: SourceOptions,
    body: BodyOptions,
    motion: MotionOptions,
    output: OutputOptions,
    *,
    lists: Mapping[str, Any] | None = None,
    index: SegmentIndex | None = None,
) -> Sources:
    """Find everything that a config names. Raises UserError; nothing is changed."""
    rig = None if source.rig is None else find_rig(source.rig)
    archive = archive_of(source, rig=rig)
    if source.humanact12 is not None:
        home = place(source.humanact12)
        archive = with_humanact12(archive, home.uri if "://" in source.humanact12 else home.path)
    if lists is None and not named_split(archive, source.split):
        lists = read_lists(source.split)
    root = place(source.root)
    listed = archive.discover(root, dataset=source.dataset)
    ignored = read_ignored(archive, root, source.ignore)
    if lists is None:
        lists = published_lists(archive, source.split, root)
    if source.check_root and source.dataset is None and archive.doubt is not None:
        question = archive.doubt(root, listed)
        if question is not None:
            raise UserError(question)
    index = _segments(source, motion, index)
    labels = read_labels(source.labels) if source.labels is not None else None
    # Absolute, because workers that read a model for its vertices have another working directory.
    bodies = (
        Bodies("", body.gender, {}, {})
        if archive.joints_alone
        else Bodies.load(expand(body.root).absolute(), gender=body.gender, families=body.families)
    )
    published = published_split(archive, source.split) if lists is None else None
    split = published[0] if published else source.split
    own = source_recipe(
        source, motion, bodies, lists, index, labels, rig, archive=archive, split=split, ignored=ignored
    )
    run = Recipe(shared_recipe(body, motion, output), own)
    return Sources(
        archive,
        root,
        listed,
        index,
        labels,
        bodies,
        lists,
        published[1] if published else None,
        ignored,
        run,
    )


def split_recordings(source: SourceOptions) -> list[Recording]:
    """The recordings that `mocap-ray split` divides: those that a config selects, without the ignored ones.

    Raises:
        UserError: an empty archive, or nothing is selected.
    """
    archive, root = find_archive(source.archive), place(source.root)
    listed = archive.discover(root, dataset=source.dataset)
    ignored = read_ignored(archive, root, source.ignore)
    selected = select(listed, include=source.include, exclude=source.exclude, where=root.uri)
    return [r for r in selected if r.name not in ignored]


def read_ignored(archive: Archive, root: Place, ignore: str) -> frozenset[str]:
    """The names of the recordings that `source.ignore` rejects.

    Raises:
        UserError: there is no such list, or it is not UTF-8.
    """
    if ignore == "none":
        return frozenset()
    if ignore == "published":
        return (archive.ignored(root) if archive.ignored is not None else None) or frozenset()
    file = place(ignore)
    if file.fs.get_file_info(file.path).type != pafs.FileType.File:
        raise UserError(
            f"source.ignore {ignore!r}: no such file. Expected published, none, or a text file with one name per line."
        )
    above, _, name = file.path.rpartition("/")
    return frozenset(read_names(Place(file.fs, above, file.uri.rpartition("/")[0] or "."), name))


def archive_of(source: SourceOptions, *, rig: Rig | None = None) -> Archive:
    """The archive of a config with the options that the config gives it.

    Args:
        source: section of the config.
        rig: the map that `source.rig` names, if it was read already.

    Raises:
        UserError: there is no such archive or map, or the archive has no such option.
    """
    if rig is None and source.rig is not None:
        rig = find_rig(source.rig)
    return find_archive(source.archive).configured(
        read_as=source.read_as,
        rig=rig,
        family=source.family,
        scale=source.scale,
        axes=source.axes,
        scaling=source.scaling,
    )


def make_product(
    found: Sources,
    body: BodyOptions,
    motion: MotionOptions,
    output: OutputOptions,
    *,
    fps: float | None,
    gpus: float,
    left_out: set[str],
) -> tuple[ClipProduct, list[Recording], list[str]]:
    """The product, the recordings that it can process, and notes on the others.

    Args:
        found: result of `load_sources`.
        body, motion, output: sections of the config.
        fps: `source.fps`.
        gpus: GPUs of each worker.
        left_out: names of recordings that no segments are wanted of.
    """
    listed, segments, notes = found.listed, None, list[str]()
    if found.index is not None:
        others = [r for r in listed if r.name in left_out]
        wanted = [r for r in listed if r.name not in left_out]
        segments, notes = found.index.match(wanted, left_out=others) if wanted else ({}, [])
        listed = [r for r in listed if r.name in segments or r.name in left_out]
    plan = Plan(
        archive=found.archive,
        place=found.root,
        bodies=found.bodies,
        body=body,
        motion=motion,
        columns=output.columns,
        domain=found.recipe.source.settings["domain"],
        fps=fps,
        segments=segments,
        labels={} if found.labels is None else found.labels.match(found.listed),
        ignored=found.ignored,
        device="cuda" if gpus else "cpu",
    )
    return ClipProduct(plan, gpus), listed, notes


def _segments(
    source: SourceOptions, motion: MotionOptions, index: SegmentIndex | None
) -> SegmentIndex | None:
    """The index that the config names, if any. Raises UserError if it is invalid or conflicts with other keys."""
    if source.segments is None:
        return None
    for key, used in (("window", motion.window is not None), ("quality.cut", motion.quality.cut)):
        if used:
            raise UserError(
                f"source.segments together with motion.{key}: a row of the index is one clip with one name. "
                f"Leave motion.{key} out, or source.segments."
            )
    return read_index(source) if index is None else index


def read_index(source: SourceOptions) -> SegmentIndex:
    """The index that `source.segments` names, with its captions and rates. Raises UserError; see `read_segments`."""
    if source.segments is None:
        raise UserError("source.segments is not set. Expected the path of HumanML3D's index.csv.")
    rates = {**KNOWN, **(read_rates(source.rates) if source.rates is not None else {})}
    return read_segments(source.segments, texts=source.texts, rates=rates)


def need_bodies(recordings: Sequence[Recording], plan: Plan) -> list[str]:
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
        if (rejection := person.left_out(motion, plan.body)) is not None:
            notes = notes or [f"Some recordings will be rejected as {rejection.reason}: {rejection.detail}"]
            continue
        if isinstance(motion, Motion):
            plan.bodies.choose(motion.family, motion.gender)
        tried[recording.dataset] = PEEKS
    return notes
