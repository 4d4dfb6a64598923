"""The student of a flow: its rows are the pairs of its teacher, and few of its steps come near to many."""

from __future__ import annotations

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
from mocap_ray.generation.generator import Generator, Sampling
from mocap_ray.generation.pair_rows import unpacked
from mocap_ray.generation.reflow import plan, random_requests
from mocap_ray.generation.requests import Request
from mocap_ray.generation.sampling import sample
from mocap_ray.shards.running import InProcess, NoCallback, run
from mocap_ray.storage import place
from mocap_ray.training.loaders import memory_loaders
from mocap_ray.training.lockstep import train_locally
from mocap_ray.training.prepare import prepare
from mocap_ray.training.session import run as run_training
from mocap_ray.training.streaming import PlainReader, stream_loaders
from mocap_ray.training.task import TrainingSetup
from mocap_ray.training.team import Team
from tests.generation.made import TINY_FLOW, setup, two_domains
from tests.generation.test_training import losses
from tests.training.test_session import Kill

LABELS = {"domain": 0.9, "style": 0.9, "action": 0.9, "length": 0.9, "text": 0.0, "keypoints": 0.0,
          "frames": 0.0, "path": 0.0}  # fmt: skip
COUNT = 90


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, a VAE, a flow, and pairs that it drew."""
    home = tmp_path_factory.mktemp("home")
    two_domains(home / "set")
    fast = {"max_epochs": 2, "learning_rate": 1e-2}
    train_locally(setup(home / "set", home / "vae", training=fast))
    model = {"kind": "motion_flow", "vae": str(home / "vae"), **TINY_FLOW, "conditions": LABELS}
    train_locally(setup(home / "set", home / "flow", model=model, training={**fast, "max_epochs": 12}))
    teacher = Generator.load(Sampling(str(home / "flow"), steps=16, guidance=3.0))
    requests = random_requests(teacher, mocap_ray.open(home / "set"), split="train", count=COUNT, seed=100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reflow, "BLOCK", 6)
        patch.setattr(reflow, "EVERY", 3)
        run(
            lambda: plan(requests, teacher, out=place(home / "pairs"), settings={}),
            lambda: nullcontext(InProcess()),
            out=place(home / "pairs"),
            callback=NoCallback(),
        )
    return home


def student(home: Path, out: Path, **changes: dict[str, Any]) -> TrainingSetup[Any]:
    model = {"kind": "motion_flow", "teacher": str(home / "flow"), **TINY_FLOW, "conditions": LABELS}
    return setup(
        home / "set",
        out,
        model={**model, **changes.pop("model", {})},
        data={"pairs": str(home / "pairs"), **changes.pop("data", {})},
        **changes,
    )


def test_rows_are_the_pairs_from_memory_and_by_stream(home: Path, tmp_path: Path) -> None:
    chosen = student(home, tmp_path)
    facts = chosen.task.check()
    memory, stream = memory_loaders(chosen, Team()), stream_loaders(chosen, Team(), PlainReader())
    assert (facts.rows, facts.val_rows) == (memory.rows, memory.val_rows) == (stream.rows, stream.val_rows)
    assert facts.rows + facts.val_rows == COUNT
    written = {}
    for path in (home / "pairs").rglob("split=train/*.parquet"):
        written |= {tuple(row["noise"][0]): row for row in pq.read_table(path).to_pylist()}
    teacher = mocap_ray.load_motion_model(home / "flow")
    for loaders in (memory, stream):
        rows = torch.cat([b.data for b in loaders.train(0)])
        assert len(rows) == len(written)
        header, noise, latents = unpacked(rows, 4)
        for k in range(len(rows)):
            row = written[tuple(noise[k, 0].tolist())]
            count = teacher.vae.latent_count(row["frames"])
            np.testing.assert_array_equal(noise[k, :count], np.array(row["noise"], np.float32))
            np.testing.assert_array_equal(latents[k, :count], np.array(row["latents"], np.float32))
            assert not noise[k, count:].any()
            frames, domain, style, action, text = header[k].tolist()
            assert (frames, teacher.facts.labels.domains[domain - 1]) == (row["frames"], row["domain"])
            assert ("", *teacher.facts.labels.styles)[style] == (row["style"] or "")
            assert ("", *teacher.facts.actions)[action] == (row["action"] or "")
            assert text == 0
        loaders.close()


def test_few_steps_of_a_student_come_nearer_to_many_than_those_of_its_teacher(
    home: Path, tmp_path: Path
) -> None:
    chosen = student(home, tmp_path / "run", training={"max_epochs": 40, "learning_rate": 5e-3, "ema": 0.9})
    train_locally(chosen)
    teacher, found = (mocap_ray.load_motion_model(p) for p in (home / "flow", tmp_path / "run"))
    assert found.facts.reflow
    assert all(
        torch.equal(a, b)
        for a, b in zip(teacher.vae.state_dict().values(), found.vae.state_dict().values(), strict=True)
    )
    requests = [Request(seed=k, frames=24, domain="aist", style="old", action="walk") for k in range(24)]
    away = []
    for model in (teacher, found):
        few, many = (np.stack(sample(model, requests, steps=n, guidance=3.0)) for n in (1, 16))
        away.append(float(np.square(few - many).mean() / many.std() ** 2))
    assert away[1] < 0.5 * away[0]
    # The guidance of the teacher is in the pairs.
    one, two = (sample(found, requests[:1], steps=2, guidance=g)[0] for g in (1.0, 5.0))
    assert np.array_equal(one, two)


@pytest.mark.slow
def test_a_killed_student_resumes_to_the_same_losses(home: Path, tmp_path: Path) -> None:
    whole, halves = (
        student(home, tmp_path / name, training={"max_epochs": 3}) for name in ("whole", "halves")
    )
    for each in (whole, halves):
        prepare(each)
    run_training(whole)
    with pytest.raises(KeyboardInterrupt):
        run_training(halves, callback=Kill(1))
    prepare(halves, resume=True)
    run_training(halves)
    assert losses(tmp_path / "halves") == losses(tmp_path / "whole")


def test_pairs_and_teachers_that_do_not_fit_are_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.pairs: set model.teacher to the motion_flow that drew them"):
        student(home, tmp_path, model={"teacher": None, "vae": str(home / "vae")}).task.check()
    with pytest.raises(DataSetError, match=r"no pairs of noise and latents. Expected a folder"):
        student(home, tmp_path, data={"pairs": str(home / "set")}).task.check()
    with pytest.raises(UserError, match=r"is a motion_vae. Expected a training of motion_flow"):
        student(home, tmp_path, model={"teacher": str(home / "vae")}).task.check()
    chosen = student(home, tmp_path, model={"width": 32})
    with pytest.raises(UserError, match=r"has other sizes than this model: .* is \(.*\), expected"):
        chosen.task.model(np.zeros((0, 1, 1), np.float32))
    train_locally(student(home, tmp_path / "other", training={"max_epochs": 1}))
    with pytest.raises(DataSetError, match=r"drawn by another flow than model.teacher"):
        student(home, tmp_path, model={"teacher": str(tmp_path / "other")}).task.check()
    with pytest.raises(ValueError, match="expected the path of a trained motion_vae"):
        student(home, tmp_path, model={"teacher": None})
