"""Motion clips as a product of shards: a shard's table and sums, and the files that are made from all shards."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from mocap_ray.dataset import schema
from mocap_ray.dataset.card import card
from mocap_ray.dataset.manifest import ClipManifest
from mocap_ray.dataset.process import Plan, process
from mocap_ray.dataset.recipe import recipes_of
from mocap_ray.documents import Amount, Count
from mocap_ray.motion.clip import Clip, Reason
from mocap_ray.motion.features import WIDTH, Profile, column_names
from mocap_ray.motion.statistics import RULES, Moments
from mocap_ray.records import Recording, Rejection
from mocap_ray.shards.build import Build
from mocap_ray.shards.layout import Layout, ProductWords, Record, Sums
from mocap_ray.shards.product import Product, Resources
from mocap_ray.shards.receipts import Receipt
from mocap_ray.storage import Place, place

BY_COMMAND = ("statistics_by_frame.npz", "statistics_by_domain.npz")
"""What `mocap-ray dataset stats` writes; removed when the data set changes."""


class FeatureSums(Record):
    """Moments of a shard's features as plain numbers; JSON preserves float64 exactly."""

    count: Count
    mean: Annotated[tuple[float, ...], Field(min_length=WIDTH, max_length=WIDTH)]
    m2: Annotated[tuple[float, ...], Field(min_length=WIDTH, max_length=WIDTH)]

    @staticmethod
    def of(moments: Moments) -> FeatureSums:
        """Convert to plain numbers."""
        return FeatureSums(
            count=moments.count, mean=tuple(moments.mean.tolist()), m2=tuple(moments.m2.tolist())
        )

    def moments(self) -> Moments:
        """Convert back to arrays."""
        return Moments(count=self.count, mean=np.array(self.mean), m2=np.array(self.m2))


class ClipSums(Sums):
    """The sums of a shard's clips.

    Attributes:
        frames: rows of `features`.
        seconds: seconds of motion.
        other_gender_body: number of recordings that used a body model of another gender than their own.
        missing_body: number of recordings whose preferred body model is missing, so that another was used.
        other_rate: number of recordings with clips at another frame rate than the profile's.
        short_segments: number of clips that are shorter than their segment, because the recording ends before it.
        retimed_segments: number of clips that were cut by time, because their recording has another frame rate here.
        moments: moments of the features, for the statistics of the training split.
    """

    AMOUNTS: ClassVar[tuple[str, ...]] = ("frames", "seconds")

    @staticmethod
    def empty() -> ClipSums:
        """The sums of no clips."""
        return ClipSums(
            frames=0,
            seconds=0.0,
            other_gender_body=0,
            missing_body=0,
            other_rate=0,
            short_segments=0,
            moments=FeatureSums.of(Moments.empty()),
        )

    frames: Count
    seconds: Amount
    other_gender_body: Count
    missing_body: Count
    other_rate: Count
    short_segments: Count
    retimed_segments: Count = 0
    moments: FeatureSums

    def merge(self, other: ClipSums) -> ClipSums:
        """The sums of both."""
        return ClipSums(
            frames=self.frames + other.frames,
            seconds=self.seconds + other.seconds,
            other_gender_body=self.other_gender_body + other.other_gender_body,
            missing_body=self.missing_body + other.missing_body,
            other_rate=self.other_rate + other.other_rate,
            short_segments=self.short_segments + other.short_segments,
            retimed_segments=self.retimed_segments + other.retimed_segments,
            moments=FeatureSums.of(self.moments.moments().merge(other.moments.moments())),
        )

    def counts(self) -> dict[str, int | float]:
        """All but the moments."""
        names = ["other_gender_body", "missing_body", "other_rate", "short_segments"]
        names += ["retimed_segments"] * bool(self.retimed_segments)
        return {**super().counts(), **{name: getattr(self, name) for name in names}}


CLIPS = Layout(
    folder="clips",
    keys=("dataset", "split"),
    reasons=Reason,
    sums=ClipSums,
    words=ProductWords(input="recording", inputs="recordings", rows="clips", start="first_frame"),
    schema_version=schema.SCHEMA_VERSION,
    rejected_keys=("dataset",),
    manifest=ClipManifest,
    intended=frozenset({Reason.IGNORED}),
)
"""The layout of a data set of clips; `docs/data-format.md` describes its files."""


