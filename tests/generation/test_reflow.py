"""Pairs of noise and latents: what they hold, resumed and extended, the same noise as samples."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import mocap_ray
from mocap_ray.dataset.views import DataSetError
from mocap_ray.errors import UserError
from mocap_ray.generation import reflow
from mocap_ray.generation.generator import Generator
from mocap_ray.generation.reflow import plan, random_requests
from mocap_ray.generation.requests import Request
from mocap_ray.generation.solvers import noise_of
from mocap_ray.shards.running import InProcess, NoCallback, RunResult, run
from mocap_ray.storage import place
from tests.generation.generated import exported, generator
from tests.generation.made import two_domains


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    return generator(exported(tmp_path_factory.mktemp("flow")))


def _requests(count: int) -> list[Request]:
    return [
        Request(seed=k, frames=24 - k % 5, domain="aist", style=("old", None)[k % 2]) for k in range(count)
    ]


def _made(requests: list[Request], teacher: Generator, out: Path, **settings: Any) -> RunResult:
    return run(
        lambda: plan(requests, teacher, out=place(out), settings=settings),
        lambda: nullcontext(InProcess()),
        out=place(out),
        callback=NoCallback(),
    )


def _rows(out: Path) -> list[dict[str, Any]]:
    rows = [
        row
        for path in sorted(out.rglob("*.parquet"))
        if "pairs" in path.parts
        for row in pq.read_table(path).to_pylist()
    ]
    return sorted(rows, key=lambda row: row["seed"])


def test_a_pair_is_the_noise_of_its_seed_and_the_latents_of_its_sample(
    teacher: Generator, tmp_path: Path
) -> None:
    requests = _requests(5)
    _made(requests, teacher, tmp_path)
    rows = _rows(tmp_path)
    assert [row["style"] for row in rows] == ["old", None, "old", None, "old"]
    model = teacher.model
    for row, request, features in zip(rows, requests, teacher.generate(requests), strict=True):
        count = model.vae.latent_count(row["frames"])
        noise, latents = (np.array(row[name], np.float32) for name in ("noise", "latents"))
        assert noise.shape == latents.shape == (count, model.facts.vae.latent)
        np.testing.assert_array_equal(noise, noise_of([row["seed"]], [count], width=noise.shape[1])[0])
        labels = {
            "domain": torch.tensor([model.facts.labels.domains.index(row["domain"])]),
            "style": torch.from_numpy(model.facts.labels.style_numbers([row["style"]])),
        }
        length = torch.tensor([row["frames"]])
        with torch.no_grad():
            found = model.decoded(
                torch.from_numpy(latents)[None], length=length, frames=row["frames"], **labels
            )
        np.testing.assert_allclose(found[0].numpy(), features, atol=1e-4)
        assert request.frames == row["frames"]


def test_a_second_run_resumes_and_more_pairs_are_added(
    teacher: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reflow, "BLOCK", 4)
    monkeypatch.setattr(reflow, "EVERY", 3)
    monkeypatch.setattr(reflow, "SHARD_MB", 0.001)
    first = _made(_requests(24), teacher, tmp_path / "out")
    assert first.made > 2
    assert _made(_requests(24), teacher, tmp_path / "out").made == 0
    more = _made(_requests(30), teacher, tmp_path / "out")
    assert 0 < more.made < first.made
    assert [row["seed"] for row in _rows(tmp_path / "out")] == list(range(30))
    assert Counter(row["split"] for row in more.manifest["counts"]) == {"train": 1, "val": 1}
    with pytest.raises(UserError, match=r"split: was 'train', is now 'val'|split: was None, is now 'val'"):
        _made(_requests(30), teacher, tmp_path / "out", split="val")


def test_pairs_are_no_data_set_of_clips(teacher: Generator, tmp_path: Path) -> None:
    made = _made(_requests(1), teacher, tmp_path)
    assert made.manifest["product"] == "reflow"
    with pytest.raises(DataSetError, match="pairs of noise and latents"):
        mocap_ray.open(tmp_path)


def test_requests_have_the_labels_of_clips_and_do_not_depend_on_their_number(
    teacher: Generator, tmp_path: Path
) -> None:
    source = mocap_ray.open(two_domains(tmp_path))
    drawn = random_requests(teacher, source, split="train", count=400, seed=7)
    assert drawn[:50] == random_requests(teacher, source, split="train", count=50, seed=7)
    assert [r.seed for r in drawn[:3]] == [7, 8, 9]
    domains = Counter(r.domain for r in drawn)
    assert 0.4 < domains["aist"] / 400 < 0.6
    styles = Counter(r.style for r in drawn)
    assert set(styles) == {"calm", "old", None}
    pairs = {(row["domain"], row["style"]) for row in source.index.to_pylist() if row["split"] == "train"}
    assert {(r.domain, r.style) for r in drawn if r.style} <= pairs
    assert {r.frames for r in drawn} == {20, 24}
    with pytest.raises(UserError, match="no split 'nowhere'"):
        random_requests(teacher, source, split="nowhere", count=1, seed=0)
