"""A training of a flow from its config to its export: it carries its VAE, resumes, loads, and refuses a wrong VAE."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mocap_ray
from mocap_ray.config import load
from mocap_ray.dataset.views import DataSetError
from mocap_ray.errors import UserError
from mocap_ray.generation.requests import Request
from mocap_ray.generation.sampling import names_of, sample
from mocap_ray.generation.task import WORDS
from mocap_ray.runs.search import SearchConfig, check_search
from mocap_ray.runs.train import TrainConfig
from mocap_ray.training.checkpoint import CheckpointError
from mocap_ray.training.loaders import memory_loaders
from mocap_ray.training.lockstep import train_locally
from mocap_ray.training.prepare import prepare
from mocap_ray.training.session import run
from mocap_ray.training.streaming import PlainReader
from mocap_ray.training.team import Team
from mocap_ray.training.trained import read_trained
from tests.dataset.made import make
from tests.generation.made import TINY_FLOW, setup, two_domains
from tests.generation.test_training import losses
from tests.training.test_session import Kill


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_domains(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="module")
def vae(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("vae") / "run"
    train_locally(setup(made, root, training={"max_epochs": 2, "learning_rate": 1e-2}))
    return root


def flow_of(vae: Path, **options: Any) -> dict[str, Any]:
    return {"kind": "motion_flow", "vae": str(vae), **TINY_FLOW, **options}


def test_a_flow_trains_and_needs_its_vae_no_more(made: Path, vae: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(vae, tmp_path / "vae"))
    chosen = setup(
        made,
        tmp_path / "run",
        model=flow_of(own),
        data={"batch_size": 8},
        training={"max_epochs": 8, "learning_rate": 1e-2, "ema": 0.5},
    )
    summary = train_locally(chosen)
    assert (summary["kind"], summary["feed"], summary["domains"]) == (
        "motion_flow",
        "memory",
        ["aist", "amass"],
    )
    assert summary["actions"] == ["dance", "run & <jump>", "walk"]
    assert summary["vae_sha256"] == read_trained(vae, WORDS).digest()
    found = [float(loss) for *_, loss in losses(tmp_path / "run")]
    assert min(found[4:]) < 0.98 * found[0]
    figures = chosen.task.validate(
        mocap_ray.load_motion_model(tmp_path / "run"),
        memory_loaders(chosen, Team()).val(),
        Team(),  # type: ignore[misc]
    )
    assert figures["loss"] == pytest.approx(summary["best_loss"], rel=0.5), "other random numbers"
    shutil.rmtree(own)
    models = [
        mocap_ray.load_motion_model(tmp_path / p) for p in ("run", "run/export", "run/checkpoints/best.pt")
    ]
    for one in models[1:]:
        pairs = zip(models[0].state_dict().values(), one.state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    inner = mocap_ray.load_motion_model(vae).state_dict()
    assert all(torch.equal(inner[name], t) for name, t in models[0].vae.state_dict().items())
    names = names_of(models[0])
    assert (names["domain"], names["style"]) == (("aist", "amass"), ("calm", "old"))
    motion = sample(models[0], [Request(seconds=1.0, style="old", action="walk")], steps=2)[0]
    assert motion.shape == (20, 263)
    assert np.isfinite(motion).all()


@pytest.mark.parametrize("feed", [pytest.param("memory", marks=pytest.mark.slow), "stream"])
def test_a_killed_training_resumes_to_the_same_losses(
    made: Path, vae: Path, tmp_path: Path, feed: str
) -> None:
    model = flow_of(vae, dropout=0.1)
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
    a, b = (mocap_ray.load_motion_model(tmp_path / name).state_dict() for name in ("whole", "halves"))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_vae_that_changed_is_not_resumed_with(made: Path, vae: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(vae, tmp_path / "vae"))
    chosen = setup(made, tmp_path / "run", model=flow_of(own), training={"max_epochs": 2})
    prepare(chosen)
    with pytest.raises(KeyboardInterrupt):
        run(chosen, callback=Kill(1))
    shutil.rmtree(own)
    train_locally(setup(made, own, training={"max_epochs": 1, "seed": 5}))
    again = setup(made, tmp_path / "run", model=flow_of(own), training={"max_epochs": 2})
    prepare(again, resume=True)
    with pytest.raises(CheckpointError, match="not the VAE that this training began with"):
        run(again)


def test_a_vae_that_does_not_fit_is_refused(made: Path, vae: Path, tmp_path: Path) -> None:
    def check(root: Path, model: dict[str, Any]) -> None:
        setup(root, tmp_path / "run", model=model).task.check()

    with pytest.raises(CheckpointError, match="there is no such file or folder"):
        check(made, flow_of(tmp_path / "absent"))
    for name, options, said in (
        ("faster", {"fps": 30.0}, r"its frame rate is 30 fps, and that of the VAE .* is 20 fps"),
        ("other", {"profile": "flowmimic"}, r"its profile is flowmimic, and that of the VAE .* is humanml3d"),
    ):
        make(tmp_path / name, columns=("features",), clips={("CMU", "train"): 2}, **options)  # type: ignore[arg-type]
        with pytest.raises(DataSetError, match=said):
            check(tmp_path / name, flow_of(vae))
    make(
        tmp_path / "new", columns=("features",), clips={("X", "train"): 2}, domains={"X": "grab"},
    )  # fmt: skip
    with pytest.raises(DataSetError, match=r"does not know its domain 'grab'. It knows aist, amass"):
        check(tmp_path / "new", flow_of(vae))
    judge = tmp_path / "judge"
    train_locally(
        setup(
            made,
            judge,
            model={"kind": "motion_evaluator", "width": 8, "features": 4},
            training={"max_epochs": 1},
        )
    )
    with pytest.raises(UserError, match=r"is a motion_evaluator. Expected a training of motion_vae"):
        check(made, flow_of(judge))


def test_a_damaged_description_says_so(made: Path, vae: Path, tmp_path: Path) -> None:
    train_locally(setup(made, tmp_path / "run", model=flow_of(vae), training={"max_epochs": 1}))
    about = tmp_path / "run" / "export" / "motion_model.json"
    plain = json.loads(about.read_text())
    for change, said in (
        ({"vae": {**plain["vae"], "sha256": "0"}}, r"nothing usable about its VAE \(vae.sha256"),
        ({"vae": None}, r"nothing usable about its VAE \(vae"),
        ({"vae": {**plain["vae"], "data": {}}}, r"nothing usable about the training data"),
        ({"actions": []}, r"vector.tables.action.weight is \(3, 16\), expected no such tensor"),
        ({"model": {**plain["model"], "blocks": 3}}, r"blocks.2.* is missing, expected"),
    ):
        about.write_text(json.dumps({**plain, **change}))
        with pytest.raises(CheckpointError, match=said):
            mocap_ray.load_motion_model(tmp_path / "run" / "export")


def test_the_shipped_configs_load_and_their_search_fits() -> None:
    config = load("motion_flow", TrainConfig, kind="train")
    assert config.model.kind == "motion_flow"
    search = load("motion_flow", SearchConfig, kind="search")
    assert check_search(search).model.kind == "motion_flow"
