"""What a run would take, from a sample of its recordings."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from mocap_ray.dataset.product import ClipBuild
from mocap_ray.motion.clip import Clip
from mocap_ray.records import Recording

SAMPLE = 12


@dataclass(frozen=True, slots=True)
class Estimate:
    """Figures of a whole run, scaled up by source bytes from a sample.

    Attributes:
        recordings, all_recordings: to make, and in the finished data set.
        source_bytes: of what is to be made.
        hours: of motion; mirrored twins and overlapping windows count as often as they are written.
        output_bytes: of Parquet.
        cpu_s: of reading, processing and encoding on one core, after a worker's start.
        sample, sample_rejected: recordings processed, and how many of them gave no clip.
    """

    recordings: int
    all_recordings: int
    source_bytes: int
    hours: float
    output_bytes: float
    cpu_s: float
    sample: int
    sample_rejected: int


def estimate(build: ClipBuild) -> Estimate:
    """Process a sample spread over what is to be made, write nothing, and scale up by source bytes.

    Raises:
        OSError: a recording of the sample cannot be read.
        MissingBody: one needs a body model that is not there.
    """
    recordings = [r for s in build.shards if s.name not in build.done for r in s.inputs]
    product, size = build.product, sum(r.size for r in recordings)
    sample = spread(recordings, SAMPLE)
    for recording in sample[:1]:
        product.process(recording)  # compiles the kernels, which a worker does once
    since = time.perf_counter()
    found = [product.process(r) for r in sample]
    clips = [c for items in found for c in items if isinstance(c, Clip)]
    data = product.encode(product.table(clips)) if clips else b""
    spent = time.perf_counter() - since
    scale = size / max(1, sum(r.size for r in sample))
    return Estimate(
        recordings=len(recordings),
        all_recordings=sum(len(s.inputs) for s in build.shards),
        source_bytes=size,
        hours=scale * sum(c.num_frames / c.fps for c in clips) / 3600,
        output_bytes=scale * len(memoryview(data)),
        cpu_s=scale * spent,
        sample=len(sample),
        sample_rejected=sum(all(not isinstance(c, Clip) for c in items) for items in found),
    )


def spread(recordings: Sequence[Recording], count: int) -> list[Recording]:
    """At most `count` of them, evenly spaced from the first to the last; all where there are fewer."""
    if len(recordings) <= count:
        return list(recordings)
    return [recordings[k * (len(recordings) - 1) // (count - 1)] for k in range(count)]
