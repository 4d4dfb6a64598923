"""The Arrow schema of single poses, one row each; docs/how-to/poses.md describes it for readers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import AfterValidator

from mocap_ray.dataset.manifest import inside_its_groups
from mocap_ray.dataset.single.instances import OPTIONAL_PARTS
from mocap_ray.documents import FIRST, Count, Name
from mocap_ray.shards.layout import Counts, Manifest, ShardEntry

SCHEMA_VERSION = 1
PRODUCT = "poses"
"""`product` in the manifest."""
COLUMN = "poses"
WIDTH = 165
ROW_GROUP = 8192
"""Rows of a row group: 5 MB of poses."""


def given_column(part: str) -> str:
    """The name of the column that says whether a pose gives a part."""
    return f"has_{part}"


SCHEMA = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("subject", pa.string(), nullable=False),
        pa.field("gender", pa.string(), nullable=False),
        pa.field("family", pa.string(), nullable=False),
        pa.field("betas", pa.list_(pa.float32()), nullable=False),
        *(pa.field(given_column(part), pa.bool_(), nullable=False) for part in OPTIONAL_PARTS),
        pa.field(COLUMN, pa.list_(pa.float32(), WIDTH), nullable=False),
    ]
)
TEXTS = ("source", "subject", "gender", "family")


def to_parquet(table: pa.Table) -> pa.Buffer:
    """The table as the bytes of a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        row_group_size=ROW_GROUP,
        compression="zstd",
        compression_level=1,
        use_dictionary=list(TEXTS),
        use_byte_stream_split=[f"{name}.list.element" for name in ("betas", COLUMN)],
        write_statistics=[*TEXTS, "row"],
    )
    return sink.getvalue()


class PoseEntry(ShardEntry):
    """A file of poses."""

    path: Annotated[Name, AfterValidator(inside_its_groups)]


class PoseCounts(Counts):
    """Counts of files and poses, and of the poses that give each part."""

    files: Count
    poses: Count
    root: Count
    jaw: Count
    eyes: Count
    left_hand: Count
    right_hand: Count


class PoseGroupCounts(PoseCounts):
    """Counts of a sub-dataset and split."""

    dataset: str
    split: str


class PoseSourceCounts(PoseCounts):
    """Counts of a source."""

    source: Name


class PoseManifest(Manifest):
    """The manifest of a data set of single poses."""

    product: Literal["poses"]
    shards: Annotated[tuple[PoseEntry, ...], FIRST]
    counts: Annotated[tuple[PoseGroupCounts, ...], FIRST]
    sources: Annotated[tuple[PoseSourceCounts, ...], FIRST] = ()
    totals: PoseCounts


def given_parts(totals: PoseCounts) -> Sequence[str]:
    """The parts that at least one pose gives."""
    return [part for part in OPTIONAL_PARTS if getattr(totals, part)]
