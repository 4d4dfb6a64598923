"""Which recordings a data set will hold: those that the config selects, and those that it holds already."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mocap_ray.archives.selection import matched, select, unmatched
from mocap_ray.dataset.options import SourceOptions
from mocap_ray.errors import UserError
from mocap_ray.records import Recording
from mocap_ray.shards.build import Earlier
from mocap_ray.shards.exclusions import Exclusions
from mocap_ray.shards.receipts import InputListing, Receipt
from mocap_ray.storage import Place, place
from mocap_ray.wording import counted


@dataclass(frozen=True, slots=True)
class Chosen:
    """The recordings of the finished data set.

    Attributes:
        recordings: before `limit` is applied.
        limited: names of those that remain after it.
        notes: sentences for the user.
    """

    recordings: list[Recording]
    limited: set[str]
    notes: list[str]


def choose(
    listed: Sequence[Recording],
    source: SourceOptions,
    old: Earlier[Any],
    *,
    out: Place,
    excluded: Exclusions,
    prune: bool,
) -> Chosen:
    """The recordings of the finished data set.

    A narrower selection than last time removes nothing, so that extracting A and then B gives A + B.

    Args:
        listed: all recordings of the archive.
        source: section of the config.
        old: what earlier runs made.
        out: root of the data set.
        excluded: what the data set leaves out for good.
        prune: whether to drop recordings that the archive no longer lists.

    Raises:
        UserError: nothing is selected, or recordings of the data set are no longer listed.
    """
    where = place(source.root).uri
    selected = select(listed, include=source.include, exclude=source.exclude, where=where)
    held = old.inputs()
    missing = {name: held[name] for name in sorted(held.keys() - {r.name for r in listed})}
    renamed = _renamed(missing.values(), listed)
    notes = _notes(listed, source, held.keys() - excluded.keys(), out)
    if renamed:
        notes.append(
            f"Replaced: {counted(len(renamed), 'recording')} of an earlier run on another folder of this archive, by "
            f"those of {where}; {next(iter(renamed))} is now {next(iter(renamed.values()))}."
        )
    elif missing and not prune:
        _require_no_clips(missing, old.own, where=where, out=out, everything=len(missing) == len(held))
    kept = {renamed.get(name, name) for name in held}
    wanted = {*(r.name for r in selected), *kept}
    limited = wanted if source.limit is None else {*(r.name for r in selected[: source.limit]), *kept}
    return Chosen([r for r in listed if r.name in wanted], limited, notes)


def _notes(listed: Sequence[Recording], source: SourceOptions, held: set[str], out: Place) -> list[str]:
    """What the patterns of the config do not do."""
    notes = [
        f"source.{key}: {pattern!r} means no recording of {place(source.root).uri}."
        for key, patterns in (("include", source.include), ("exclude", source.exclude))
        for pattern in unmatched(listed, patterns)
    ]
    stay = [r for r in matched(listed, source.exclude) if r.name in held]
    if stay:
        patterns = [p for p in source.exclude if not unmatched(stay, [p])]
        command = shlex.join(["mocap-ray", "dataset", "exclude", out.uri, *patterns, "--reason", "..."])
        notes.append(
            f"source.exclude means {counted(len(stay), 'recording')} that {out.uri} already holds (first: "
            f"{stay[0].name}), and an extraction takes nothing out. To take out what is there: {command}"
        )
    return notes


def _renamed(missing: Iterable[InputListing], listed: Sequence[Recording]) -> dict[str, str]:
    """Old name -> new name, if every missing recording is listed under a name with more or fewer folders before it.

    So it is after a run whose `source.root` was a folder too deep or too high. A file counts as the same if its size
    is the same. Empty if any of them has no such name, or several.
    """
    missing = list(missing)
    if not missing:
        return {}
    names: dict[tuple[str, int], list[str]] = {}
    for recording in listed:
        for tail in _tails(recording.name):
            names.setdefault((tail, recording.size), []).append(recording.name)
    found = {}
    for old in missing:
        new = {name for tail in _tails(old.name) for name in names.get((tail, old.size), ())}
        # One of the names ends in the other: not only the last folders are the same.
        new = {n for n in new if n.endswith(f"/{old.name}") or old.name.endswith(f"/{n}")}
        if len(new) != 1:
            return {}
        found[old.name] = new.pop()
    return found if len(set(found.values())) == len(found) else {}


def _tails(name: str) -> list[str]:
    """A name without none, one or two of its first folders.

    >>> _tails("a/b/c")
    ['a/b/c', 'b/c', 'c']
    """
    parts = name.split("/")
    return ["/".join(parts[start:]) for start in range(min(3, len(parts)))]


def _require_no_clips(
    missing: Mapping[str, InputListing],
    old: Mapping[str, Receipt[Any]],
    *,
    where: str,
    out: Place,
    everything: bool,
) -> None:
    """Raise unless all missing recordings were rejected, so that no clip is lost with them."""
    lost = [i.name for r in old.values() if r.rows for i in r.inputs if i.name in missing]
    if not lost:
        return
    if everything:
        raise UserError(
            f"{out.uri} holds {counted(len(lost), 'recording')} of another folder: {where} lists none of them (first: "
            f"{min(lost)}). If source.root was wrong then, pass --prune to replace them; if it is wrong now, correct "
            "it; otherwise set source.name to add another source, or choose another output.root."
        )
    raise UserError(
        f"{out.uri} holds {counted(len(lost), 'recording')} that {where} no longer lists (first: {min(lost)}). "
        "Point source.root to an archive that has them, choose another output.root, or pass --prune to drop them."
    )
