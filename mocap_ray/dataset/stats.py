"""Mean and standard deviation of the features of a split, computed again from the files of a data set.

Each shard gives the moments of its rows in float64; moments merge exactly enough that any partition, order and number
of workers gives the result of two passes over all rows (Chan, Golub, LeVeque 1983). Rows count alike, or domains do.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from mocap_ray.dataset.parquet import contiguous
from mocap_ray.dataset.passes import Pass, in_process
from mocap_ray.dataset.poses import manifest_hash
from mocap_ray.dataset.product import BY_COMMAND
from mocap_ray.dataset.reader import DataSet
from mocap_ray.motion.features import WIDTH, Profile, column_names
from mocap_ray.motion.statistics import RULES, Moments

Weight = Literal["frames", "domain"]
FILES: Mapping[Weight, str] = dict(zip(("frames", "domain"), BY_COMMAND, strict=True))
"""The file that `mocap-ray dataset stats` writes into the data set."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class FeatureStatistics:
    """Statistics of a split.

    Attributes:
        split: the split.
        weight: `frames`: all rows count alike; `domain`: all domains count alike, however many rows they have.
        profile: the profile of the data set, whose rule is the default.
        domains: domain -> moments of its rows.
        moments: of all rows, weighted; `count` is the number of rows.
    """

    split: str
    weight: Weight
    profile: Profile
    domains: Mapping[str, Moments]
    moments: Moments

    def rule(self, profile: Profile) -> tuple[np.ndarray, np.ndarray]:
        """(mean, std) [263] float64 by the rule of a profile (`motion.statistics`)."""
        return RULES[profile](self.moments)


def statistics(
    ds: DataSet,
    *,
    split: str = "train",
    weight: Weight = "frames",
    run: Pass = in_process,
    progress: Progress | None = None,
) -> FeatureStatistics:
    """Read the features of a split and compute their statistics.

    Args:
        ds: the data set.
        split: the split.
        weight: what counts alike.
        run: where shards are read.
        progress: called with the number of shards that are done, and of all.

    Raises:
        DataSetError: no such split, or a file that is damaged.
    """
    numbers = ds.selected(split=split)
    found: dict[int, Moments] = {}
    for number, moments in run(partial(shard_moments, ds), numbers):
        found[number] = moments
        if progress is not None:
            progress(len(found), len(numbers))
    domains: dict[str, Moments] = {}
    for number in numbers:  # in one order, whatever was ready first
        domain = ds.shards[number].domain
        domains[domain] = domains.get(domain, Moments.empty()).merge(found[number])
    domains = {name: domains[name] for name in sorted(domains)}
    return FeatureStatistics(split, weight, _profile(ds), domains, weighted(domains, weight))


def shard_moments(ds: DataSet, number: int) -> tuple[int, Moments]:
    """The moments of the features of one shard, read one row group at a time."""
    moments = Moments.empty()
    with ds.open_shard(number) as file:
        for group in range(file.num_row_groups):
            column = contiguous(file.read_row_group(group, ["features"], use_threads=False)["features"])
            flat = column.flatten().flatten().to_numpy(zero_copy_only=False)
            moments = moments.merge(Moments.of_features(np.asarray(flat, np.float32).reshape(-1, WIDTH)))
    return number, moments


def weighted(domains: Mapping[str, Moments], weight: Weight) -> Moments:
    """The moments of all rows: of equal rows, or of equal domains.

    By domain, mean and variance are those of a row that is drawn from a domain drawn with equal chances.
    """
    filled = [m for _, m in sorted(domains.items()) if m.count]
    total = Moments.empty()
    for moments in filled:
        total = total.merge(moments)
    if weight == "frames" or not filled:
        return total
    mean = np.mean([m.mean for m in filled], axis=0)
    variance = np.mean([m.m2 / m.count + (m.mean - mean) ** 2 for m in filled], axis=0)
    return Moments(total.count, mean, variance * total.count)


def arrays(found: FeatureStatistics, ds: DataSet) -> dict[str, Any]:
    """The arrays of the file: those of `statistics.npz` in float64, and those of each domain."""
    mean, std = found.rule(found.profile)
    by_rule = {name: found.rule(name) for name in RULES}
    domains = found.domains
    return {
        "mean": mean,
        "std": std,
        **{f"mean_{name}": m for name, (m, _) in by_rule.items()},
        **{f"std_{name}": s for name, (_, s) in by_rule.items()},
        "count": np.int64(found.moments.count),
        "profile": np.array(found.profile),
        "columns": np.array(column_names()),
        "split": np.array(found.split),
        "weight": np.array(found.weight),
        "domains": np.array(list(domains)),
        "domain_counts": np.array([m.count for m in domains.values()], np.int64),
        "domain_means": np.stack([m.mean for m in domains.values()]),
        "domain_stds": np.stack([np.sqrt(m.m2 / max(m.count, 1)) for m in domains.values()]),
        "manifest_sha256": np.array(manifest_hash(ds)),
    }


def encoded(found: FeatureStatistics, ds: DataSet) -> bytes:
    """The bytes of the file."""
    sink = io.BytesIO()
    np.savez(sink, **arrays(found, ds))
    return sink.getvalue()


def _profile(ds: DataSet) -> Profile:
    return "flowmimic" if ds.profile == "flowmimic" else "humanml3d"