@dataclass(frozen=True)
class ClipProduct(Product[Recording, Clip, ClipSums]):
    """Clips with their features, from recordings of an archive.

    Attributes:
        plan: how to process a recording.
        gpus: GPUs of a worker, for vertices.
    """

    layout = CLIPS

    plan: Plan
    gpus: float = 0.0

    @property
    def resources(self) -> Resources:
        """One CPU, and `gpus` GPUs for vertices."""
        return Resources(gpus=self.gpus)

    @property
    def reads(self) -> Mapping[str, Place]:
        """The archive, and the body models where workers compute vertices."""
        bodies = {"body.root": place(self.plan.bodies.root)} if "vertices" in self.plan.columns else {}
        return {"source.root": self.plan.place, **bodies}

    def process(self, input: Recording) -> list[Clip | Rejection[Recording]]:
        """See `mocap_ray.dataset.process.process`."""
        return process(input, self.plan)

    def table(self, items: Sequence[Clip]) -> pa.Table:
        """Clips as Arrow columns."""
        return schema.to_table(items, schema.schema(self.plan.columns))

    def encode(self, table: pa.Table) -> pa.Buffer:
        """Parquet with byte-stream split floats, about 100 clips per row group."""
        return schema.to_parquet(table)

    def sums(self, items: Sequence[Clip]) -> ClipSums:
        """Counts of the clips, and moments of their features."""
        moments = Moments.empty()
        for clip in items:
            moments = moments.merge(Moments.of_features(clip.features))

        def recordings(which: Callable[[Clip], bool]) -> int:
            return len({c.recording.name for c in items if which(c)})

        rate = self.plan.motion.fps
        return ClipSums(
            frames=sum(c.num_frames for c in items),
            seconds=sum(c.num_frames / c.fps for c in items),
            other_gender_body=recordings(lambda c: c.body_gender != c.gender),
            missing_body=recordings(lambda c: c.body_missing),
            other_rate=recordings(lambda c: c.fps != rate),
            short_segments=sum(c.short and not c.mirrored for c in items),
            retimed_segments=sum(c.retimed and not c.mirrored for c in items),
            moments=FeatureSums.of(moments),
        )

    def metadata(self) -> dict[str, str]:
        """The profile, which a reader needs to decode the features."""
        return {"profile": self.plan.motion.profile}

    def finish(
        self, out: Place, receipts: Sequence[Receipt[ClipSums]], manifest: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Write statistics.npz and the data card, README.md."""
        return finish(out, receipts, manifest)


ClipBuild = Build[Recording, Clip, ClipSums]
"""The plan of an extraction."""


def finish(out: Place, receipts: Sequence[Receipt[ClipSums]], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Write statistics.npz and README.md, and return the manifest with further entries; needs no archive.

    Args:
        out: root of the data set.
        receipts: of all shards, in the order of their paths.
        manifest: the entries that every product has.
    """
    recipes = recipes_of(manifest["recipe"])
    profile: Profile = recipes.shared["motion"]["profile"]
    out.write_atomic(_statistics(receipts, profile), "statistics.npz")
    for name in BY_COMMAND:  # of the data set before this run
        out.remove(name)
    models = [m for one in recipes.sources.values() for m in one.settings["models"].values()]
    extended = {
        **manifest,
        "profile": profile,
        "columns": [c for c in schema.OPTIONAL_COLUMNS if c in recipes.shared["columns"]],
        "standin_body": any(m["standin"] for m in models),
    }
    out.write_atomic(card(extended).encode(), "README.md")
    return extended


def _statistics(receipts: Sequence[Receipt[ClipSums]], profile: Profile) -> bytes:
    """statistics.npz: statistics of the train split, merged in the order of the shards' paths."""
    split = CLIPS.keys.index("split")
    moments, rows = Moments.empty(), dict.fromkeys(sorted({r.origin.source for r in receipts}), 0)
    for receipt in receipts:
        if receipt.group[split] == "train":
            moments = moments.merge(receipt.sums.moments.moments())
            rows[receipt.origin.source] += receipt.sums.moments.count
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
        sources=np.array(list(rows)),
        source_counts=np.array(list(rows.values()), np.int64),
        **arrays,
    )
    return sink.getvalue()
