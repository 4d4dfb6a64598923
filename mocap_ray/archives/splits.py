"""Which recording belongs to which split: by subject, by the published split of its archive, or by lists."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pyarrow import fs as pafs
from pydantic import TypeAdapter, ValidationError

from mocap_ray.archives.archive import Published
from mocap_ray.errors import UserError
from mocap_ray.records import Recording
from mocap_ray.storage import Place, place
from mocap_ray.wording import choices, counted, listed, override

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
    seed: int = 0,
) -> dict[str, str]:
    """The split of each recording, by its name.

    Args:
        recordings: all recordings of an archive.
        split: `subject`: a hash of the subject decides, so that every subject is in exactly one split, also after
            new data is added, and a split that the hashes leave empty gets a whole subject of another (`moved`);
            `published`: the split of the archive's authors; `none`: all train; otherwise the address of a folder with
            train.txt, val.txt, test.txt (`read_lists`).
        fractions: share of the subjects in each split, in this order along the hash; their sum is 1.
        lists: split -> names, subjects, sub-datasets or folders, as in a YAML file; takes precedence over `split`.
            The most specific entry decides; `*` matches everything else. Recordings in no list are left out of the
            result, and so of the data set.
        published: the published split; takes precedence over `split`, but not over lists.
        seed: another seed than 0 hashes subjects in another way.

    Raises:
        UserError: unknown `split`, invalid fractions, an entry in two lists, or a split without recordings that
            should have some; the message has the counts and says what to do.
    """
    if lists is None and published is None and split not in ("subject", "none"):
        lists = read_lists(split)
    if lists is not None:
        found = _by_lists(recordings, lists)
        filled = [name for name, entries in lists.items() if entries]
        _none_empty(found, filled, recordings, "Correct that list.")
        return found
    if published is None and split == "none":
        return {r.name: "train" for r in recordings}
    total = sum(fractions.values())
    if abs(total - 1) > 1e-6 or any(share < 0 for share in fractions.values()):
        raise UserError(f"source.fractions {dict(fractions)}: expected shares from 0 to 1 that sum to 1.")
    if published is not None:
        found = {r.name: published(r) for r in recordings}
    else:
        by_subject = _by_subject({r.subject for r in recordings}, fractions, seed)
        found = {r.name: by_subject[r.subject] for r in recordings}
    needed = [name for name, share in fractions.items() if share > 0]
    # By subject, every split can be the one that is filled; so keep the largest ones.
    by_share = sorted(needed, key=lambda name: -fractions[name])
    kept = set(found.values()) if published is not None else by_share[: len(set(found.values()))]
    options = {
        override(_only(kept, fractions)): f"without {listed([name for name in needed if name not in kept])}",
        override(f"source.split={'none' if published is None else 'subject'}"): (
            "all for training" if published is None else "by subjects"
        ),
        override("source.split=lists.yaml"): "by your own lists (docs/data-format.md, Splits)",
    }
    _none_empty(found, needed, recordings, f"Choose one:\n{choices(options)}")
    return found


def moved(
    recordings: Sequence[Recording], splits: Mapping[str, str], fractions: Mapping[str, float] = FRACTIONS
) -> str | None:
    """A warning about subjects whose split is not that of their hash, because it would be empty; None without any.

    Args:
        recordings, splits: argument and result of `assign` with `split="subject"`.
        fractions: as there.
    """
    homes = {r.subject: splits[r.name] for r in recordings}
    others = {s: split for s, split in sorted(homes.items()) if split != _hashed(s, fractions)}
    if not others:
        return None
    came = [f"{s} from {_hashed(s, fractions)} to {split}" for s, split in others.items()]
    empty = [name for name in fractions if name in others.values()]
    what = "a whole subject moves" if len(others) == 1 else "whole subjects move"
    return (
        f"source.split subject: the hashes of {counted(len(homes), 'subject')} leave {listed(empty)} empty, so {what} "
        f"there: {listed(came)}. Adding subjects may undo this, until every split has a subject by its hash: with "
        f"{_enough(fractions)} subjects or more that is 99 % certain, and then nobody moves any more."
    )


def read_lists(address: str) -> dict[str, list[str]]:
    """Read lists from a folder of .txt files with one entry per line; the name of a file is the name of its split.

    If there is no such folder, the last part of the address is the beginning of the names: `splits/pose` means
    `splits/pose_train.txt`, `splits/pose_val.txt` and so on. Blank lines and lines that start with # are skipped.

    Raises:
        UserError: no such folder, no list in it, or a list that is not UTF-8.
    """
    folder, prefix = place(address), ""
    files = _text_files(folder)
    if not files and folder.fs.get_file_info(folder.path).type == pafs.FileType.NotFound:
        above, _, last = folder.path.rpartition("/")
        folder, prefix = Place(folder.fs, above, folder.uri.rpartition("/")[0] or "."), f"{last}_"
        files = [name for name in _text_files(folder) if name.startswith(prefix)]
    if not files:
        raise UserError(
            f"source.split {address!r}: unknown split. Expected subject, published, none, the name of an archive with "
            "a published split, a folder with train.txt, val.txt and test.txt, or an existing YAML file."
        )
    return {name.removeprefix(prefix).removesuffix(".txt"): read_names(folder, name) for name in files}


def _text_files(folder: Place) -> list[str]:
    """Names of the .txt files directly in a folder; empty if it is none."""
    if folder.fs.get_file_info(folder.path).type != pafs.FileType.Directory:
        return []
    names = [folder.relative(info.path) for info in folder.files()]
    return [name for name in names if name.endswith(".txt") and "/" not in name]


def read_names(folder: Place, path: str) -> list[str]:
    """The lines of a text file, without blank lines and lines that start with #.

    Raises:
        UserError: the file is not UTF-8.
    """
    try:
        lines = [line.strip() for line in folder.read(path).decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise UserError(f"{folder.uri}/{path}: {error}. Expected names in UTF-8, one per line.") from error
    return [line for line in lines if line and not line.startswith("#")]


def checked_lists(value: Any, where: str) -> dict[str, list[str]]:
    """The content of a YAML file of lists.

    Raises:
        UserError: it is anything else than split -> list of names.
    """
    try:
        return TypeAdapter(dict[str, list[str]]).validate_python(value, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        found = f"found {str(first['input'])[:60]!r}{place and f' at {place}'}"
        raise UserError(
            f"source.split {where}: {found}. Expected lists of texts such as `train: [CMU, KIT/3]` and "
            "`val: ['07']`; numbers need quotes."
        ) from error


def _by_subject(subjects: Iterable[str], fractions: Mapping[str, float], seed: int = 0) -> dict[str, str]:
    """The split of each subject: that of its hash, except that no split stays empty if there are enough subjects.

    An empty split gets the subject whose hash is closest to its interval, from the split that has the most subjects
    above its share, and keeps at least one. Nothing is moved if the hashes fill every split, so this never changes an
    assignment without empty splits.
    """
    homes = {s: _hashed(s, fractions, seed) for s in sorted(subjects)}
    for empty, (lower, upper) in _intervals(fractions).items():
        counts = Counter(homes.values())
        donors = [name for name in fractions if counts[name] > 1]
        if counts[empty] or upper <= lower or not donors:
            continue
        donor = max(donors, key=lambda name: counts[name] - fractions[name] * len(homes))
        closest = min(
            (s for s, split in homes.items() if split == donor),
            key=lambda s: max(lower - _number(s, seed), _number(s, seed) - upper),
        )
        homes[closest] = empty
    return homes


def _intervals(fractions: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Split -> its interval of hashes."""
    lower, found = 0.0, {}
    for name, share in fractions.items():
        found[name] = (lower, lower + share)
        lower += share
    return found


