"""Parquet preserves clips exactly, in plain Arrow types."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mocap_ray.dataset import schema
from mocap_ray.motion.clip import Clip
from mocap_ray.records import Recording


def _clip(i: int, frames: int, *, poses: bool = True, vertices: int = 5) -> Clip:
    draw = np.random.default_rng(i)

    def floats(*shape: int) -> Any:
        return draw.standard_normal(shape).astype(np.float32)

    name = f"CMU/01/{i}"
    return Clip(
        f"{name}@0",
        Recording("CMU", name, "CMU/01", f"{name}.npz", 1, "1"),
        "neutral",
        "smplh",
        20.0,
        120.0,
        floats(10),
        floats(frames - 1, 263),
        floats(frames, 22, 3),
        "neutral",
        poses=floats(frames, 55, 3) if poses else None,
        trans=floats(frames, 3) if poses else None,
        stick=floats(frames, 20),
        vertices=floats(frames, vertices, 3),
        texts=("a", "b") if i else (),
    )


@pytest.mark.parametrize(
    "columns", [["features"], ["features", "poses", "trans"], list(schema.OPTIONAL_COLUMNS)]
)
def test_parquet_preserves_every_bit(columns: list[str]) -> None:
    clips = [_clip(0, 7), _clip(1, 3, poses=False), _clip(2, 2, vertices=9), _clip(3, 30, poses=False)]
    file_schema = schema.schema(columns, metadata={"recipe_hash": "abc"})
    data = schema.to_parquet(schema.to_table(clips, file_schema))
    table = pq.read_table(io.BytesIO(data))
    assert table.schema.equals(file_schema)
    assert table.schema.metadata[b"mocap_ray.recipe_hash"] == b"abc"
    for name in columns:
        column = table[name].combine_chunks()
        for row, clip in enumerate(clips):
            value = getattr(clip, name)
            found = schema.frames(column, row)
            if value is None:
                assert found is None
            else:
                assert found is not None
                np.testing.assert_array_equal(found, value.reshape(len(value), -1))
    assert table["texts"].to_pylist() == [[], ["a", "b"], ["a", "b"], ["a", "b"]]


def test_the_same_clips_give_the_same_bytes() -> None:
    file_schema = schema.schema(["features", "joints"])
    clips = [_clip(i, 20) for i in range(3)]
    first = schema.to_parquet(schema.to_table(clips, file_schema))
    assert first.equals(schema.to_parquet(schema.to_table(clips, file_schema)))


def test_floats_are_byte_stream_split_without_dictionary() -> None:
    data = schema.to_parquet(schema.to_table([_clip(0, 50)], schema.schema(["features", "joints"])))
    group = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    features = columns["features.list.element.list.element"]
    assert "BYTE_STREAM_SPLIT" in features.encodings
    assert not features.has_dictionary_page
    assert features.compression == "ZSTD"


def test_types_are_plain() -> None:
    fields = {f.name: f.type for f in schema.schema(["features", "poses"])}
    assert fields["features"] == pa.list_(pa.list_(pa.float32(), 263))
    assert fields["poses"] == pa.list_(pa.list_(pa.float32(), 165))
    assert fields["num_frames"] == pa.int32()
