"""What `mocap-ray dataset validate` checks in one shard, and what it notes for the checks over all shards."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mocap_ray.dataset import schema
from mocap_ray.dataset.parquet import DAMAGE, checked, contiguous, on_one_line
from mocap_ray.dataset.reader import DataSet
from mocap_ray.motion import kernels
from mocap_ray.motion.features import GROUPS, WIDTH
from mocap_ray.motion.kernels_decode import deviation
from mocap_ray.shards.manifest import NAME as MANIFEST
from mocap_ray.skeleton import HUMANML3D_BONES
from mocap_ray.wording import counted

TOLERANCE_M = 1e-3
"""Largest distance between stored joints and those of the features; float32 costs 3e-6 m in a minute."""
SAMPLES = 4
"""Rows of a clip by which twins are searched."""
POSITIONS = slice(3, 67)
"""Columns of the features that a pose has wherever it is: the height of the root, and the joints around it."""
_CONTACTS = GROUPS[-1].columns

Level = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong with a data set.

    Attributes:
        level: `error`: the data set is damaged, or contradicts its recipe; `warning`: worth knowing.
        check: the name of the check, such as `hash` or `decode`.
        where: a file of the data set, a source, or a split.
        detail: a sentence: what was found, what was expected.
        clips: ids of the rows.
    """

    level: Level
    check: str
    where: str
    detail: str
    clips: tuple[str, ...] = ()


@dataclass(slots=True)
class ShardFindings:
    """What one shard holds, for the checks over all shards, and its own problems.

    Attributes:
        number: of the shard in the manifest.
        bytes: size of the file that was read.
        clip_ids, recordings, subjects: one per row.
        num_frames: [rows] rows of features.
        samples: [rows, SAMPLES, 64] positions in a few rows of each clip.
        problems: of this shard.
    """

    number: int
    bytes: int = 0
    clip_ids: list[str] = field(default_factory=list)
    recordings: list[str] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)
    num_frames: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    samples: np.ndarray = field(default_factory=lambda: np.zeros((0, SAMPLES, 64), np.float32))
    problems: list[Problem] = field(default_factory=list)


def check_shard(ds: DataSet, number: int) -> ShardFindings:
    """Read one shard whole and check every row of it.

    Raises:
        OSError: the file cannot be read, which proves nothing about its content.
    """
    shard, found = ds.shards[number], ShardFindings(number)
    try:
        data = ds.place.read(shard.path)
    except FileNotFoundError:
        found.problems.append(Problem("error", "missing", shard.path, f"listed in {MANIFEST}, but missing"))
        return found
    found.bytes = len(data)
    entry = ds.manifest["shards"][number]
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        found.problems.append(
            Problem(
                "error", "hash", shard.path, f"its sha256 is not that of {MANIFEST}: the file was changed"
            )
        )
    try:
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            found.problems += _of_schema(file.schema_arrow, ds, number)
            if not any(p.check == "schema" for p in found.problems):
                _read(file, ds, found)
    except DAMAGE as error:  # of bytes in memory: no disk is involved
        text = f"not a Parquet file: {on_one_line(error)}"
        found.problems.append(Problem("error", "unreadable", shard.path, text))
        return found
    for what, count, listed in (
        ("row", len(found.clip_ids), shard.rows),
        ("frame", int(found.num_frames.sum()), shard.frames),
    ):
        if count != listed and not any(p.check == "schema" for p in found.problems):
            text = f"{counted(count, what)}, but {MANIFEST} lists {listed:,}"
            found.problems.append(Problem("error", "counts", shard.path, text))
    return found


def _of_schema(found: pa.Schema, ds: DataSet, number: int) -> Iterator[Problem]:
    """Columns and types, and the recipe that made the file."""
    shard, old = ds.shards[number], not ds.manifest.get("sources")
    for column in schema.schema(ds.columns):
        at = found.get_field_index(column.name)
        if at < 0 and old and column.name in schema.ADDED:
            continue
        if at < 0 or not found.field(at).equals(column):
            what = f"is {found.field(at).type}" if at >= 0 else "is missing"
            text = f"the column {column.name} {what}; expected {column.type}"
            yield Problem("error", "schema", shard.path, text)
    origin = ds.recipes.origin(shard.source)
    if not old and origin is not None:
        metadata = found.metadata or {}
        if any(metadata.get(f"mocap_ray.{k}".encode()) != v.encode() for k, v in asdict(origin).items()):
            text = f"it was not made by the recipe of the source {shard.source}"
            yield Problem("error", "recipe", shard.path, text)


def _read(file: pq.ParquetFile, ds: DataSet, found: ShardFindings) -> None:
    """Add what the rows of a file hold, and their problems."""
    bad: dict[tuple[str, str], list[str]] = {}
    for group in range(file.num_row_groups):
        table = checked(file.read_row_group(group, use_threads=False))
        ids = table["clip_id"].to_pylist()
        rows = _Rows(table, ds, ids)
        for check, detail, row in (*rows.values(), *rows.clips(found)):
            bad.setdefault((check, detail), []).append(ids[row])
        found.clip_ids += ids
        found.recordings += table["recording"].to_pylist()
        found.subjects += table["subject"].to_pylist()
        frames = table["num_frames"].to_numpy().astype(np.int64)
        found.num_frames = np.concatenate([found.num_frames, frames])
    path = ds.shards[found.number].path
    found.problems += [Problem("error", c, path, text, tuple(ids)) for (c, text), ids in bad.items()]


