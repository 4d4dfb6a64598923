"""Single poses as a product of shards: a file's instances as rows, their sums, and the data card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from mocap_ray.archives.layouts import Unusable
from mocap_ray.archives.splits import split_of
from mocap_ray.dataset.single import schema
from mocap_ray.dataset.single.card import card
from mocap_ray.dataset.single.formats import PoseFormat
from mocap_ray.dataset.single.hands import HandModel, UnknownHands
from mocap_ray.dataset.single.instances import OPTIONAL_PARTS, Instances, PoseFile, PoseReason
from mocap_ray.documents import Count
from mocap_ray.npz import NpzError
from mocap_ray.records import Rejection
from mocap_ray.shards.build import Build
from mocap_ray.shards.layout import Layout, ProductWords, Sums
from mocap_ray.shards.product import Product
from mocap_ray.shards.receipts import Receipt
from mocap_ray.skeleton import SMPLX_JOINTS
from mocap_ray.storage import Place
from mocap_ray.wording import counted

MOST_ANGLE = 4 * np.pi
"""rad. Fits leave angles of up to a turn or two; degrees are far above."""


class PoseSums(Sums):
    """The sums of a shard: its poses, and those that give each part."""

    AMOUNTS: ClassVar[tuple[str, ...]] = ("poses",)

    poses: Count
    root: Count
    jaw: Count
    eyes: Count
    left_hand: Count
    right_hand: Count

    def merge(self, other: PoseSums) -> PoseSums:
        """The sums of both."""
        return PoseSums(
            **{name: getattr(self, name) + getattr(other, name) for name in type(self).model_fields}
        )

    def counts(self) -> dict[str, int | float]:
        """All of them."""
        return {**super().counts(), **{name: getattr(self, name) for name in OPTIONAL_PARTS}}


POSES = Layout(
    folder="poses",
    keys=("dataset", "split"),
    reasons=PoseReason,
    sums=PoseSums,
    words=ProductWords(input="file", inputs="files", rows="poses", start="row"),
    schema_version=schema.SCHEMA_VERSION,
    manifest=schema.PoseManifest,
    intended=frozenset({PoseReason.ANNOTATION, PoseReason.CHILD, PoseReason.OTHER_SPLIT}),
)
"""The layout of a data set of single poses."""


@dataclass(frozen=True, slots=True, eq=False)
class PoseRow:
    """One pose: an index into the instances of its file, so that a million of them are small.

    Attributes:
        file: the file.
        instances: all instances of the file.
        row: number of the instance.
    """

    file: PoseFile
    instances: Instances
    row: int


@dataclass(frozen=True)
class PoseProduct(Product[PoseFile, PoseRow, PoseSums]):
    """Single poses, from files of a format.

    Attributes:
        place: the folder of the files.
        format: their format.
        fractions: shares of the splits, for files that are divided.
        flat_hand_mean, hand_model: how hands are read; see `hands.from_flat`.
    """

    layout = POSES

    place: Place
    format: PoseFormat
    fractions: Mapping[str, float]
    flat_hand_mean: bool | None = None
    hand_model: HandModel | None = None

    @property
    def reads(self) -> Mapping[str, Place]:
        """The folder of the files."""
        return {"source.root": self.place}

    def process(self, input: PoseFile) -> list[PoseRow | Rejection[PoseFile]]:
        """The rows of a file, or of its part in one split, and a rejection for each instance that is left out.

        If all are left out for one reason, it is one rejection, of the file.
        """
        try:
            found = self.format.read(
                self.place, input, flat_hand_mean=self.flat_hand_mean, hand_model=self.hand_model
            )
        except (NpzError, Unusable, UnknownHands) as error:
            return [_rejected(input, *_why(error))]
        rows = self._rows(input, found)
        if not len(rows):
            sequences = counted(len(set(found.subjects or ())), "sequence")
            text = f"none of its {sequences} falls into the split {input.part} by its hash"
            return [_rejected(input, PoseReason.OTHER_SPLIT, text)]
        wrong = _wrong(found, rows)
        if len(wrong) == len(rows) and len({reason for reason, _ in wrong.values()}) == 1:
            reason, text = wrong[int(rows[0])]
            whole = f"all its {counted(len(rows), 'pose')} are left out; row {rows[0]}: {text}"
            return [_rejected(input, reason, whole)]
        return [
            _rejected(input, *wrong[row], row=row) if row in wrong else PoseRow(input, found, row)
            for row in rows.tolist()
        ]

    def _rows(self, input: PoseFile, found: Instances) -> np.ndarray:
        """Numbers of the instances that belong to the input."""
        if input.part is None or found.subjects is None:
            return np.arange(len(found))
        homes = {who: split_of(_subject(input, who), self.fractions) for who in set(found.subjects)}
        return np.flatnonzero([homes[who] == input.part for who in found.subjects])

    def table(self, items: Sequence[PoseRow]) -> pa.Table:
        """Poses as Arrow columns."""
        parts = [_part(list(rows)) for _, rows in groupby(items, key=lambda item: id(item.instances))]
        return pa.concat_tables(parts)

    def encode(self, table: pa.Table) -> pa.Buffer:
        """Parquet with byte-stream split floats."""
        return schema.to_parquet(table)

    def sums(self, items: Sequence[PoseRow]) -> PoseSums:
        """Number of poses, and of those that give each part."""
        given = dict.fromkeys(OPTIONAL_PARTS, 0)
        for _, group in groupby(items, key=lambda item: id(item.instances)):
            rows = list(group)
            for part in OPTIONAL_PARTS:
                given[part] += int(rows[0].instances.given[part][[r.row for r in rows]].sum())
        return PoseSums(poses=len(items), **given)

    def finish(
        self, out: Place, receipts: Sequence[Receipt[PoseSums]], manifest: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Write the data card, README.md, and say in the manifest what the rows are."""
        extended = {**manifest, "product": schema.PRODUCT}
        out.write_atomic(card(extended).encode(), "README.md")
        return extended


