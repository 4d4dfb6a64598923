"""What proves that a shard is finished: one small JSON beside it, read again when a run resumes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from mocap_ray.motion.statistics import Moments
from mocap_ray.records import Recording, Rejection
from mocap_ray.storage import Place


class _Record(BaseModel):
    """A value on disk: unknown keys are errors, so that a newer receipt counts as foreign."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Input(_Record):
    """A source as it was when the shard was made."""

    source: str
    name: str
    size: int
    fingerprint: str

    @staticmethod
    def of(recording: Recording) -> Input:
        """The recording's listing."""
        return Input(
            source=recording.source,
            name=recording.name,
            size=recording.size,
            fingerprint=recording.fingerprint,
        )


class Left(_Record):
    """A recording, or a piece of one, that was left out: a row of `rejected.parquet`."""

    dataset: str
    recording: str
    first_frame: int
    reason: str
    detail: str

    @staticmethod
    def of(rejection: Rejection) -> Left:
        """The rejection as a row."""
        recording = rejection.recording
        return Left(
            dataset=recording.dataset,
            recording=recording.name,
            first_frame=rejection.first_frame,
            reason=str(rejection.reason),
            detail=rejection.detail,
        )


class Sums(_Record):
    """Moments of the features of a shard, so that statistics need no second pass."""

    count: int
    mean: tuple[float, ...]
    m2: tuple[float, ...]

    @staticmethod
    def of(moments: Moments) -> Sums:
        """To plain numbers; float64 survives JSON exactly."""
        return Sums(count=moments.count, mean=tuple(moments.mean.tolist()), m2=tuple(moments.m2.tolist()))

    def moments(self) -> Moments:
        """Back to arrays."""
        return Moments(count=self.count, mean=np.array(self.mean), m2=np.array(self.m2))


class Receipt(_Record):
    """One shard, finished. `sha256` is None where every recording was rejected and no file exists."""

    shard: str
    path: str
    dataset: str
    split: str
    recipe_hash: str
    inputs: tuple[Input, ...]
    sha256: str | None
    bytes: int
    rows: int
    frames: int
    seconds: float
    rejections: tuple[Left, ...]
    other_gender_body: int
    moments: Sums

    def publish(self, out: Place) -> None:
        """Write it below `receipts/`, whole or not at all."""
        out.publish(self.model_dump_json().encode(), "receipts", f"{self.shard}.json")


def read_all(out: Place) -> dict[str, Receipt]:
    """Shard name -> receipt of every readable receipt below a root.

    One that cannot be parsed proves nothing and is left out: its shard is made again.
    """
    names = [out.relative(i.path) for i in out.files("receipts") if i.path.endswith(".json")]

    def read(name: str) -> Receipt | None:
        try:
            return Receipt.model_validate_json(out.read(name))
        except ValidationError:
            return None

    with ThreadPoolExecutor(16) as pool:
        receipts = [r for r in pool.map(read, names) if r is not None]
    return {r.shard: r for r in receipts}
