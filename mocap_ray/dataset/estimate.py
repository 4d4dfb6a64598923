"""An estimate of a run's time and disk space, from a sample of its recordings."""

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
    """Estimated figures of a whole run, scaled up from a sample by source bytes.

    Attributes:
        recordings, all_recordings: recordings to process, and in the finished data set.
        source_bytes: size of the recordings to process.
        hours: hours of motion; mirrored twins and overlapping windows count as often as they are written.
        output_bytes: size of the Parquet files.
        cpu_s: seconds of reading, processing and encoding on one core, without the start of a worker.
        sample, sample_rejected: recordings in the sample, and how many of them gave no clip.
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
    """Process a sample of the recordings, write nothing, and scale up by source bytes.

    Raises:
        OSError: a recording of the sample cannot be read.
        MissingBody: a recording of the sample needs a body model that is missing.
    """
    recordings = [r for s in build.shards if s.name not in build.done for r in s.inputs]
    product, size = build.product, sum(r.size for r in recordings)
    sample = spread(recordings, SAMPLE)
    for recording in sample[:1]:
        product.process(recording)  # warm-up: compiles the kernels, which a worker does only once
    since = time.perf_counter()
    results = [product.process(r) for r in sample]
    clips = [c for items in results for c in items if isinstance(c, Clip)]
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
        sample_rejected=sum(all(not isinstance(c, Clip) for c in items) for items in results),
    )


def spread(recordings: Sequence[Recording], count: int) -> list[Recording]:
    """At most `count` of the recordings, evenly spaced from the first to the last."""
    if len(recordings) <= count:
        return list(recordings)
    return [recordings[k * (len(recordings) - 1) // (count - 1)] for k in range(count)]
