"""A training of a motion model from its config to its export: feeds, resuming, loading, and what it refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import mocap_ray
from mocap_ray.cli.screen import console
from mocap_ray.cli.training_view import print_training
from mocap_ray.config import load, shipped
from mocap_ray.generation import MODELS
from mocap_ray.generation.task import WORDS
from mocap_ray.runs.search import SearchConfig, check_search
from mocap_ray.runs.train import TrainConfig
from mocap_ray.storage import place
from mocap_ray.training.checkpoint import BEST, CheckpointError, read
from mocap_ray.training.loaders import memory_loaders
from mocap_ray.training.lockstep import train_locally
from mocap_ray.training.prepare import prepare
from mocap_ray.training.session import run
from mocap_ray.training.streaming import PlainReader
from mocap_ray.training.team import Team
from tests.generation.made import IDS, VARIANTS, setup, two_domains
from tests.training.test_session import Kill


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_domains(tmp_path_factory.mktemp("set"))


def losses(out: Path) -> list[tuple[str, ...]]:
    rows = csv.DictReader((out / "metrics.csv").read_text().splitlines())
    return [(r["epoch"], r["step"], r["loss"], r["val_loss"]) for r in rows]


@pytest.mark.parametrize(("kind", "options"), VARIANTS, ids=IDS)
def test_it_trains_and_its_folder_and_export_give_the_same_model(
    made: Path, tmp_path: Path, kind: str, options: dict[str, Any]
) -> None:
    chosen = setup(
        made, tmp_path / "run", model={"kind": kind, **options}, training={"max_epochs": 3, "ema": 0.5}
    )
    summary = train_locally(chosen)
    assert (summary["kind"], summary["feed"]) == (kind, "memory")
    assert summary["domains"] == ["aist", "amass"]
    assert summary["styles"] == ["calm", "old"]
    found = [float(loss) for _, _, loss, _ in losses(tmp_path / "run")]
    assert found[-1] < found[0]
    models = [
        mocap_ray.load_motion_model(tmp_path / p) for p in ("run", "run/export", "run/checkpoints/best.pt")
    ]
    for one in models[1:]:
        assert all(
            torch.equal(a, b)
            for a, b in zip(models[0].state_dict().values(), one.state_dict().values(), strict=True)
        )
    assert models[0].facts.describe() == {
        "domains": ["aist", "amass"], "styles": ["calm", "old"], "fps": 20.0, "profile": "humanml3d", "length": 24
    }  # fmt: skip
    statistics = mocap_ray.open(made).statistics
    assert torch.equal(models[0].mean[:259], torch.from_numpy(statistics.mean[:259]))
    assert torch.equal(models[0].std[:259], torch.from_numpy(statistics.divisor[:259]))
    assert not models[0].mean[259:].any()
    assert (models[0].std[259:] == 1).all()
    batches = memory_loaders(chosen, Team()).val()  # type: ignore[misc]
    torch.manual_seed(chosen.training.seed)
    figures = chosen.task.validate(models[0], batches, Team())
    assert figures["loss"] == pytest.approx(summary["best_loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("feed", "kind", "options"),
    [("memory", *VARIANTS[2]), ("stream", *VARIANTS[1])],
    ids=["reference-memory", "default-stream"],
)
def test_a_killed_training_resumes_to_the_same_losses(
    made: Path, tmp_path: Path, feed: str, kind: str, options: dict[str, Any]
) -> None:
    model = {"kind": kind, **options, "dropout": 0.1}
    sections = {"model": model, "data": {"feed": feed}, "training": {"max_epochs": 3, "ema": 0.9}}
    whole, halves = (setup(made, tmp_path / name, **sections) for name in ("whole", "halves"))
    for each in (whole, halves):
        prepare(each)
    run(whole, reader=PlainReader)
    with pytest.raises(KeyboardInterrupt):
        run(halves, reader=PlainReader, callback=Kill(1))
    prepare(halves, resume=True)
    run(halves, reader=PlainReader)
    assert losses(tmp_path / "halves") == losses(tmp_path / "whole")
    best = [
        read(place(tmp_path / name / "checkpoints"), BEST)["state"]["model"] for name in ("whole", "halves")
    ]
    assert all(torch.equal(best[0][k], best[1][k]) for k in best[0])


def test_the_table_of_a_training_names_its_domains_and_styles(capsys: pytest.CaptureFixture[str]) -> None:
    summary = {"kind": "motion_vae", "domains": ["aist", "amass"], "styles": [*"abcdefgh"], "rows": 3}
    print_training(console(), summary, "nowhere", WORDS)
    shown = capsys.readouterr().out
    assert "aist and amass" in shown
    assert "a, b, c, d, e and 3 more" in shown
    assert "3 windows" in shown


def test_folds_hold_out_subjects(made: Path, tmp_path: Path) -> None:
    chosen = setup(made, tmp_path, data={"folds": 2, "fold": 0, "domains": "all"})
    source = mocap_ray.open(made)
    subjects = source.index["subject"].to_pylist()
    parts = []
    for role in ("train", "val"):
        rows = chosen.task.rows(role)  # type: ignore[arg-type]
        parts.append({subjects[k] for k in rows.slots.clip})  # type: ignore[union-attr]
    assert not parts[0] & parts[1]
    assert parts[0] | parts[1] == set(subjects)


def test_the_picture_shows_originals_above_reconstructions(made: Path, tmp_path: Path) -> None:
    chosen = setup(made, tmp_path)
    rows = chosen.task.rows("train")
    assert rows is not None
    made_model = chosen.task.model(rows.load().sample())
    picture = chosen.task.picture(made_model, count=1)
    assert picture is not None
    assert picture.shape == (2 * 192, 128, 3)
    assert (picture[:192] < 128).any(), "a figure is drawn"
    assert made_model.training
    evaluator = setup(made, tmp_path, model={"kind": "motion_evaluator", "width": 8, "features": 4})
    assert evaluator.task.picture(evaluator.task.model(rows.load().sample()), count=3) is None


def test_the_shipped_configs_load_and_their_search_fits(tmp_path: Path) -> None:
    names = [c.name for c in shipped() if c.kind == "train" and "motion" in c.name]
    assert sorted(names) == ["motion_evaluator", "motion_vae", "motion_vae_reference"]
    for name in names:
        config = load(name, TrainConfig, kind="train")
        assert config.model.kind in MODELS
    reference = load("motion_vae_reference", TrainConfig, kind="train")
    assert reference.model.root_late_epoch == 0.9 * reference.training.max_epochs  # type: ignore[attr-defined]
    search = load("motion_vae", SearchConfig, kind="search")
    assert check_search(search).model.kind == "motion_vae"


def test_a_damaged_or_foreign_folder_says_so(made: Path, tmp_path: Path) -> None:
    train_locally(setup(made, tmp_path / "run", training={"max_epochs": 1}))
    with pytest.raises(CheckpointError, match="there is no such file or folder"):
        mocap_ray.load_motion_model(tmp_path / "absent")
    with pytest.raises(CheckpointError, match=r"model of this version|does not know|describes no model"):
        mocap_ray.load_prior(tmp_path / "run")
    about = tmp_path / "run" / "export" / "motion_model.json"
    plain = json.loads(about.read_text())
    for change, said in (
        (
            {"styles": ["calm"]},
            r"do not match: coder\.condition\.style\.weight is \(3, 4\), expected \(2, 4\)",
        ),
        ({"fps": -1}, r"says nothing usable about the training data \(fps: "),
        ({"model": {**plain["model"], "width": 7}}, r"does not know \(model\."),
        (
            {"model": {"kind": "joint_flow"}},
            r"kind 'joint_flow'. Expected one of motion_vae, motion_evaluator",
        ),
        ({"model": {**plain["model"], "encoder_blocks": 3}}, r"coder\.encoder\.1\..* is missing, expected"),
    ):
        about.write_text(json.dumps({**plain, **change}))
        with pytest.raises(CheckpointError, match=said):
            mocap_ray.load_motion_model(tmp_path / "run" / "export")
