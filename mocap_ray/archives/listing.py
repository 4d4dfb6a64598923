"""Lists of splits, made from an archive by hashes: the same archive, shares and seed give the same lists anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mocap_ray.archives.splits import FRACTIONS, assign
from mocap_ray.errors import UserError
from mocap_ray.records import Recording
from mocap_ray.storage import Place
from mocap_ray.wording import counted, listed

By = Literal["subject", "recording"]


@dataclass(frozen=True, slots=True)
class WrittenLists:
    """The lists in a folder.

    Attributes:
        counts: split -> its number of recordings.
        subjects: split -> its number of subjects.
        written: the names of the files that were written; the others were there already, with the same lines.
    """

    counts: Mapping[str, int]
    subjects: Mapping[str, int]
    written: tuple[str, ...]


def make_lists(
    recordings: Sequence[Recording],
    *,
    fractions: Mapping[str, float] = FRACTIONS,
    by: By = "subject",
    seed: int = 0,
) -> dict[str, list[str]]:
    """Split -> names of its recordings, sorted; splits whose share is 0 are left out.

    Args:
        recordings: at least one, with different names.
        fractions: share of each split; their sum is 1.
        by: whether all recordings of a subject are in one split, or each recording is drawn on its own.
        seed: another seed gives another draw; 0 by subject is the draw of `source.split: subject`.

    Raises:
        UserError: a split would stay empty.
    """
    drawn = recordings if by == "subject" else [replace(r, subject=r.name) for r in recordings]
    splits = assign(drawn, split="subject", fractions=fractions, seed=seed)
    lists: dict[str, list[str]] = {name: [] for name, share in fractions.items() if share > 0}
    for name in sorted(splits):
        lists[splits[name]].append(name)
    return lists


def write_lists(
    folder: Place,
    lists: Mapping[str, Sequence[str]],
    recordings: Sequence[Recording],
    *,
    overwrite: bool = False,
) -> WrittenLists:
    """Write `<split>.txt` for each split, one name a line, as `source.split` reads them.

    Args:
        folder: made if it does not exist.
        lists: of `make_lists`.
        recordings: those of the lists, for the numbers of subjects.
        overwrite: whether to replace other lists, and remove those of splits that are not in `lists`.

    Raises:
        UserError: there are other lists in the folder.
        OSError: a file cannot be written.
    """
    wanted = {
        f"{split}.txt": "".join(f"{name}\n" for name in names).encode() for split, names in lists.items()
    }
    existing = {name: folder.read(name) for name in folder.names() if name.endswith(".txt")}
    others = sorted(name for name, data in existing.items() if wanted.get(name) != data)
    if others and not overwrite:
        raise UserError(
            f"{folder.uri}: it holds {counted(len(others), 'other list')} ({listed(others, most=3)}). Choose another "
            "folder, or replace them with --overwrite."
        )
    for name in others:
        if name not in wanted:
            folder.remove(name)
    written = tuple(name for name, data in wanted.items() if existing.get(name) != data)
    for name in written:
        folder.write_atomic(wanted[name], name)
    subjects = {r.name: r.subject for r in recordings}
    return WrittenLists(
        counts={split: len(names) for split, names in lists.items()},
        subjects={split: len({subjects[name] for name in names}) for split, names in lists.items()},
        written=written,
    )
