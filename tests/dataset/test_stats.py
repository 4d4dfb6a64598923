"""`mocap-ray dataset stats`: the result of two passes over all rows, whatever the partition."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mocap_ray
from mocap_ray.cli import main as cli
from mocap_ray.dataset.stats import FILES, Weight, statistics, weighted
from mocap_ray.motion.features import GROUPS
from mocap_ray.motion.statistics import Moments
from mocap_ray.npz import open_npz
from mocap_ray.storage import place
from tests.dataset.made import make


@pytest.fixture
def two_domains(tmp_path: Path) -> Path:
    """BMLrub is a source and domain of its own; train has rows of both, CMU's many more."""
    root = tmp_path / "set"
    make(root, clips={("BMLrub", "train"): 1, ("CMU", "train"): 6, ("CMU", "val"): 1})
    path = root / "manifest.json"
    manifest = json.loads(path.read_text())
    sources = manifest["recipe"]["sources"]
    sources["rub"] = {**sources["amass"], "domain": "rub"}
    for shard in manifest["shards"]:
        shard["source"] = "rub" if "BMLrub" in shard["path"] else "amass"
    path.write_text(json.dumps(manifest))
    return root


def two_passes(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    wide = rows.astype(np.float64)
    return wide.mean(0), wide.var(0)


def rows_of(root: Path, **chosen: str) -> np.ndarray:
    return np.concatenate([c.features for c in mocap_ray.open(root).clips(**chosen)])


def naive(root: Path, weight: Weight) -> tuple[np.ndarray, np.ndarray]:
    """(mean, variance) by numpy, with all rows in memory."""
    if weight == "frames":
        return two_passes(rows_of(root, split="train"))
    parts = [two_passes(rows_of(root, split="train", domain=d)) for d in ("amass", "rub")]
    mean = np.mean([m for m, _ in parts], axis=0)
    return mean, np.mean([v + m**2 for m, v in parts], axis=0) - mean**2


def shuffled(seed: int) -> Callable[..., Iterator[Any]]:
    """A pass that is ready in another order."""

    def run(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        order = list(items)
        random.Random(seed).shuffle(order)
        yield from map(function, order)

    return run


@pytest.mark.parametrize("weight", ["frames", "domain"])
def test_both_rules_are_those_of_two_passes(two_domains: Path, weight: Weight) -> None:
    ds = mocap_ray.open(two_domains)
    mean, variance = naive(two_domains, weight)
    found = statistics(ds, weight=weight)
    ours, std = found.rule("humanml3d")
    np.testing.assert_allclose(ours, mean, rtol=1e-9, atol=1e-12)
    for group in GROUPS:
        expected = np.sqrt(variance[group.columns]).mean() or 1.0
        np.testing.assert_allclose(std[group.columns], expected, rtol=1e-9)
    ours, std = found.rule("flowmimic")
    contact = GROUPS[-1].columns
    np.testing.assert_allclose(ours[: contact.start], mean[: contact.start], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        std[: contact.start], np.sqrt(np.maximum(variance, 1e-6))[: contact.start], rtol=1e-9
    )
    assert (ours[contact] == 0).all()
    assert (std[contact] == 1).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_order_in_which_shards_are_ready_changes_no_bit(two_domains: Path, seed: int) -> None:
    ds = mocap_ray.open(two_domains)
    one, other = statistics(ds), statistics(ds, run=shuffled(seed))
    np.testing.assert_array_equal(one.moments.mean, other.moments.mean)
    np.testing.assert_array_equal(one.moments.m2, other.moments.m2)


@pytest.mark.parametrize("parts", [1, 2, 7, 1000])
def test_any_partition_gives_the_same_to_1e_9(parts: int) -> None:
    draw = np.random.default_rng(parts)
    rows = (draw.normal(size=(1000, 263)) * draw.uniform(0, 100, 263) + 1000).astype(np.float32)
    total = Moments.empty()
    for part in np.array_split(rows, parts):
        total = total.merge(Moments.of_features(np.ascontiguousarray(part)))
    mean, variance = two_passes(rows)
    np.testing.assert_allclose(total.mean, mean, rtol=1e-9)
    np.testing.assert_allclose(total.m2 / total.count, variance, rtol=1e-9)


def test_a_domain_without_rows_has_no_weight() -> None:
    some = Moments.of_features(np.random.default_rng(0).normal(size=(9, 263)).astype(np.float32))
    assert weighted({"a": some, "b": Moments.empty()}, "domain").mean.tolist() == some.mean.tolist()
    assert weighted({"b": Moments.empty()}, "domain").count == 0


@pytest.mark.parametrize("weight", ["frames", "domain"])
def test_the_command_writes_and_prints(
    two_domains: Path, weight: Weight, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {p: p.read_bytes() for p in two_domains.iterdir() if p.is_file()}
    with pytest.raises(SystemExit) as done:
        cli.main(["dataset", "stats", str(two_domains), "--weight", weight])
    assert done.value.code == 0
    printed = capsys.readouterr().out
    assert "root_xz_vel" in printed
    assert ("50 %" in printed) == (weight == "domain")
    mean, _ = naive(two_domains, weight)
    with open_npz(place(two_domains), FILES[weight]) as arrays:
        np.testing.assert_allclose(arrays.read("mean"), mean, rtol=1e-9, atol=1e-12)
        assert arrays.read("mean").dtype == arrays.read("std_flowmimic").dtype == np.float64
        assert arrays.read("domains").tolist() == ["amass", "rub"]
        assert (
            arrays.read("domain_counts").sum()
            == arrays.read("count")
            == len(rows_of(two_domains, split="train"))
        )
    assert {p: p.read_bytes() for p in before} == before


def test_another_split_goes_into_another_file(two_domains: Path, tmp_path: Path) -> None:
    words = ["dataset", "stats", str(two_domains), "--split", "val"]
    with pytest.raises(SystemExit) as done:
        cli.main(words)
    assert done.value.code == 2
    with pytest.raises(SystemExit) as done:
        cli.main([*words, "--out", str(tmp_path / "val.npz")])
    assert done.value.code == 0
    with open_npz(place(tmp_path), "val.npz") as arrays:
        np.testing.assert_allclose(
            arrays.read("mean"), two_passes(rows_of(two_domains, split="val"))[0], rtol=1e-9
        )