def _enough(fractions: Mapping[str, float]) -> int:
    """A number of subjects with which the hashes fill every split with a probability of at least 99 %."""
    shares = [share for share in fractions.values() if share > 0]
    return math.ceil(math.log(100 * len(shares)) / -math.log1p(-min(shares)))


def _only(kept: Collection[str], fractions: Mapping[str, float]) -> str:
    """The fractions that need these splits alone, as an assignment for `--override`."""
    return completed({name: share if name in kept else 0.0 for name, share in fractions.items()})


def completed(shares: Mapping[str, float]) -> str:
    """Shares whose sum is made 1 by the largest one, or else by scaling, as an assignment for `--override`.

    >>> completed({"train": 0.8, "val": 0.1, "test": 0.0})
    'source.fractions={train: 0.9, val: 0.1, test: 0}'
    >>> completed({"train": 0.3, "val": 0.8, "test": 0.9})
    'source.fractions={train: 0.15, val: 0.4, test: 0.45}'
    """
    total = sum(shares.values())
    largest = max(shares, key=lambda name: shares[name])
    if shares[largest] + 1 - total > max((s for n, s in shares.items() if n != largest), default=0):
        shares = {**shares, largest: shares[largest] + 1 - total}
    else:
        shares = {name: share / total for name, share in shares.items()}
    return f"source.fractions={{{', '.join(f'{name}: {share:.10g}' for name, share in shares.items())}}}"


def split_of(subject: str, fractions: Mapping[str, float] = FRACTIONS) -> str:
    """The split of a subject by its hash alone, whatever other subjects there are."""
    return _hashed(subject, fractions)


def _number(subject: str, seed: int = 0) -> float:
    """The hash of a subject, in [0, 1)."""
    text = f"{seed}\n{subject}" if seed else subject
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def _hashed(subject: str, fractions: Mapping[str, float], seed: int = 0) -> str:
    """The split of a subject: its hash falls into the interval of [0, 1) that belongs to that split."""
    number = _number(subject, seed)
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
        keys = [recording.source, *("/".join(parts[:count]) for count in range(len(parts), 0, -1))]
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
        f"{remedy}"
    )
