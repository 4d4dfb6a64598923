"""A run, prepared and surveyed before any work: what to make, what is done, what is superseded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mocap_ray.archives import find_archive
from mocap_ray.archives.segments import SegmentIndex, read_segments
from mocap_ray.archives.splits import assign, read_lists
from mocap_ray.body.bodies import Bodies
from mocap_ray.dataset import manifest, receipts
from mocap_ray.dataset.options import BodyOptions, MotionOptions, OutputOptions, SourceOptions
from mocap_ray.dataset.process import Plan
from mocap_ray.dataset.receipts import Input, Receipt
from mocap_ray.dataset.recipe import RECIPE_NAME, digest, recipe
from mocap_ray.dataset.schema import NAME, SCHEMA_VERSION
from mocap_ray.dataset.shards import Group, group
from mocap_ray.options import differences
from mocap_ray.records import Recording, Rejection
from mocap_ray.storage import Place, place
from mocap_ray.version import __version__

PEEKS = 4
"""Files of a dataset that may be opened to learn its body family; a `shape.npz` tells nothing."""


@dataclass(frozen=True, slots=True)
class Build:
    """Everything that is known before the first recording is processed.

    Attributes:
        plan: how to process a recording.
        out: root of the data set.
        recipe, recipe_hash: the settings that change rows.
        metadata: schema metadata of every file.
        groups: the shards of the finished data set.
        done: receipts that are valid for these groups, by shard name.
        superseded: paths of files that do not belong to the finished data set.
        complete: a manifest exists and nothing is left to do.
        notes: sentences on what is left out, for a person.
    """

    plan: Plan
    out: Place
    recipe: dict[str, Any]
    recipe_hash: str
    metadata: dict[str, str]
    groups: tuple[Group, ...]
    done: dict[str, Receipt]
    superseded: tuple[str, ...]
    complete: bool
    notes: tuple[str, ...] = ()

    @property
    def todo(self) -> list[Group]:
        """Groups without a valid receipt, the largest first so that the last worker does not lag."""
        return sorted((g for g in self.groups if g.name not in self.done), key=lambda g: (-g.size, g.name))


def prepare(
    source: SourceOptions,
    body: BodyOptions,
    motion: MotionOptions,
    output: OutputOptions,
    *,
    lists: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    prune: bool = False,
    device: str = "cpu",
) -> Build:
    """List the archive, load and check the body models, and compare with what stands in the output.

    Args:
        source, body, motion, output: sections of the config.
        lists: content of the YAML file that `source.split` names, if it names one.
        overwrite: what stands in the output by another recipe is to be replaced.
        prune: recordings that the archive no longer has may leave the data set.
        device: where workers compute vertices (`cuda` where each has a GPU); no part of the recipe.

    Raises:
        ValueError: bad paths, an empty archive, a missing body model, an empty split, another recipe in
            the output, recordings that vanished: a sentence with the remedy. Nothing was changed.
    """
    archive = find_archive(source.archive)
    if lists is None and source.split not in ("subject", "amass", "none"):
        lists = read_lists(source.split)
    root = place(source.root)
    listed = archive.discover(root, dataset=source.dataset)
    index = _segments(source, motion)
    segments, notes = index.match(listed) if index is not None else (None, [])
    if segments is not None:
        listed = [r for r in listed if r.name in segments]
    # Absolute, because workers that read a model for its vertices stand in another folder.
    bodies = Bodies.load(Path(body.root).expanduser().absolute(), gender=body.gender, families=body.families)
    out = place(output.root)
    settings = recipe(source, body, motion, output, bodies, lists, index)
    recipe_hash = digest(settings)
    # With --overwrite, what another recipe made counts for nothing, but a killed run of this one goes on.
    old = {name: r for name, r in receipts.read_all(out).items() if r.recipe_hash == recipe_hash}
    chosen, limited = _selected(listed, source, old, prune=prune, out=out)
    plan = Plan(
        archive=archive,
        place=root,
        bodies=bodies,
        body=body,
        motion=motion,
        columns=output.columns if segments is None else (*output.columns, NAME),
        fps=source.fps,
        segments=segments,
        device=device,
    )
    # Split before the limit: a trial of a few recordings need not fill every split.
    splits = assign(chosen, split=source.split, fractions=source.fractions.model_dump(), lists=lists)
    recordings = [r for r in chosen if r.name in limited and r.name in splits]
    if unlisted := sum(r.name not in splits for r in chosen):
        notes.append(f"{unlisted:,} recordings in no list of source.split are left out.")
    _need_bodies(recordings, plan)
    _same_recipe(out, settings, overwrite=overwrite)
    groups = group(recordings, splits, target=int(output.shard_mb * 2**20))
    done = _valid(groups, old, out)
    superseded = _superseded(out, groups)
    return Build(
        plan=plan,
        out=out,
        recipe=settings,
        recipe_hash=recipe_hash,
        metadata={
            "schema_version": str(SCHEMA_VERSION),
            "package_version": __version__,
            "profile": motion.profile,
        },
        groups=tuple(groups),
        done=done,
        superseded=superseded,
        complete=len(done) == len(groups) and not superseded and out.exists(manifest.NAME),
        notes=tuple(notes),
    )


def _segments(source: SourceOptions, motion: MotionOptions) -> SegmentIndex | None:
    """The index that the config names. Raises ValueError for one that cannot be used, alone or with the rest."""
    if source.segments is None:
        return None
    for key, used in (("window", motion.window is not None), ("quality.cut", motion.quality.cut)):
        if used:
            raise ValueError(
                f"source.segments together with motion.{key}: a row of the index is one clip with one name. "
                f"Leave motion.{key} out, or source.segments."
            )
    return read_segments(source.segments, texts=source.texts)


def _selected(
    listed: Sequence[Recording],
    source: SourceOptions,
    old: Mapping[str, Receipt],
    *,
    prune: bool,
    out: Place,
) -> tuple[list[Recording], set[str]]:
    """The recordings of the finished data set: what the config selects, and what is in it already.

    A narrower selection than last time takes nothing away, so that A then B gives A + B.

    Returns:
        The recordings without regard to `limit`, and the names that are left with it.
    """

    def chosen(name: str) -> bool:
        taken = not source.include or any(fnmatchcase(name, g) for g in source.include)
        return taken and not any(fnmatchcase(name, g) for g in source.exclude)

    where = place(source.root).uri
    selected = [r.name for r in listed if chosen(r.name)]
    if not selected:
        raise ValueError(
            f"{where}: none of the {len(listed)} recordings is selected by include {list(source.include)} "
            f"and exclude {list(source.exclude)}. Globs match names such as {listed[0].name!r}."
        )
    names = {r.name for r in listed}
    present = {i.name for receipt in old.values() for i in receipt.inputs}
    gone = sorted(present - names)
    if gone and not prune:
        raise ValueError(
            f"{out.uri} holds {len(gone)} recordings that {where} does not list any more (first: {gone[0]}). "
            "Point source.root to an archive that has them, choose another output.root, or pass --prune to drop them."
        )
    wanted = {*selected, *present}
    return [r for r in listed if r.name in wanted], {*selected[: source.limit], *present}


def _need_bodies(recordings: Sequence[Recording], plan: Plan) -> None:
    """Stop before any work where a body model is missing, as far as one file of each dataset shows it."""
    tried: dict[str, int] = {}
    # Small ones first; workers meet the rest: MissingBody fails the run there too, only later.
    for recording in sorted(recordings, key=lambda r: (r.size, r.name)):
        if tried.setdefault(recording.dataset, 0) >= PEEKS:
            continue
        tried[recording.dataset] += 1
        try:
            motion = plan.archive.read(plan.place, recording, fps=plan.fps)
        except OSError:
            continue  # read again, and retried, by a worker
        if not isinstance(motion, Rejection):
            plan.bodies.choose(motion.family, motion.gender)
            tried[recording.dataset] = PEEKS


def _same_recipe(out: Place, settings: Mapping[str, Any], *, overwrite: bool) -> None:
    """Refuse to mix two recipes in one data set, or to write among foreign files."""
    if out.exists(RECIPE_NAME):
        there = json.loads(out.read(RECIPE_NAME))
        lines = differences(there, settings)
        if lines and not overwrite:
            listing = "".join(f"\n  {line}" for line in lines)
            raise ValueError(
                f"{out.uri} was made by another recipe:{listing}\n"
                "Pass --overwrite to replace it, or choose another output.root."
            )
        return
    strangers = [
        out.relative(i.path)
        for i in out.files()
        if not out.relative(i.path).startswith((".lock", "_runs/", ".tmp-"))
    ]
    if strangers:
        raise ValueError(
            f"{out.uri} holds {len(strangers)} files that no extraction wrote (first: {strangers[0]}). "
            "Choose an empty or new folder as output.root."
        )


def _valid(groups: Sequence[Group], old: Mapping[str, Receipt], out: Place) -> dict[str, Receipt]:
    """Receipts whose inputs are unchanged and whose file stands there in full."""
    sizes = {out.relative(i.path): i.size for i in out.files("clips")}
    valid = {}
    for g in groups:
        receipt = old.get(g.name)
        if (
            receipt is not None
            and receipt.inputs == tuple(Input.of(r) for r in g.recordings)
            and (receipt.sha256 is None or sizes.get(receipt.path) == receipt.bytes)
        ):
            valid[g.name] = receipt
    return valid


def _superseded(out: Place, groups: Sequence[Group]) -> tuple[str, ...]:
    """Files of shards that are not part of the finished data set, and what a killed run left half written."""
    keep = {g.path for g in groups} | {f"receipts/{g.name}.json" for g in groups}
    found = [out.relative(i.path) for folder in ("clips", "receipts") for i in out.files(folder)]
    return tuple(p for p in found if p not in keep)
