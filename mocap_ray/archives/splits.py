"""Which recording belongs to which split: by subject, by the published split of its archive, or by lists."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from pyarrow import fs as pafs

from mocap_ray.archives.archive import Published
from mocap_ray.errors import UserError
from mocap_ray.records import Recording
from mocap_ray.storage import place
from mocap_ray.wording import counted

FRACTIONS: Mapping[str, float] = MappingProxyType({"train": 0.8, "val": 0.1, "test": 0.1})

RULES = ("subject", "published", "none")
"""Values of `source.split` besides the name of an archive with a published split and the address of lists."""

Lists = Mapping[str, Sequence[str]]


def assign(
    recordings: Sequence[Recording],
    *,
    split: str,
    fractions: Mapping[str, float] = FRACTIONS,
    lists: Lists | None = None,
    published: Published | None = None,
) -> dict[str, str]:
    """The split of each recording, by its name.

    Args:
        recordings: all recordings of an archive.
        split: `subject`: a hash of the subject decides, so that every subject is in exactly one split, also after
            new data is added; `published`: the split of the archive's authors; `none`: all train; otherwise the
            address of a folder with train.txt, val.txt, test.txt (`read_lists`).
        fractions: share of the subjects in each split, in this order along the hash; their sum is 1.
        lists: split -> names, subjects, sub-datasets or folders, as in a YAML file; takes precedence over `split`.
            The most specific entry decides; `*` matches everything else. Recordings in no list are left out of the
            result, and so of the data set.
        published: the published split; takes precedence over `split`, but not over lists.

    Raises:
        UserError: unknown `split`, invalid fractions, an entry in two lists, or a split without recordings that
            should have some; the message has the counts and says what to do.
    """
    if lists is None and published is None and split not in ("subject", "none"):
        lists = read_lists(split)
    if lists is not None:
        found = _by_lists(recordings, lists)
        _none_empty(
            found, [name for name, entries in lists.items() if entries], recordings, "Correct that list"
        )
        return found
    if published is None and split == "none":
        return {r.name: "train" for r in recordings}
    total = sum(fractions.values())
    if abs(total - 1) > 1e-6 or any(share < 0 for share in fractions.values()):
        raise UserError(f"source.fractions {dict(fractions)}: expected shares from 0 to 1 that sum to 1.")
    if published is not None:
        found = {r.name: published(r) for r in recordings}
    else:
        by_subject = {s: _hashed(s, fractions) for s in {r.subject for r in recordings}}
        found = {r.name: by_subject[r.subject] for r in recordings}
    needed = [name for name, share in fractions.items() if share > 0]
    _none_empty(found, needed, recordings, "Set its fraction to 0 and raise another (source.fractions)")
    return found


def read_lists(address: str) -> dict[str, list[str]]:
    """Read lists from a folder of .txt files with one entry per line; the name of a file is the name of its split.

    Blank lines and lines that start with # are skipped.

    Raises:
        UserError: no such folder, no list in it, or a list that is not UTF-8.
    """
    folder = place(address)
    is_folder = folder.fs.get_file_info(folder.path).type == pafs.FileType.Directory
    files = [info for info in folder.files() if info.path.endswith(".txt")] if is_folder else []
    files = [info for info in files if "/" not in folder.relative(info.path)]
    if not files:
        raise UserError(
            f"source.split {address!r}: unknown split. Expected subject, published, none, the name of an archive with "
            "a published split, a folder with train.txt, val.txt and test.txt, or an existing YAML file."
        )
    lists: dict[str, list[str]] = {}
    for info in files:
        name = folder.relative(info.path)
        try:
            lines = [line.strip() for line in folder.read(name).decode("utf-8-sig").splitlines()]
        except UnicodeDecodeError as error:
            raise UserError(f"{address}/{name}: {error}. Expected names in UTF-8, one per line.") from error
        lists[name.removesuffix(".txt")] = [line for line in lines if line and not line.startswith("#")]
    return lists


def _hashed(subject: str, fractions: Mapping[str, float]) -> str:
    """The split of a subject: its hash falls into the interval of [0, 1) that belongs to that split."""
    number = int.from_bytes(hashlib.sha256(subject.encode()).digest()[:8], "big") / 2**64
    upper = 0.0
    for name, share in fractions.items():
        upper += share
        if number < upper:
            return name
    return [name for name, share in fractions.items() if share > 0][-1]  # the sum is below 1 by rounding


def _by_lists(recordings: Sequence[Recording], lists: Lists) -> dict[str, str]:
    homes: dict[str, str] = {}
    for split, entries in lists.items():
        for entry in entries:
            key = entry.removeprefix("./").removesuffix(".npz").strip("/")
            if homes.setdefault(key, split) != split:
                raise UserError(
                    f"source.split: {entry!r} is in two lists, {homes[key]} and {split}. Remove it from one."
                )
    found: dict[str, str] = {}
    for recording in recordings:
        parts = recording.name.split("/")
        keys = ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
        # A subject is more specific than a sub-dataset, and less specific than the folders below it.
        keys[-1:-1] = [recording.subject]
        home = next((homes[key] for key in (*keys, "*") if key in homes), None)
        if home is not None:
            found[recording.name] = home
    return found


def _none_empty(
    found: dict[str, str], needed: Sequence[str], recordings: Sequence[Recording], remedy: str
) -> None:
    counts = Counter(found.values())
    empty = [name for name in needed if not counts[name]]
    if not empty:
        return
    shown = ", ".join(f"{name} {counts[name]}" for name in dict.fromkeys((*needed, *sorted(counts))))
    subjects = len({r.subject for r in recordings})
    raise UserError(
        f"No recording is in split {' or '.join(empty)} ({shown}; {counted(len(recordings), 'recording')} of "
        f"{counted(subjects, 'subject')} in {counted(len({r.dataset for r in recordings}), 'sub-dataset')}). "
        f"{remedy}, set source.split to none, or to a file or folder with lists."
    )
