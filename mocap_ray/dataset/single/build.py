"""The plan of an extraction of single poses, made before any work: which files, and which split each belongs to."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence

from pyarrow import fs as pafs

from mocap_ray.archives import files
from mocap_ray.archives.selection import select
from mocap_ray.archives.splits import assign, read_lists
from mocap_ray.dataset.single.formats import PoseFormat, find_format
from mocap_ray.dataset.single.hands import HandModel, read_hand_model
from mocap_ray.dataset.single.instances import PoseFile
from mocap_ray.dataset.single.options import PoseOutputOptions, PoseSourceOptions
from mocap_ray.dataset.single.product import POSES, PoseBuild, PoseProduct
from mocap_ray.dataset.single.schema import PRODUCT
from mocap_ray.errors import UserError
from mocap_ray.npz import NpzError, open_npz
from mocap_ray.options import digest
from mocap_ray.records import Recording
from mocap_ray.shards.build import earlier, plan_run
from mocap_ray.shards.recipe import Recipe, SourceRecipe, require_same
from mocap_ray.storage import Place, place, without_secrets
from mocap_ray.wording import counted, listed

RECIPE_VERSION = 1
"""Increased by hand when a change of the code changes rows."""
ENDINGS = (".npz",)

Lists = Mapping[str, Sequence[str]]

_NAMED = re.compile(r"(?<![a-z])(train|training|val|valid|validation|test|testing)(?![a-z])")
_SPLITS = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}


def prepare(
    source: PoseSourceOptions,
    output: PoseOutputOptions,
    *,
    lists: Lists | None = None,
    overwrite: bool = False,
    prune: bool = False,
) -> PoseBuild:
    """List the files, decide on their splits, and compare with the output.

    Args:
        source, output: sections of the config.
        lists: content of the YAML file that `source.split` names, if any.
        overwrite: whether to replace a data set made by another recipe.
        prune: whether to drop files that are no longer there.

    Raises:
        UserError: no such files, a split without files, an output made by another recipe, files that are no longer
            there; the message says what to do. Nothing was changed.
    """
    form = find_format(source.archive)
    root, found = _listed(source, form)
    if lists is None and source.split not in ("name", "none"):
        lists = read_lists(source.split)
    hands = None if source.hand_model is None else read_hand_model(source.hand_model)
    run = _recipe(source, form, lists, hands)
    out = place(output.root)
    require_same(out, run, overwrite=overwrite)
    old = earlier(out, POSES, run)
    held = set(old.inputs())
    chosen = _chosen(found, source, held, where=without_secrets(root.uri))
    if not prune:
        _require_present(held, found, where=without_secrets(root.uri), out=out)
    fractions = source.fractions.model_dump()
    notes: list[str] = []
    inputs = [
        part
        for recording, splits in _splits(chosen, source, form, root, lists, notes)
        for part in _parts(recording, splits)
    ]
    return plan_run(
        PoseProduct(root, form, fractions, source.flat_hand_mean, hands),
        [file for file, _ in inputs],
        {file.name: (file.dataset, split) for file, split in inputs},
        out=out,
        run=run,
        old=old,
        target=int(output.shard_mb * 2**20),
        overwrite=overwrite,
        notes=notes,
    )


def split_in_name(source: str) -> str | None:
    """The split that a file's name says; None if it says none, or several.

    >>> [split_in_name(f) for f in ("train_poses.npz", "synhand_20241018_test_1188.npz", "trainval.npz", "a/b.npz")]
    ['train', 'test', None, None]
    """
    words = _NAMED.findall(source.rpartition("/")[2].lower())
    splits = {_SPLITS.get(word, word) for word in words}
    return splits.pop() if len(splits) == 1 else None


def _listed(source: PoseSourceOptions, form: PoseFormat) -> tuple[Place, list[Recording]]:
    """The folder of the files, and the files."""
    first = place(source.roots[0])
    if len(source.roots) == 1 and first.fs.get_file_info(first.path).type != pafs.FileType.File:
        return first, files.recordings(first, endings=ENDINGS, dataset=source.dataset, what=form.what)[0]
    places = [place(address) for address in source.roots]
    if any(not each.fs.equals(first.fs) for each in places):
        raise UserError("source.root: the files are on different file systems. Copy them into one.")
    above = os.path.commonpath([each.path.rpartition("/")[0] or "/" for each in places])
    folder = Place(first.fs, above, above if first.local is not None else first.uri.rpartition("/")[0])
    found = []
    for each in places:
        info = each.fs.get_file_info(each.path)
        if info.type != pafs.FileType.File or not each.path.endswith(ENDINGS):
            raise UserError(
                f"source.root: {without_secrets(each.uri)} is no .npz file. Expected {form.what}: one folder, or files."
            )
        found.append(files.named(folder, info, source.dataset))
    names = [each.name for each in found]
    if len(set(names)) < len(names):
        raise UserError(f"source.root: a file is named twice in {listed(list(source.roots), most=5)}.")
    return folder, sorted(found, key=lambda r: r.name)


def _recipe(
    source: PoseSourceOptions, form: PoseFormat, lists: Lists | None, hands: HandModel | None
) -> Recipe:
    """Every setting that changes rows; without paths."""
    name = source.name or form.name
    settings = {
        "archive": source.archive,
        "domain": source.domain or name,
        "dataset": source.dataset,
        "split": {"lists": digest(lists)} if lists is not None else source.split,
        "fractions": source.fractions.model_dump() if source.split == "name" else None,
        "flat_hand_mean": source.flat_hand_mean,
        "hand_model": None if hands is None else hands.sha256,
    }
    about = {"title": form.title, "licence": form.licence, "citation": form.citation, "url": form.url}
    shared = {"product": PRODUCT, "recipe_version": RECIPE_VERSION}
    return Recipe(shared, SourceRecipe(name, settings, about))


def _chosen(
    found: Sequence[Recording], source: PoseSourceOptions, held: Iterable[str], *, where: str
) -> list[Recording]:
    """The files that the config selects, and those that the data set holds already."""
    selected = select(found, include=source.include, exclude=source.exclude, where=where)[: source.limit]
    wanted = {*(r.name for r in selected), *map(_whole, held)}
    return [r for r in found if r.name in wanted]


def _whole(name: str) -> str:
    """The name of the file to which a part belongs."""
    whole, at, part = name.rpartition("@")
    return whole if at and part in ("train", "val", "test") else name


def _require_present(held: Iterable[str], found: Sequence[Recording], *, where: str, out: Place) -> None:
    """Raise UserError if the data set holds files that are no longer there."""
    missing = sorted({_whole(name) for name in held} - {r.name for r in found})
    if missing:
        raise UserError(
            f"{out.uri} holds {counted(len(missing), 'file')} that {where} no longer has (first: {missing[0]}). "
            "Correct source.root, choose another output.root, or pass --prune to drop them."
        )


def _splits(
    recordings: Sequence[Recording],
    source: PoseSourceOptions,
    form: PoseFormat,
    root: Place,
    lists: Lists | None,
    notes: list[str],
) -> list[tuple[Recording, tuple[str, ...]]]:
    """Each file with its split, or with several if it is divided between them; adds to the notes."""
    if lists is not None or source.split == "none":
        homes = assign(recordings, split="none", lists=lists)
        if unlisted := len(recordings) - len(homes):
            notes.append(
                f"Left out, because no list of source.split names them: {counted(unlisted, 'file')}."
            )
        return [(r, (homes[r.name],)) for r in recordings if r.name in homes]
    every = tuple(name for name, share in source.fractions.model_dump().items() if share > 0)
    found, untold = [], []
    for recording in recordings:
        named = split_in_name(recording.source)
        if named is None and not _tells_subjects(recording, form, root):
            untold.append(recording.source)
        found.append(
            (recording, (named,) if named else every if recording.source not in untold else ("train",))
        )
    if untold:
        notes.append(
            f"For training, because neither the name nor the content says a split or subjects: "
            f"{listed(untold, most=5)}. source.split=lists.yaml assigns files to splits."
        )
    return found


def _tells_subjects(recording: Recording, form: PoseFormat, root: Place) -> bool:
    """Whether a file tells the subject or sequence of its instances, judging by the names of its members."""
    try:
        with open_npz(root, recording.source, size=recording.size) as npz:
            return any(key in npz for key in form.subject_keys)
    except (NpzError, OSError):
        return False  # a worker will say what is wrong with it


def _parts(recording: Recording, splits: Sequence[str]) -> list[tuple[PoseFile, str]]:
    """A file as inputs of shards: one for each split that it is divided between."""
    divided = len(splits) > 1
    return [
        (
            PoseFile(
                recording.dataset,
                f"{recording.name}@{split}" if divided else recording.name,
                recording.source,
                # A part reads the whole file, and holds a share of it.
                recording.size,
                recording.fingerprint,
                split if divided else None,
            ),
            split,
        )
        for split in splits
    ]
