"""People in the frames of a video as a product of shards: a chunk is decoded, its people are found and estimated.

A row is a person in a frame, in the conventions of the network; `tracks.py` makes motion of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from mocap_ray.documents import Count
from mocap_ray.estimation.crops import crop, crop_box
from mocap_ray.estimation.detectors import Detector, find_detector
from mocap_ray.estimation.estimator import Estimator, Parameters
from mocap_ray.estimation.footage import Chunk
from mocap_ray.estimation.frames import Frame, Unreadable, decode
from mocap_ray.records import Rejection
from mocap_ray.shards.build import Build
from mocap_ray.shards.layout import Layout, ProductWords, Sums
from mocap_ray.shards.product import Product, Resources
from mocap_ray.shards.receipts import Receipt
from mocap_ray.storage import Place
from mocap_ray.training.prefetch import Prefetched
from mocap_ray.wording import counted


class PeopleReason(StrEnum):
    """Why a chunk gives no rows."""

    NO_PEOPLE = "no_people"
    """Nobody was found in its frames."""
    UNREADABLE = "unreadable"
    """The video cannot be opened, or none of the frames can be decoded."""
    WORKER_DIED = "worker_died"
    """Reading it kills the process."""
    EXCLUDED = "excluded"
    """The user excluded it."""


class PeopleSums(Sums):
    """The sums of a shard: frames that were decoded, frames that were broken, people in all of them."""

    AMOUNTS: ClassVar[tuple[str, ...]] = ("frames",)

    frames: Count
    broken: Count

    def merge(self, other: PeopleSums) -> PeopleSums:
        """The sums of both."""
        return PeopleSums(frames=self.frames + other.frames, broken=self.broken + other.broken)

    def counts(self) -> dict[str, int | float]:
        """Both of them."""
        return {**super().counts(), "broken": self.broken}


PEOPLE = Layout(
    folder="rows",
    keys=("video",),
    reasons=PeopleReason,
    sums=PeopleSums,
    words=ProductWords(input="chunk", inputs="chunks", rows="people", start="frame"),
    intended=frozenset({PeopleReason.NO_PEOPLE}),
)
"""The layout of the people of videos."""

SCHEMA = pa.schema(
    [
        pa.field("frame", pa.int32(), nullable=False),
        pa.field("seconds", pa.float64(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("id", pa.int64(), nullable=False),
        pa.field("confidence", pa.float32(), nullable=False),
        pa.field("box", pa.list_(pa.float32(), 4), nullable=False),
        pa.field("crop", pa.list_(pa.float32(), 4), nullable=False),
        pa.field("poses", pa.list_(pa.float32(), 165), nullable=False),
        pa.field("betas", pa.list_(pa.float32(), 10), nullable=False),
        pa.field("expression", pa.list_(pa.float32(), 10), nullable=False),
        pa.field("trans", pa.list_(pa.float32(), 3), nullable=False),
    ]
)
"""`id` is that of a file of boxes, or -1. docs/estimation.md describes the columns for readers."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A person in a frame, before the estimate.

    Attributes:
        frame, seconds, width, height: of the frame.
        id: given by a file of boxes, or -1.
        confidence: of the detector.
        corners: the box.
        crop: left, top, width and height of the crop, px.
        pixels: [256, 192, 3] the crop.
    """

    frame: int
    seconds: float
    width: int
    height: int
    id: int
    confidence: float
    corners: np.ndarray
    crop: np.ndarray
    pixels: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """A person in a frame, estimated: a row of a batch, so that a million of them are small.

    Attributes:
        seen: where; without its pixels.
        batch, row: the parameters.
        decoded, broken: of the whole chunk; of its first person only, 0 for the others.
    """

    seen: Seen
    batch: Parameters
    row: int
    decoded: int = 0
    broken: int = 0


@dataclass(frozen=True)
class PeopleProduct(Product[Chunk, Person, PeopleSums]):
    """People in the frames of videos.

    Attributes:
        weights: of the network.
        detector: its name; not used for chunks that have boxes.
        min_score: least confidence of a box.
        grow: factor of the crop.
        batch: crops that the network estimates at a time.
        dtype: `fp32` or `bf16`.
        gpus: GPUs of a worker.
        ready: network and detector of a worker.
    """

    layout = PEOPLE

    weights: str
    detector: str = "hog"
    min_score: float | None = None
    grow: float = 1.2
    batch: int = 32
    dtype: str = "fp32"
    gpus: float = 0.0
    ready: tuple[Estimator, Detector] | None = None

    @property
    def resources(self) -> Resources:
        """One CPU, and `gpus` GPUs for the network."""
        return Resources(gpus=self.gpus)

    def setup(self) -> PeopleProduct:
        """The product with its network in memory."""
        estimator = Estimator(self.weights, device="cuda" if self.gpus else "cpu", dtype=self.dtype)
        return replace(self, ready=(estimator, find_detector(self.detector)))

    def process(self, input: Chunk) -> list[Person | Rejection[Chunk]]:
        """The people of a chunk, by frame."""
        if self.ready is None:
            raise RuntimeError("call setup first")
        if input.problem:
            return [Rejection(input, PeopleReason.UNREADABLE, f"{input.source}: {input.problem}.")]
        found: list[Person] = []
        frames: list[int] = []
        try:
            # A thread decodes and cuts while the network works: both leave Python's lock alone most of the time.
            with Prefetched(self._seen(input, frames), depth=2 * self.batch) as source:
                while some := list(islice(source, self.batch)):
                    batch = self.ready[0](np.stack([seen.pixels for seen in some]))
                    found += [
                        Person(replace(seen, pixels=np.zeros(0, np.uint8)), batch, row)
                        for row, seen in enumerate(some)
                    ]
        except Unreadable as error:
            return [Rejection(input, PeopleReason.UNREADABLE, f"{input.source}: {error}.")]
        if not frames:
            text = f"{input.source}: none of its frames can be decoded."
            return [Rejection(input, PeopleReason.UNREADABLE, text, input.first)]
        if not found:
            text = f"{input.source}: nobody in {counted(len(frames), 'frame')}."
            return [Rejection(input, PeopleReason.NO_PEOPLE, text, input.first)]
        found[0] = replace(found[0], decoded=len(frames), broken=len(input.pts) - len(frames))
        return list(found)

    def _seen(self, chunk: Chunk, frames: list[int]) -> Iterator[Seen]:
        """The crops of all people; the numbers of decoded frames are added to `frames`."""
        for frame in decode(chunk):
            frames.append(frame.number)
            yield from self._in_frame(frame, chunk)

    def _in_frame(self, frame: Frame, chunk: Chunk) -> Iterator[Seen]:
        height, width = frame.image.shape[:2]
        if chunk.boxes is not None:
            given = chunk.boxes.in_frame(frame.number)
            corners, scores, ids = given.corners, given.scores, given.ids
        else:
            assert self.ready is not None
            corners, scores = self.ready[1].detect(frame.image)
            ids = np.full(len(corners), -1)
        for box, score, who in zip(corners, scores, ids, strict=True):
            if self.min_score is not None and score < self.min_score:
                continue
            part = crop_box(box, width=width, height=height, grow=self.grow)
            if part is not None:
                yield Seen(
                    frame=frame.number,
                    seconds=frame.seconds,
                    width=width,
                    height=height,
                    id=int(who),
                    confidence=float(score),
                    corners=np.asarray(box, np.float32),
                    crop=part,
                    pixels=crop(frame.image, part),
                )

    def table(self, items: Sequence[Person]) -> pa.Table:
        """People as Arrow columns."""
        columns = {
            name: pa.array([getattr(p.seen, name) for p in items], SCHEMA.field(name).type)
            for name in ("frame", "seconds", "width", "height", "id", "confidence")
        }
        columns["box"] = _numbers([p.seen.corners for p in items])
        columns["crop"] = _numbers([p.seen.crop for p in items])
        for name in ("poses", "betas", "expression", "trans"):
            columns[name] = _numbers([getattr(p.batch, name)[p.row] for p in items])
        return pa.Table.from_arrays([columns[f.name] for f in SCHEMA], schema=SCHEMA)

    def encode(self, table: pa.Table) -> pa.Buffer:
        """Parquet with byte-stream split floats."""
        sink = pa.BufferOutputStream()
        floats = [f"{f.name}.list.element" for f in SCHEMA if pa.types.is_fixed_size_list(f.type)]
        pq.write_table(
            table,
            sink,
            compression="zstd",
            compression_level=1,
            use_dictionary=["width", "height"],
            use_byte_stream_split=floats,
        )
        return sink.getvalue()

    def sums(self, items: Sequence[Person]) -> PeopleSums:
        """Frames of the chunks that gave a row."""
        return PeopleSums(frames=sum(p.decoded for p in items), broken=sum(p.broken for p in items))

    def finish(
        self, out: Place, receipts: Sequence[Receipt[PeopleSums]], manifest: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Say in the manifest what the rows are."""
        return {**manifest, "product": "people"}


PeopleBuild = Build[Chunk, Person, PeopleSums]
"""The plan of the first pass of an estimation."""


def _numbers(rows: Sequence[Float[np.ndarray, "..."]]) -> pa.FixedSizeListArray:
    flat = np.stack([np.asarray(row, np.float32).ravel() for row in rows])
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), flat.shape[1])
