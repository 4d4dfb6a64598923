"""The last step of a run: receipts become statistics, rejections, the data card and the manifest."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mocap_ray.archives import Archive
from mocap_ray.dataset.card import card
from mocap_ray.dataset.receipts import Receipt
from mocap_ray.dataset.schema import OPTIONAL_COLUMNS, SCHEMA_VERSION
from mocap_ray.motion.features import column_names
from mocap_ray.motion.statistics import RULES, Moments
from mocap_ray.storage import Place
from mocap_ray.version import __version__

NAME = "manifest.json"


def finish(
    out: Place, receipts: Iterable[Receipt], recipe: Mapping[str, Any], recipe_hash: str, archive: Archive
) -> dict[str, Any]:
    """Write everything that is made from the receipts, the manifest last; its presence means complete.

    Holds no time, host or path of a machine: the same input and recipe give the same bytes.

    Returns:
        The manifest.
    """
    receipts = sorted(receipts, key=lambda r: r.path)
    profile = recipe["motion"]["profile"]
    out.publish(_statistics(receipts, profile), "statistics.npz")
    out.publish(_rejected(receipts), "rejected.parquet")
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "package_version": __version__,
        "recipe": dict(recipe),
        "recipe_hash": recipe_hash,
        "profile": profile,
        "columns": [c for c in OPTIONAL_COLUMNS if c in recipe["columns"]],
        "standin_body": any(m["standin"] for m in recipe["body"]["models"].values()),
        "shards": [
            {"path": r.path, "sha256": r.sha256, "rows": r.rows, "frames": r.frames, "bytes": r.bytes}
            for r in receipts
            if r.sha256 is not None
        ],
        "counts": [
            {
                "dataset": dataset,
                "split": split,
                **_count(r for r in receipts if (r.dataset, r.split) == (dataset, split)),
            }
            for dataset, split in sorted({(r.dataset, r.split) for r in receipts})
        ],
        "totals": _count(receipts),
    }
    source = (archive.title, archive.licence, archive.citation, archive.url)
    sources = {row["dataset"]: source for row in manifest["counts"]}
    out.publish(card(manifest, sources).encode(), "README.md")
    out.publish(json.dumps(manifest, indent=1, sort_keys=True).encode(), NAME)
    return manifest


def _count(receipts: Iterable[Receipt]) -> dict[str, Any]:
    """Counts of some shards; `seconds` is summed in the order of their paths, so its bits are fixed."""
    receipts = list(receipts)
    reasons = Counter(left.reason for r in receipts for left in r.rejections)
    return {
        "recordings": sum(len(r.inputs) for r in receipts),
        "clips": sum(r.rows for r in receipts),
        "frames": sum(r.frames for r in receipts),
        "seconds": sum(r.seconds for r in receipts),
        "rejected": dict(sorted(reasons.items())),
        "other_gender_body": sum(r.other_gender_body for r in receipts),
    }


def _statistics(receipts: Sequence[Receipt], profile: str) -> bytes:
    """statistics.npz: of the train split, merged in the order of the shards' paths."""
    moments = Moments.empty()
    for receipt in receipts:
        if receipt.split == "train":
            moments = moments.merge(receipt.moments.moments())
    results: dict[str, tuple[np.ndarray, np.ndarray]] = {name: rule(moments) for name, rule in RULES.items()}
    mean, std = results[profile]
    arrays: dict[str, Any] = {f"std_{name}": s.astype(np.float32) for name, (_, s) in results.items()}
    sink = io.BytesIO()
    np.savez(
        sink,
        mean=mean.astype(np.float32),
        std=std.astype(np.float32),
        count=np.int64(moments.count),
        profile=np.array(profile),
        columns=np.array(column_names()),
        **arrays,
    )
    return sink.getvalue()


def _rejected(receipts: Sequence[Receipt]) -> pa.Buffer:
    """rejected.parquet: one row per recording or piece left out."""
    rows = sorted(
        (left for r in receipts for left in r.rejections),
        key=lambda x: (x.dataset, x.recording, x.first_frame),
    )
    table = pa.table(
        {
            "dataset": pa.array([x.dataset for x in rows], pa.string()),
            "recording": pa.array([x.recording for x in rows], pa.string()),
            "first_frame": pa.array([x.first_frame for x in rows], pa.int64()),
            "reason": pa.array([x.reason for x in rows], pa.string()),
            "detail": pa.array([x.detail for x in rows], pa.string()),
        }
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", compression_level=1)
    return sink.getvalue()
