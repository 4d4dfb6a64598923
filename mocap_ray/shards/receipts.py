"""Receipts prove that shards are finished: one small JSON file per shard, read when a run resumes."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Generic

from pydantic import ConfigDict, TypeAdapter
from pydantic_core import from_json, to_json

from mocap_ray.documents import Count, Document, Name, Sha256
from mocap_ray.records import Rejection
from mocap_ray.shards.cutting import Group
from mocap_ray.shards.layout import Input, Layout, SumsT
from mocap_ray.shards.recipe import Origin
from mocap_ray.storage import Place

FOLDER = "receipts"


@dataclass(frozen=True, slots=True)
class InputListing:
    """An input as it was listed when the shard was made; a run that resumes holds one of each, so it is small."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    source: str
    name: str
    size: Count
    fingerprint: str

    @staticmethod
    def of(input: Input) -> InputListing:
        """The listing of an input."""
        return InputListing(
            source=input.source, name=input.name, size=input.size, fingerprint=input.fingerprint
        )


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """An input, or a piece of one, that was left out: a row of `rejected.parquet`."""

    group: Group
    name: str
    start: Count
    reason: str
    detail: str

    @staticmethod
    def of(rejection: Rejection[Any], group: Group) -> RejectedRow:
        """The rejection as a row."""
        return RejectedRow(
            group=group,
            name=rejection.input.name,
            start=rejection.start,
            reason=str(rejection.reason),
            detail=rejection.detail,
        )

    def row(self, layout: Layout[Any]) -> dict[str, Any]:
        """The row as plain values, under the product's own names."""
        where = dict(zip(layout.keys, self.group, strict=True))
        return {
            **{key: where[key] for key in rejected_keys(layout)},
            layout.words.input: self.name,
            layout.words.start: self.start,
            "reason": self.reason,
            "detail": self.detail,
        }


def rejected_keys(layout: Layout[Any]) -> tuple[str, ...]:
    """The keys of a group that are columns of `rejected.parquet`."""
    return layout.keys if layout.rejected_keys is None else layout.rejected_keys


@dataclass(frozen=True, slots=True)
class Receipt(Generic[SumsT]):
    """A finished shard. `sha256` is None if every input was rejected, so that there is no file."""

    shard: str
    path: str
    group: Group
    origin: Origin
    inputs: tuple[InputListing, ...]
    sha256: str | None
    bytes: int
    rows: int
    rejections: tuple[RejectedRow, ...]
    sums: SumsT

    def write_atomic(self, out: Place, layout: Layout[SumsT]) -> None:
        """Write the receipt below `receipts/` atomically."""
        out.write_atomic(to_json(_values(self, layout)), FOLDER, f"{self.shard}.json")


class _Head(Document):
    """The part of a receipt that is the same for every product; the names of its other keys differ."""

    shard: Name
    path: Name
    source: Name
    shared_hash: Name
    source_hash: Name
    inputs: tuple[InputListing, ...]
    sha256: Sha256 | None
    bytes: Count
    rows: Count
    rejections: tuple[dict[str, str | int], ...]


def _values(receipt: Receipt[Any], layout: Layout[Any]) -> dict[str, Any]:
    """The receipt as one flat object: amounts after the number of rows, other sums at the end."""
    sums = receipt.sums.model_dump()
    amounts = {name: sums.pop(name) for name in receipt.sums.AMOUNTS}
    return {
        "shard": receipt.shard,
        "path": receipt.path,
        **dict(zip(layout.keys, receipt.group, strict=True)),
        **asdict(receipt.origin),
        "inputs": receipt.inputs,
        "sha256": receipt.sha256,
        "bytes": receipt.bytes,
        "rows": receipt.rows,
        **amounts,
        "rejections": [left.row(layout) for left in receipt.rejections],
        **sums,
    }


def parsed(data: bytes, layout: Layout[SumsT]) -> Receipt[SumsT]:
    """Parse a receipt. Raises ValueError if this version did not write it."""
    head = _Head.model_validate(from_json(data))
    others = head.others
    group = _GROUP.validate_python(tuple(others.pop(key, None) for key in layout.keys))
    sums = layout.sums.model_validate(others)
    return Receipt(
        shard=head.shard,
        path=head.path,
        group=group,
        origin=Origin(head.source, head.shared_hash, head.source_hash),
        inputs=head.inputs,
        sha256=head.sha256,
        bytes=head.bytes,
        rows=head.rows,
        rejections=tuple(_left(row, group, layout) for row in head.rejections),
        sums=sums,
    )


_GROUP = TypeAdapter(tuple[str, ...])
_REJECTED = TypeAdapter(RejectedRow)


def _left(row: Mapping[str, Any], group: Group, layout: Layout[Any]) -> RejectedRow:
    words = layout.words
    named = {
        "group": group,
        "name": row.get(words.input),
        "start": row.get(words.start),
        "reason": row.get("reason"),
        "detail": row.get("detail"),
    }
    left = _REJECTED.validate_python(named)
    if left.row(layout) != row:
        raise ValueError(f"a rejection with other keys than {sorted(left.row(layout))}")
    return left


def read_all(out: Place, layout: Layout[SumsT]) -> dict[str, Receipt[SumsT]]:
    """All readable receipts of a data set, by shard name.

    A receipt that cannot be parsed proves nothing and is ignored: its shard is made again.
    """
    names = [out.relative(i.path) for i in out.files(FOLDER) if i.path.endswith(".json")]

    def read(name: str) -> Receipt[SumsT] | None:
        try:
            return parsed(out.read(name), layout)
        except ValueError:
            return None

    with ThreadPoolExecutor(16) as pool:
        receipts = [r for r in pool.map(read, names) if r is not None]
    return {r.shard: r for r in receipts}
