"""`mocap-ray dataset validate`: read every shard of a data set again, and check it against its manifest and recipe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mocap_ray.dataset.checks import Problem, ShardFindings, check_shard
from mocap_ray.dataset.parquet import DAMAGE, Shard, checked, on_one_line
from mocap_ray.dataset.passes import Pass, in_process
from mocap_ray.dataset.product import CLIPS
from mocap_ray.dataset.reader import DataSet
from mocap_ray.dataset.twins import Twins
from mocap_ray.shards.manifest import NAME as MANIFEST
from mocap_ray.wording import counted, listed

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Validation:
    """The result.

    Attributes:
        root: of the data set.
        shards, clips, bytes: how much was read.
        problems: errors first.
    """

    root: str
    shards: int
    clips: int
    bytes: int
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> int:
        """The number of errors."""
        return sum(p.level == "error" for p in self.problems)

    @property
    def warnings(self) -> int:
        """The number of warnings."""
        return len(self.problems) - self.errors

    def values(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "root": self.root,
            "shards": self.shards,
            "clips": self.clips,
            "bytes": self.bytes,
            "errors": self.errors,
            "warnings": self.warnings,
            "problems": [asdict(p) for p in self.problems],
        }


def validate(ds: DataSet, *, run: Pass = in_process, progress: Progress | None = None) -> Validation:
    """Read every shard, and check each alone and all together.

    Args:
        ds: the data set.
        run: where shards are read.
        progress: called with the number of shards that are done, and of all.

    Raises:
        OSError: a file cannot be read, which proves nothing about its content.
    """
    found: list[ShardFindings] = []
    for findings in run(partial(check_shard, ds), range(len(ds.shards))):
        found.append(findings)
        if progress is not None:
            progress(len(found), len(ds.shards))
    found.sort(key=lambda f: f.number)
    problems = [p for f in found for p in f.problems]
    for check in (_names, _subjects, _counts, _rejected, _strays):
        problems += check(ds, found)
    problems += Twins(ds, found).problems()
    problems.sort(key=lambda p: p.level != "error")
    return Validation(
        ds.place.uri,
        len(found),
        sum(len(f.clip_ids) for f in found),
        sum(f.bytes for f in found),
        tuple(problems),
    )


def _names(ds: DataSet, found: Sequence[ShardFindings]) -> Iterator[Problem]:
    """Ids that occur twice, and recordings of two sources."""
    times = Counter(clip_id for f in found for clip_id in f.clip_ids)
    twice = tuple(sorted(clip_id for clip_id, count in times.items() if count > 1))
    if twice:
        yield Problem("error", "ids", "clips", "clip_id: not unique", twice)
    homes: dict[str, set[str]] = {}
    for f in found:
        for name in set(f.recordings):
            homes.setdefault(name, set()).add(ds.shards[f.number].source)
    shared = sorted(name for name, sources in homes.items() if len(sources) > 1)
    if shared:
        text = f"{counted(len(shared), 'recording')} of several sources: {listed(shared, most=5)}"
        yield Problem("error", "ids", "clips", text)


def _subjects(ds: DataSet, found: Sequence[ShardFindings]) -> Iterator[Problem]:
    """Subjects in several splits: an error if the split is by subject, else a warning that names what asks for it."""
    homes: dict[str, set[tuple[str, str]]] = {}
    for f in found:
        shard = ds.shards[f.number]
        for subject in set(f.subjects):
            homes.setdefault(subject, set()).add((shard.split, shard.source))
    several: dict[tuple[str, ...], list[str]] = {}
    for subject, places in sorted(homes.items()):
        if len({split for split, _ in places}) > 1:
            several.setdefault(tuple(sorted({source for _, source in places})), []).append(subject)
    for sources, subjects in several.items():
        rules = [_rule(ds, source) for source in sources]
        asked = [f"{rule} of {source}" for rule, source in zip(rules, sources, strict=True) if rule]
        splits = sorted({split for subject in subjects for split, _ in homes[subject]})
        noun, verb = ("subject", "is") if len(subjects) == 1 else ("subjects", "are")
        text = f"{len(subjects):,} {noun} {verb} in several splits ({listed(splits)}): {listed(subjects, most=5)}; "
        if asked:
            yield Problem("warning", "subjects", listed(sources), f"{text}asked for by {listed(asked)}")
        else:
            yield Problem(
                "error", "subjects", listed(sources), f"{text}source.split: subject puts each into one"
            )


def _rule(ds: DataSet, source: str) -> str | None:
    """What asks for a split that may divide subjects; None if the split is by subject, or all is for training."""
    one = ds.recipes.sources.get(source)
    split = one.settings.get("split") if one is not None else None
    if isinstance(split, dict):
        return f"the lists of source.split (sha256 {str(split.get('lists'))[:12]})"
    return None if split in (None, "subject", "none") else f"the published split {split}"


def _counts(ds: DataSet, found: Sequence[ShardFindings]) -> Iterator[Problem]:
    """Counts of the manifest that are not those of the rows: of each group, of each source, and of all."""
    clips: Counter[tuple[str, ...]] = Counter()
    frames: Counter[tuple[str, ...]] = Counter()
    unread: set[tuple[str, ...]] = set()
    for f in found:
        for key in _counted_in(ds.shards[f.number]):
            clips[key] += len(f.clip_ids)
            frames[key] += int(f.num_frames.sum())
            if any(p.check in ("missing", "unreadable", "schema") for p in f.problems):
                unread.add(key)
    stated: list[tuple[tuple[str, ...], dict[str, Any]]] = [((), ds.manifest["totals"])]
    for row in ds.manifest["counts"]:
        source = row.get("source") or next(
            iter(ds.sources), ""
        )  # of an earlier version, which had one source
        stated.append(((source, row["dataset"], row["split"]), row))
    stated += [((row["source"],), row) for row in ds.manifest.get("sources", ())]
    for key, row in stated:
        if key not in unread and (row["clips"], row["frames"]) != (clips[key], frames[key]):
            text = (
                f"{listed(key) or 'totals'}: {MANIFEST} counts {counted(row['clips'], 'clip')} and "
                f"{counted(row['frames'], 'frame')}, the shards hold {clips[key]:,} and {frames[key]:,}"
            )
            yield Problem("error", "counts", MANIFEST, text)


def _counted_in(shard: Shard) -> tuple[tuple[str, ...], ...]:
    """The keys of the counts in the manifest that a shard is part of: its group, its source, and all."""
    return (shard.source, shard.dataset, shard.split), (shard.source,), ()


def _rejected(ds: DataSet, found: Sequence[ShardFindings]) -> Iterator[Problem]:
    """rejected.parquet against the manifest."""
    name = "rejected.parquet"
    try:
        data = ds.place.read(name)
    except FileNotFoundError:
        yield Problem("error", "rejected", name, "it is missing")
        return
    try:
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            reasons = checked(file.read(["reason"], use_threads=False))["reason"].to_pylist()
    except (*DAMAGE, KeyError) as error:  # of bytes in memory: no disk is involved
        yield Problem("error", "rejected", name, f"cannot be read: {on_one_line(error)}")
        return
    if dict(Counter(reasons)) != ds.manifest["totals"]["rejected"]:
        yield Problem("error", "rejected", name, f"its reasons are not those that {MANIFEST} counts")


def _strays(ds: DataSet, found: Sequence[ShardFindings]) -> Iterator[Problem]:
    """Files that a glob finds, but that the manifest does not list."""
    known = {s.path for s in ds.shards}
    files = [ds.place.relative(i.path) for i in ds.place.files(CLIPS.folder) if i.path.endswith(".parquet")]
    for path in sorted(set(files) - known):
        yield Problem(
            "warning",
            "stray",
            path,
            f"not in {MANIFEST}: of an unfinished source, or foreign; a glob reads it",
        )
