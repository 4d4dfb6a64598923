"""Which recordings share a file, and the file made whole: group, make, publish."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa

from mocap_ray.dataset import schema
from mocap_ray.dataset.process import Plan, process
from mocap_ray.dataset.receipts import Input, Left, Receipt, Sums
from mocap_ray.dataset.recipe import RECIPE_NAME, digest
from mocap_ray.errors import UserError
from mocap_ray.motion.clip import Clip, Reason
from mocap_ray.motion.statistics import Moments
from mocap_ray.records import Recording, Rejection
from mocap_ray.storage import Place


@dataclass(frozen=True, slots=True)
class Group:
    """The recordings of one shard: neighbours in the sorted list of one dataset and split."""

    dataset: str
    split: str
    recordings: tuple[Recording, ...]

    @property
    def name(self) -> str:
        """Content-derived name: the same recordings give the same name on any machine."""
        text = "\n".join((self.dataset, self.split, *(r.name for r in self.recordings)))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def path(self) -> str:
        """Path of the Parquet file below the root of the data set."""
        return f"clips/dataset={self.dataset}/split={self.split}/{self.name}.parquet"

    @property
    def size(self) -> int:
        """Source bytes."""
        return sum(r.size for r in self.recordings)


def group(recordings: Iterable[Recording], splits: Mapping[str, str], *, target: int) -> list[Group]:
    """Cut the sorted recordings of each dataset and split into shards, by content.

    A hash of the recording's name decides whether a cut falls before it, so a new recording moves the
    cuts around itself only. A shard holds between target / 2 and 2 x target source bytes, fewer only at
    the end of a dataset and split, more only where a single recording is larger.

    Args:
        recordings: in any order.
        splits: recording name -> split; recordings that are not in it are left out.
        target: source bytes of a shard, aimed at.
    """
    kinds: dict[tuple[str, str], list[Recording]] = {}
    for recording in recordings:
        if recording.name in splits:
            kinds.setdefault((recording.dataset, splits[recording.name]), []).append(recording)
    groups = []
    for dataset, split in sorted(kinds):
        current: list[Recording] = []
        size = 0
        for recording in sorted(kinds[dataset, split], key=lambda r: r.name):
            full = current and size + recording.size > 2 * target
            if full or (size >= target / 2 and _cut_before(recording, target / 2)):
                groups.append(Group(dataset, split, tuple(current)))
                current, size = [], 0
            current.append(recording)
            size += recording.size
        if current:
            groups.append(Group(dataset, split, tuple(current)))
    return groups


def _cut_before(recording: Recording, mean: float) -> bool:
    """True once in `mean` bytes of recordings, decided by the name alone."""
    draw = int.from_bytes(hashlib.sha256(recording.name.encode()).digest()[:8], "big") / 2**64
    return draw < recording.size / mean


@dataclass(frozen=True, slots=True)
class Retry:
    """How often, and after how long, a failed read or write is tried again."""

    times: int = 3
    wait_s: float = 0.5


def make(
    group: Group,
    plan: Plan,
    out: Place,
    *,
    recipe_hash: str,
    metadata: Mapping[str, str],
    dead: Mapping[str, str] | None = None,
    strict: bool = False,
    retry: Retry | None = None,
) -> Receipt:
    """Make one shard: process its recordings, publish the file in one step, then its receipt.

    Args:
        group: the recordings.
        plan: how to process them.
        out: root of the data set.
        recipe_hash: of the run, for file and receipt.
        metadata: further schema metadata of the file.
        dead: recordings that killed their worker, with what is known; they are rejected unread.
        strict: raise on the first rejection.
        retry: of reads and writes.

    Raises:
        OSError: a file could not be read or written, after the retries.
        Rejected: with strict, the first rejection.
        MissingBody: a body model is missing.
        Replaced: the data set has another recipe by now; nothing was written.
    """
    retry = retry or Retry()
    clips: list[Clip] = []
    rejections: list[Rejection] = []
    for recording in group.recordings:
        for item in _found(recording, plan, dead or {}, retry):
            if isinstance(item, Clip):
                clips.append(item)
            elif strict:
                raise Rejected(f"{recording.source}: {item.reason}: {item.detail}")
            else:
                rejections.append(item)
    file_schema = schema.schema(plan.columns, metadata={**metadata, "recipe_hash": recipe_hash})
    data: pa.Buffer | None = None
    _tried(lambda: _check_recipe(out, recipe_hash), retry, f"reading {RECIPE_NAME}")
    if clips:
        data = schema.to_parquet(schema.to_table(clips, file_schema))
        _tried(lambda: out.publish(data, group.path), retry, f"writing {group.path}")
    else:
        out.remove(group.path)
    receipt = _receipt(group, clips, rejections, data, recipe_hash)
    _tried(lambda: receipt.publish(out), retry, f"writing the receipt of {group.path}")
    return receipt


def _found(
    recording: Recording, plan: Plan, dead: Mapping[str, str], retry: Retry
) -> Sequence[Clip | Rejection]:
    """What a recording gives, or why it is not even opened."""
    if recording.name in dead:
        return [Rejection(recording, Reason.WORKER_DIED, dead[recording.name])]
    return _tried(lambda: process(recording, plan), retry, f"reading {recording.source}")


class Replaced(UserError):
    """Another run has begun to replace the data set: a worker that outlived its own run must not write into it."""


def _check_recipe(out: Place, recipe_hash: str) -> None:
    try:
        now = digest(json.loads(out.read(RECIPE_NAME)))
    except FileNotFoundError:  # no run, a single shard
        return
    if now != recipe_hash:
        raise Replaced(
            f"{out.uri}: another run replaced this data set with another recipe while a worker of this run was at "
            "work; it wrote nothing more."
        )


class Rejected(Exception):
    """With `--strict`: the first rejection ends the run."""


def _receipt(
    group: Group,
    clips: Sequence[Clip],
    rejections: Sequence[Rejection],
    data: pa.Buffer | None,
    recipe_hash: str,
) -> Receipt:
    """What the shard holds and where it came from."""
    fallbacks = {c.recording.name for c in clips if c.body_gender != c.gender}
    moments = Moments.empty()
    for clip in clips:
        moments = moments.merge(Moments.of_features(clip.features))
    return Receipt(
        shard=group.name,
        path=group.path,
        dataset=group.dataset,
        split=group.split,
        recipe_hash=recipe_hash,
        inputs=tuple(Input.of(r) for r in group.recordings),
        sha256=hashlib.sha256(data).hexdigest() if data is not None else None,
        bytes=data.size if data is not None else 0,
        rows=len(clips),
        frames=sum(c.num_frames for c in clips),
        seconds=sum(c.num_frames / c.fps for c in clips),
        rejections=tuple(Left.of(r) for r in rejections),
        other_gender_body=len(fallbacks),
        moments=Sums.of(moments),
    )


Result = TypeVar("Result")


def _tried(call: Callable[[], Result], retry: Retry, doing: str) -> Result:
    """`call()`, again after an I/O error, with growing waits. Raises the last OSError, saying what it hit."""
    for attempt in range(retry.times):
        try:
            return call()
        except OSError as error:
            if attempt + 1 == retry.times:
                raise OSError(f"{doing}: {error} ({retry.times} attempts)") from error
            time.sleep(retry.wait_s * 2**attempt)
    raise AssertionError("unreachable: retry.times is at least 1")