PoseBuild = Build[PoseFile, PoseRow, PoseSums]
"""The plan of an extraction of single poses."""


def _part(rows: Sequence[PoseRow]) -> pa.Table:
    """Rows of one file."""
    file, found = rows[0].file, rows[0].instances
    chosen = np.array([r.row for r in rows], np.int64)
    who = [file.subject if found.subjects is None else _subject(file, found.subjects[k]) for k in chosen]
    betas = np.ascontiguousarray(found.betas[chosen], np.float32)
    offsets = np.arange(len(chosen) + 1, dtype=np.int32) * betas.shape[1]
    columns: dict[str, pa.Array] = {
        "source": pa.array([file.source] * len(chosen), pa.string()),
        "row": pa.array(chosen),
        "subject": pa.array(who, pa.string()),
        "gender": pa.array([found.genders[k] for k in chosen], pa.string()),
        "family": pa.array([found.family] * len(chosen), pa.string()),
        "betas": pa.ListArray.from_arrays(pa.array(offsets), pa.array(betas.ravel())),
        schema.COLUMN: pa.FixedSizeListArray.from_arrays(pa.array(found.poses[chosen].ravel()), schema.WIDTH),
    }
    for part in OPTIONAL_PARTS:
        columns[schema.given_column(part)] = pa.array(found.given[part][chosen])
    return pa.Table.from_arrays([columns[f.name] for f in schema.SCHEMA], schema=schema.SCHEMA)


def _subject(file: PoseFile, who: str) -> str:
    """A subject or sequence of a file; two files of a sub-dataset may share one."""
    return f"{file.dataset}/{who}"


def _wrong(found: Instances, rows: np.ndarray) -> dict[int, tuple[PoseReason, str]]:
    """The instances among these that cannot be used -> why."""
    wrong = {row: found.left_out[row] for row in rows.tolist() if row in found.left_out}
    with np.errstate(invalid="ignore", over="ignore"):
        turns = np.linalg.norm(found.poses[rows].astype(np.float64), axis=2)
    finite = np.isfinite(turns).all(axis=1) & np.isfinite(found.betas[rows]).all(axis=1)
    for row in rows[~finite].tolist():
        wrong.setdefault(row, (PoseReason.NOT_FINITE, "NaN or infinity in the pose or its betas"))
    for at in np.flatnonzero(finite & (turns > MOST_ANGLE).any(axis=1)):
        joint = int(turns[at].argmax())
        text = f"{SMPLX_JOINTS[joint]} turns by {turns[at, joint]:.3g} rad. Expected axis-angle in rad, at most 4 pi"
        wrong.setdefault(int(rows[at]), (PoseReason.BAD_VALUE, text))
    return wrong


def _why(error: NpzError | Unusable | UnknownHands) -> tuple[PoseReason, str]:
    """An error of a format as a reason and a sentence."""
    if isinstance(error, NpzError):
        return PoseReason(error.kind), error.message
    if isinstance(error, Unusable):
        return PoseReason(error.reason.value), error.detail
    return PoseReason.HAND_CONVENTION, str(error)


def _rejected(
    input: PoseFile, reason: PoseReason, text: str, *, row: int | None = None
) -> Rejection[PoseFile]:
    """A rejection; the text may have names from the file: no control characters, and a limited length."""
    where = input.source if row is None else f"{input.source}, row {row}"
    plain = "".join(letter if letter.isprintable() else "?" for letter in text[:600])
    return Rejection(input, reason, f"{where}: {plain.rstrip('.')}.", row or 0)
