"""Trainings of motion models by the real command on workers of Ray: killed, resumed, by two workers, and searched."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import mocap_ray
from tests.distributed.test_window_task import killed_and_resumed
from tests.distributed.training import command, losses, rows
from tests.generation.made import TINY, two_domains, values

pytestmark = [pytest.mark.ray, pytest.mark.slow]

REFERENCE = {"kind": "motion_vae", **TINY, "variant": "reference", "positions": 32}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_domains(tmp_path_factory.mktemp("made") / "set")


def _write(path: Path, data_set: Path, **sections: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(values(data_set, path.with_suffix(""), **sections)))
    return path


@pytest.mark.parametrize("feed", ["memory", "stream"])
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("model", [{"kind": "motion_vae", **TINY}, REFERENCE], ids=["default", "reference"])
def test_a_killed_training_gives_the_losses_of_an_undisturbed_one(
    made: Path, tmp_path: Path, feed: str, workers: int, model: dict[str, Any]
) -> None:
    sections: dict[str, dict[str, Any]] = {
        "model": model,
        "data": {"feed": feed, "batch_size": 4},
        "training": {"max_epochs": 10},
        "ray": {"workers": workers},
    }
    whole = _write(tmp_path / "whole.yaml", made, **sections)
    assert "windows/s" in command("train", whole)
    out = killed_and_resumed(_write(tmp_path / "killed.yaml", made, **sections), after=2)
    assert losses(out) == losses(tmp_path / "whole")
    assert mocap_ray.load_motion_model(out).facts.labels.domains == ("aist", "amass")


def test_two_workers_train_like_one(made: Path, tmp_path: Path) -> None:
    # Without noise, which differs between the workers, as far as there is a switch for it.
    found = []
    for workers in (1, 2):
        base = _write(
            tmp_path / f"{workers}.yaml",
            made,
            model={"kind": "motion_vae", **TINY, "style_dropout": 0.0},
            training={"max_epochs": 6},
            ray={"workers": workers},
        )
        command("train", base)
        found.append([float(r["val_loss"]) for r in rows(tmp_path / str(workers))])
    np.testing.assert_allclose(found[1], found[0], rtol=0.1)


def test_a_search_and_an_evaluation_of_its_best(made: Path, tmp_path: Path) -> None:
    base = _write(tmp_path / "base.yaml", made)
    search = tmp_path / "search.yaml"
    space = {"training.learning_rate": {"choice": [1e-4, 1e-2]}, "model.latent": {"choice": [2, 4]}}
    config = {
        "base": str(base),
        "fixed": {"training": {"max_epochs": 3}},
        "space": space,
        "metric": "val_continuous",
        "trials": 2,
        "scheduler": "none",
        "output": {"root": str(tmp_path / "search")},
        "ray": {"workers": 1, "gpus_per_worker": 0},
    }
    search.write_text(yaml.safe_dump(config))
    assert "the best motion model" in command("search", search)
    table = list(csv.DictReader((tmp_path / "search" / "trials.csv").read_text().splitlines()))
    assert [r["state"] for r in table] == ["finished", "finished"]
    best = tmp_path / "search" / "best"
    text = command("evaluate", best, "--split", "val")
    assert "MPJPE, mm" in text
    assert json.loads((best / "evaluation.json").read_text())["domains"]["all"]["mpjpe"] > 0
