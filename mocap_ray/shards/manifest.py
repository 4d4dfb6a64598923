"""The manifest: made from the receipts in the last step of a run, with `rejected.parquet`; and read back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from mocap_ray.documents import Document, parse
from mocap_ray.errors import UserError
from mocap_ray.shards.layout import Layout, Manifest, SumsT
from mocap_ray.shards.product import Product
from mocap_ray.shards.receipts import Receipt, rejected_keys
from mocap_ray.shards.recipe import Recipes
from mocap_ray.storage import Place
from mocap_ray.version import __version__

NAME = "manifest.json"
ManifestT = TypeVar("ManifestT", bound=Manifest)


class _Versions(Document):
    schema_version: int
    package_version: str = "?"


class _Damaged(UserError):
    """The file is not a manifest."""


def parse_manifest(
    data: bytes, schema: type[ManifestT], *, version: int, out: Place, error: type[UserError] = UserError
) -> ManifestT:
    """Read the content of a manifest.

    Args:
        data: the content of the file.
        schema: the class of the manifest.
        version: the newest format that is supported.
        out: root of the data set, for messages.
        error: the class of the errors.

    Raises:
        UserError: of the class `error`; the content is edited, damaged, or of a newer format.
    """
    about: dict[str, Any] = {
        "where": f"{out.uri}/{NAME}",
        "what": "a manifest of a data set",
        "remedy": "Copy the folder again, or run the command that made it again: finished shards are kept.",
        "error": error,
    }
    found = parse(data, _Versions, **about)
    if found.schema_version > version:
        raise (UserError if error is _Damaged else error)(
            f"{out.uri}: written in format {found.schema_version} by mocap_ray {found.package_version:.40}; "
            f"this is mocap_ray {__version__}, which reads up to format {version}. Upgrade mocap_ray to read it."
        )
    return parse(data, schema, **about)


def read(out: Place, layout: Layout[Any]) -> dict[str, Any] | None:
    """The manifest as plain values; None if there is none, or a damaged one, which the next run replaces.

    Raises:
        UserError: it is of a newer format.
        OSError: it cannot be read.
    """
    try:
        data = out.read(NAME)
        found = parse_manifest(data, layout.manifest, version=layout.schema_version, out=out, error=_Damaged)
    except (FileNotFoundError, _Damaged):
        return None
    return found.model_dump(mode="json")


def is_finished(out: Place, receipts: Iterable[Receipt[Any]], layout: Layout[Any]) -> bool:
    """Whether there is a manifest, and these receipts are those of all its shards."""
    values = read(out, layout)
    if values is None:
        return False
    receipts = list(receipts)
    shards = {(s["path"], s["sha256"]) for s in values["shards"]}
    found = {(r.path, r.sha256) for r in receipts if r.sha256 is not None}
    return found == shards and sum(len(r.inputs) for r in receipts) == values["totals"].get(
        layout.words.inputs
    )


def finish(
    out: Place,
    receipts: Iterable[Receipt[SumsT]],
    product: Product[Any, Any, SumsT],
    *,
    recipes: Recipes,
) -> dict[str, Any]:
    """Write everything that is made from the receipts; the manifest comes last, so its presence means complete.

    The files contain no time, host or path of a machine: the same inputs and recipe give the same bytes.

    Args:
        out: root of the data set.
        receipts: of all shards of these sources.
        product: what the shards hold.
        recipes: the recipe of the sources that are finished.

    Returns:
        The manifest.
    """
    return publish(out, receipts, product.layout, product.sums(()), product.finish, recipes=recipes)


def publish(
    out: Place,
    receipts: Iterable[Receipt[SumsT]],
    layout: Layout[SumsT],
    none: SumsT,
    extend: Callable[[Place, Sequence[Receipt[SumsT]], Mapping[str, Any]], dict[str, Any]],
    *,
    recipes: Recipes,
) -> dict[str, Any]:
    """As `finish`, without the product: no source has to be at hand.

    Args:
        out, receipts, recipes: as for `finish`.
        layout: of the files.
        none: the sums of no rows.
        extend: as `Product.finish`.
    """
    receipts = sorted(receipts, key=lambda r: r.path)
    out.write_atomic(_rejected(receipts, layout), "rejected.parquet")
    groups = sorted({(r.group, r.origin.source) for r in receipts})
    manifest = {
        "schema_version": layout.schema_version,
        "package_version": __version__,
        "recipe": recipes.values,
        "recipe_hash": recipes.hash,
        "shards": [_shard(r) for r in receipts if r.sha256 is not None],
        "counts": [
            {
                "source": source,
                **dict(zip(layout.keys, group, strict=True)),
                **_count(
                    [r for r in receipts if (r.group, r.origin.source) == (group, source)], layout, none
                ),
            }
            for group, source in groups
        ],
        "sources": [
            {"source": name, **_count([r for r in receipts if r.origin.source == name], layout, none)}
            for name in sorted(recipes.sources)
        ],
        "totals": _count(receipts, layout, none),
    }
    manifest = extend(out, receipts, manifest)
    out.write_atomic(json.dumps(manifest, indent=1, sort_keys=True).encode(), NAME)
    return manifest


def _shard(receipt: Receipt[SumsT]) -> dict[str, Any]:
    """The manifest entry of a shard, with the first of the product's amounts."""
    sums = receipt.sums
    return {
        "path": receipt.path,
        "source": receipt.origin.source,
        "sha256": receipt.sha256,
        "rows": receipt.rows,
        "bytes": receipt.bytes,
        **{name: getattr(sums, name) for name in sums.AMOUNTS[:1]},
    }


def _count(receipts: Sequence[Receipt[SumsT]], layout: Layout[SumsT], none: SumsT) -> dict[str, Any]:
    """Counts of some shards; sums are merged in the order of their paths, so that the result is reproducible."""
    words = layout.words
    reasons = Counter(left.reason for r in receipts for left in r.rejections)
    sums = reduce(lambda a, b: a.merge(b), (r.sums for r in receipts), none)
    return {
        words.inputs: sum(len(r.inputs) for r in receipts),
        words.rows: sum(r.rows for r in receipts),
        "rejected": dict(sorted(reasons.items())),
        **sums.counts(),
    }


def _rejected(receipts: Sequence[Receipt[Any]], layout: Layout[Any]) -> pa.Buffer:
    """rejected.parquet: one row per input, or piece of one, that was left out."""
    words, keys = layout.words, ("source", *rejected_keys(layout))
    rows = [{"source": r.origin.source, **left.row(layout)} for r in receipts for left in r.rejections]
    rows.sort(key=lambda row: (*(row[key] for key in keys), row[words.input], row[words.start]))
    text = pa.string()
    fields = [(key, text) for key in keys]
    fields += [(words.input, text), (words.start, pa.int64()), ("reason", text), ("detail", text)]
    table = pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in fields})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", compression_level=1)
    return sink.getvalue()
