"""How to open a data set with six libraries: the code shown in the data card and on the page.

Each snippet runs in the data set's folder; the tests run those whose library is a dependency of this project.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Snippet:
    """A few lines of Python, and the library they show."""

    title: str
    note: str
    code: str


_PYARROW = """\
import pyarrow.dataset as pads

clips = pads.dataset("clips", format="parquet", partitioning="hive")
chosen = pads.field("split") == "{split}"
for batch in clips.to_batches(columns=["features"], filter=chosen):
    for rows in batch["features"]:
        # a view of the file's own numbers, nothing is copied
        flat = rows.values.flatten().to_numpy()
        features = flat.reshape(-1, 263)
        print(features.shape)
"""

_PANDAS = """\
import numpy as np
import pandas as pd

clips = pd.read_parquet("clips")
groups = clips.groupby("split", observed=True)
print(groups.num_frames.describe())
features = np.stack(clips.features[0])  # [rows, 263]
"""

_DUCKDB = """\
import duckdb

print(duckdb.sql('''
    select dataset, split, count(*) as clips,
           sum(num_frames / fps) / 3600 as hours
    from read_parquet('clips/**/*.parquet',
                      hive_partitioning = true)
    group by all order by all
'''))
"""

_POLARS = """\
import polars as pl

files = "clips/**/*.parquet"
clips = pl.scan_parquet(files, hive_partitioning=True)
long = clips.filter(pl.col("num_frames") > 200)
print(long.select("clip_id", "num_frames").collect())
"""

_HUGGING_FACE = """\
from datasets import load_dataset

files = {{
{files}}}
clips = load_dataset("parquet", data_files=files)
first = clips["{split}"].with_format("numpy")[0]
features = first["features"]  # [rows, 263]
"""

_MOCAP_RAY = """\
import mocap_ray

ds = mocap_ray.open(".")
for clip in ds.clips(split="{split}", columns=["features"]):
    joints = ds.joints(clip)  # decoded, [rows, 22, 3]
    print(clip.clip_id, clip.features.shape, joints.shape)

# normalised windows of 40 frames, a torch Dataset
windows = ds.torch(split="{split}", length=40)
"""


def splits_of(manifest: Mapping[str, Any]) -> list[str]:
    """Splits that have clips, train first."""
    found = {count["split"] for count in manifest["counts"] if count["clips"]}
    usual = [s for s in ("train", "val", "test") if s in found]
    return usual + sorted(found - set(usual))


def snippets(manifest: Mapping[str, Any]) -> list[Snippet]:
    """The snippets for one data set, with a split that it has."""
    splits = splits_of(manifest) or ["train"]
    files = "".join(f'    "{s}": "clips/*/split={s}/*.parquet",\n' for s in splits)
    table = (
        ("mocap_ray", "Clips, normalised tensors and a torch Dataset; no Ray needed.", _MOCAP_RAY),
        ("pyarrow", "Streams the files batch by batch.", _PYARROW),
        ("pandas", "Everything in memory.", _PANDAS),
        ("DuckDB", "SQL straight over the files.", _DUCKDB),
        ("Polars", "Lazy: reads only what the query needs.", _POLARS),
        ("Hugging Face datasets", "Memory-mapped and shared between workers.", _HUGGING_FACE),
    )
    return [Snippet(title, note, code.format(split=splits[0], files=files)) for title, note, code in table]
