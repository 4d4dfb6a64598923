"""The Arrow schema of clips, and conversion to and from it; `docs/data-format.md` describes it for readers.

Plain Arrow types, so that pyarrow, pandas, Polars, DuckDB and Hugging Face `datasets` read the files
without Ray or this package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mocap_ray.motion.clip import Clip

SCHEMA_VERSION = 1
"""Increased when a reader of the previous version would misread a file."""

FRAME_COLUMNS: dict[str, int] = {"features": 263, "joints": 66, "poses": 165, "trans": 3, "stick": 20}
"""Columns with one entry per frame -> how many numbers an entry has."""

OPTIONAL_COLUMNS: tuple[str, ...] = (*FRAME_COLUMNS, "vertices")
"""The columns that `output.columns` can name."""

NAME, DOMAIN, CAPTIONS = "name", "domain", "captions"
ADDED = (DOMAIN, NAME, CAPTIONS)
"""Plain columns that files from before a data set could have several sources may lack."""

_CAPTION = pa.struct(
    [("text", pa.string()), ("tokens", pa.string()), ("start", pa.float64()), ("end", pa.float64())]
)

_PLAIN: tuple[pa.Field, ...] = (
    pa.field("clip_id", pa.string(), nullable=False),
    pa.field("name", pa.string()),
    pa.field("recording", pa.string(), nullable=False),
    pa.field("domain", pa.string(), nullable=False),
    pa.field("subject", pa.string(), nullable=False),
    pa.field("gender", pa.string(), nullable=False),
    pa.field("family", pa.string(), nullable=False),
    pa.field("action", pa.string()),
    pa.field("style", pa.string()),
    pa.field("texts", pa.list_(pa.string()), nullable=False),
    pa.field("captions", pa.list_(_CAPTION), nullable=False),
    pa.field("fps", pa.float64(), nullable=False),
    pa.field("source_fps", pa.float64(), nullable=False),
    pa.field("num_frames", pa.int32(), nullable=False),
    pa.field("betas", pa.list_(pa.float32()), nullable=False),
)


def schema(columns: Sequence[str], *, metadata: dict[str, str] | None = None) -> pa.Schema:
    """Schema of a clips file with the chosen frame columns.

    Args:
        columns: any of `OPTIONAL_COLUMNS`, written in that order.
        metadata: written to the file as `mocap_ray.<key>`.
    """
    fields = list(_PLAIN)
    for name in OPTIONAL_COLUMNS:
        if name not in columns:
            continue
        # Vertices differ in number between families, so their entries have no fixed length.
        entry = pa.list_(pa.float32()) if name == "vertices" else pa.list_(pa.float32(), FRAME_COLUMNS[name])
        fields.append(pa.field(name, pa.list_(entry), nullable=name != "features"))
    meta = {f"mocap_ray.{key}": value for key, value in (metadata or {}).items()}
    return pa.schema(fields, metadata=meta)


def with_added(table: pa.Table, domain: str) -> pa.Table:
    """A table of an earlier version with the columns that it lacks: its domain, no names, no captions."""
    values: dict[str, str | list[str] | None] = {DOMAIN: domain, NAME: None, CAPTIONS: []}
    for field in _PLAIN:
        if field.name in values and field.name not in table.column_names:
            table = table.append_column(field, pa.array([values[field.name]] * len(table), field.type))
    return table


def _frames(name: str, arrays: list[np.ndarray | None]) -> pa.Array:
    """One frame column: arrays of [T, ...] float32, None for null rows."""
    lengths = [0 if a is None else len(a) for a in arrays]
    offsets = np.zeros(len(arrays) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    flat = [np.asarray(a, np.float32).reshape(len(a), -1) for a in arrays if a is not None]
    if name == "vertices":
        inner = np.concatenate([[0], np.cumsum([r.shape[1] for r in flat for _ in r])]).astype(np.int32)
        values = np.concatenate([r.ravel() for r in flat]) if flat else np.zeros(0, np.float32)
        entries: pa.Array = pa.ListArray.from_arrays(pa.array(inner), pa.array(values))
    else:
        width = FRAME_COLUMNS[name]
        joined = np.concatenate(flat) if flat else np.zeros((0, width), np.float32)
        entries = pa.FixedSizeListArray.from_arrays(pa.array(joined.ravel()), width)
    mask = pa.array([a is None for a in arrays]) if any(a is None for a in arrays) else None
    return pa.ListArray.from_arrays(pa.array(offsets), entries, mask=mask)


def to_table(clips: Sequence[Clip], file_schema: pa.Schema) -> pa.Table:
    """Clips as one Arrow table of `file_schema` (from `schema()`); the frames are copied once."""
    plain: dict[str, list[Any]] = {
        "clip_id": [c.clip_id for c in clips],
        "name": [c.name for c in clips],
        "recording": [c.recording.name for c in clips],
        "domain": [c.domain for c in clips],
        "subject": [c.recording.subject for c in clips],
        "gender": [c.gender for c in clips],
        "family": [c.family for c in clips],
        "action": [c.action for c in clips],
        "style": [c.style for c in clips],
        "texts": [list(c.texts) for c in clips],
        "captions": [[asdict(caption) for caption in c.captions] for c in clips],
        "fps": [c.fps for c in clips],
        "source_fps": [c.source_fps for c in clips],
        "num_frames": [c.num_frames for c in clips],
        "betas": [np.asarray(c.betas, np.float32) for c in clips],
    }
    arrays = [
        pa.array(plain[f.name], f.type)
        if f.name in plain
        else _frames(f.name, [getattr(c, f.name) for c in clips])
        for f in file_schema
    ]
    return pa.Table.from_arrays(arrays, schema=file_schema)


ROW_GROUP_CLIPS = 100
"""Rows of a row group; about 100 clips were fastest: 420 MB/s written and 1,500 MB/s read per core."""


def to_parquet(table: pa.Table) -> pa.Buffer:
    """The table as the bytes of a Parquet file: byte-stream split and zstd 1, no dictionary for floats."""
    floats = [_leaf(f) for f in table.schema if f.name in (*OPTIONAL_COLUMNS, "betas")]
    text = [f.name for f in table.schema if pa.types.is_string(f.type)]
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        row_group_size=ROW_GROUP_CLIPS,
        compression="zstd",
        compression_level=1,
        use_dictionary=text,
        use_byte_stream_split=floats,
        write_statistics=[*text, "num_frames", "fps", "source_fps"],
    )
    return sink.getvalue()


def _leaf(f: pa.Field) -> str:
    """Parquet's dotted path of the float leaf of a column."""
    path, kind = f.name, f.type
    while pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        path, kind = f"{path}.list.element", kind.value_type
    return str(path)


def frames(column: pa.Array, row: int) -> np.ndarray | None:
    """Entry `row` of a frame column as a read-only float32 view [T, width]; None if null.

    Takes one contiguous array (a chunk), not a ChunkedArray, so that no copy is made.
    """
    if not column[row].is_valid:
        return None
    entries = column[row].values
    if pa.types.is_fixed_size_list(entries.type):
        width = entries.type.list_size
        flat = entries.flatten().to_numpy(zero_copy_only=True)
        return np.asarray(flat).reshape(-1, width)
    return np.stack([np.asarray(e.values) for e in entries]) if len(entries) else np.zeros((0, 0), np.float32)
