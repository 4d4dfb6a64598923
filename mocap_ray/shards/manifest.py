"""The last step of a run: `rejected.parquet`, the product's own files and the manifest, made from the receipts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from mocap_ray.shards.layout import Layout, SumsT
from mocap_ray.shards.product import Product
from mocap_ray.shards.receipts import Receipt, rejected_keys
from mocap_ray.storage import Place
from mocap_ray.version import __version__

NAME = "manifest.json"


class _ShardHead(BaseModel):
    """What identifies a shard."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    path: str
    sha256: str


class _Head(BaseModel):
    """The part of a manifest that is compared with receipts."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    shards: frozenset[_ShardHead]
    totals: dict[str, Any]


def is_finished(out: Place, receipts: Iterable[Receipt[Any]], layout: Layout[Any]) -> bool:
    """Whether there is a manifest, and these receipts are those of all its shards."""
    try:
        head = _Head.model_validate_json(out.read(NAME))
    except (FileNotFoundError, ValidationError):
        return False
    receipts = list(receipts)
    found = frozenset(_ShardHead(path=r.path, sha256=r.sha256) for r in receipts if r.sha256 is not None)
    return found == head.shards and sum(len(r.inputs) for r in receipts) == head.totals.get(
        layout.words.inputs
    )


def finish(
    out: Place,
    receipts: Iterable[Receipt[SumsT]],
    product: Product[Any, Any, SumsT],
    *,
    recipe: Mapping[str, Any],
    recipe_hash: str,
) -> dict[str, Any]:
    """Write everything that is made from the receipts; the manifest comes last, so its presence means complete.

    The files contain no time, host or path of a machine: the same inputs and recipe give the same bytes.

    Returns:
        The manifest.
    """
    receipts = sorted(receipts, key=lambda r: r.path)
    layout = product.layout
    out.write_atomic(_rejected(receipts, layout), "rejected.parquet")
    groups = sorted({r.group for r in receipts})
    manifest = {
        "schema_version": layout.schema_version,
        "package_version": __version__,
        "recipe": dict(recipe),
        "recipe_hash": recipe_hash,
        "shards": [_shard(r) for r in receipts if r.sha256 is not None],
        "counts": [
            {
                **dict(zip(layout.keys, group, strict=True)),
                **_count([r for r in receipts if r.group == group], product),
            }
            for group in groups
        ],
        "totals": _count(receipts, product),
    }
    manifest = product.finish(out, receipts, manifest)
    out.write_atomic(json.dumps(manifest, indent=1, sort_keys=True).encode(), NAME)
    return manifest


def _shard(receipt: Receipt[SumsT]) -> dict[str, Any]:
    """The manifest entry of a shard, with the first of the product's amounts."""
    sums = receipt.sums
    return {
        "path": receipt.path,
        "sha256": receipt.sha256,
        "rows": receipt.rows,
        "bytes": receipt.bytes,
        **{name: getattr(sums, name) for name in sums.AMOUNTS[:1]},
    }


def _count(receipts: Sequence[Receipt[SumsT]], product: Product[Any, Any, SumsT]) -> dict[str, Any]:
    """Counts of some shards; sums are merged in the order of their paths, so that the result is reproducible."""
    words = product.layout.words
    reasons = Counter(left.reason for r in receipts for left in r.rejections)
    sums = reduce(lambda a, b: a.merge(b), (r.sums for r in receipts), product.sums(()))
    return {
        words.inputs: sum(len(r.inputs) for r in receipts),
        words.rows: sum(r.rows for r in receipts),
        "rejected": dict(sorted(reasons.items())),
        **sums.counts(),
    }


def _rejected(receipts: Sequence[Receipt[Any]], layout: Layout[Any]) -> pa.Buffer:
    """rejected.parquet: one row per input, or piece of one, that was left out."""
    words, keys = layout.words, rejected_keys(layout)
    rows = [left.row(layout) for r in receipts for left in r.rejections]
    rows.sort(key=lambda row: (*(row[key] for key in keys), row[words.input], row[words.start]))
    text = pa.string()
    fields = [(key, text) for key in keys]
    fields += [(words.input, text), (words.start, pa.int64()), ("reason", text), ("detail", text)]
    table = pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in fields})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", compression_level=1)
    return sink.getvalue()
