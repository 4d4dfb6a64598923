"""The types of a data set's manifest.json, as `docs/data-format.md` describes it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator

from mocap_ray.dataset.schema import OPTIONAL_COLUMNS
from mocap_ray.documents import FIRST, Amount, Count, Name
from mocap_ray.shards.layout import Counts, Manifest, ShardEntry


def inside_its_groups(path: str) -> str:
    """The path of a shard. Raises ValueError unless it is below the data set, in a folder of a dataset and a split."""
    parts = path.split("/")
    if ".." in parts or "" in parts or "\0" in path:
        raise ValueError("a path that leaves the data set")
    for key in ("dataset=", "split="):
        if not any(part.startswith(key) for part in parts[:-1]):
            raise ValueError(f"a path without a folder {key}...")
    return path


def _column(name: str) -> str:
    """A frame column. Raises ValueError for another name."""
    if name not in OPTIONAL_COLUMNS:
        raise ValueError(f"expected one of {', '.join(OPTIONAL_COLUMNS)}")
    return name


class ClipEntry(ShardEntry):
    """A file of clips."""

    path: Annotated[Name, AfterValidator(inside_its_groups)]
    frames: Count


class ClipCounts(Counts):
    """Counts of recordings, clips and rows of features."""

    recordings: Count
    clips: Count
    frames: Count
    seconds: Amount
    other_gender_body: Count = 0
    missing_body: Count = 0
    other_rate: Count = 0
    short_segments: Count = 0
    retimed_segments: Count = 0


class GroupCounts(ClipCounts):
    """Counts of a sub-dataset and split."""

    dataset: str
    split: str


class SourceCounts(ClipCounts):
    """Counts of a source."""

    source: Name


class ClipManifest(Manifest):
    """The manifest of a data set of clips; `sources` is empty in files of earlier versions."""

    shards: Annotated[tuple[ClipEntry, ...], FIRST]
    counts: Annotated[tuple[GroupCounts, ...], FIRST]
    sources: Annotated[tuple[SourceCounts, ...], FIRST] = ()
    totals: ClipCounts
    profile: Literal["humanml3d", "flowmimic"]
    columns: tuple[Annotated[str, AfterValidator(_column)], ...]
    standin_body: bool