class _Rows:
    """The checks of the rows of a row group."""

    def __init__(self, table: pa.Table, ds: DataSet, ids: Sequence[str]) -> None:
        self.table, self.ids = table, ids
        self.columns = {name: contiguous(table[name]) for name in ds.columns}
        shared: Any = ds.recipes.shared
        motion = shared.get("motion", {})
        self.extra = 1 if ds.profile == "humanml3d" else 0
        self.turns = motion.get("yaw", "continuous") == "continuous"
        self.bones = np.array(HUMANML3D_BONES) if ds.profile == "humanml3d" else np.zeros(22)

    def values(self) -> Iterator[tuple[str, str, int]]:
        """Numbers that are not finite, and contacts that are neither 0 nor 1."""
        for name, column in (*self.columns.items(), ("betas", contiguous(self.table["betas"]))):
            if _all_finite(_flat(column)):
                continue
            for row in range(len(column)):
                if not _all_finite(_flat(column.slice(row, 1))):
                    yield "finite", f"{name}: NaN or infinite", row
        for name in ("fps", "source_fps"):
            rate = self.table[name].to_numpy()
            for wrong in np.flatnonzero(~(np.isfinite(rate) & (rate > 0))):
                yield "finite", f"{name}: not above 0", int(wrong)
        contacts = _flat(self.columns["features"]).reshape(-1, WIDTH)[:, _CONTACTS]
        if not ((contacts == 0) | (contacts == 1)).all():
            for row in range(len(self.ids)):
                of_row = _flat(self.columns["features"].slice(row, 1)).reshape(-1, WIDTH)[:, _CONTACTS]
                if not ((of_row == 0) | (of_row == 1)).all():
                    yield "contacts", "feet_contact: neither 0 nor 1", row

    def clips(self, found: ShardFindings) -> Iterator[tuple[str, str, int]]:
        """Ids, lengths, and features that are not those of the joints; adds the samples."""
        frames, recordings = self.table["num_frames"].to_pylist(), self.table["recording"].to_pylist()
        samples = np.zeros((len(self.ids), SAMPLES, 64), np.float32)
        for row, (clip_id, recording) in enumerate(zip(self.ids, recordings, strict=True)):
            if not clip_id.startswith(f"{recording}@"):
                yield "ids", "clip_id: not that of its recording", row
            features = schema.frames(self.columns["features"], row)
            assert features is not None, "schema: features are never null"
            wrong = self._lengths(row, len(features), frames[row])
            yield from (("lengths", text, row) for text in wrong)
            if len(features):
                at = np.linspace(0, len(features) - 1, SAMPLES).round().astype(int)
                samples[row] = features[at, POSITIONS]
            if not wrong and "joints" in self.columns and not self._same(row, features):
                yield "decode", f"features: more than {TOLERANCE_M * 1000:g} mm from the joints", row
        found.samples = np.concatenate([found.samples, samples])

    def _lengths(self, row: int, rows: int, num_frames: int) -> list[str]:
        """Columns of another length than `num_frames` says."""
        wrong = [] if rows == num_frames > 0 else ["features: not as many rows as num_frames"]
        for name, column in self.columns.items():
            if name != "features" and column[row].is_valid and len(column[row]) != num_frames + self.extra:
                wrong.append(
                    f"{name}: not {'one frame more than' if self.extra else 'as many frames as'} rows"
                )
        return wrong

    def _same(self, row: int, features: np.ndarray) -> bool:
        """Whether the features decode to the joints, in canonical placement; NaN is another check's."""
        joints = schema.frames(self.columns["joints"], row)
        if joints is None or not _all_finite(joints) or not _all_finite(features):
            return True
        flat = np.ascontiguousarray(joints, np.float64).reshape(-1)
        flat.flags.writeable = False
        placed, failure = np.empty((len(joints), 66)), np.zeros(4, np.int64)
        kernels.canonical_clip(flat, self.bones, placed, failure)
        if failure[0] and failure[0] != kernels.BONE:
            return False
        exact = np.require(features, np.float32, ["C", "A", "W"])
        # The last row of the flowmimic profile repeats the one before it.
        rows = len(features) if self.extra else len(features) - 1
        return bool(deviation(exact, placed, rows, self.turns) <= TOLERANCE_M)


def _flat(column: pa.Array) -> np.ndarray:
    """All numbers of a nested column, without those of null rows."""
    while pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        column = column.flatten()
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _all_finite(values: np.ndarray) -> bool:
    """Whether all numbers are finite: the least and the greatest are, and NaN would be both."""
    return not values.size or bool(np.isfinite(values.min()) and np.isfinite(values.max()))
