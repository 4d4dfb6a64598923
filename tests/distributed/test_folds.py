"""Folds on Ray: a killed and resumed training or search repeats nothing, and its metric is the mean over its folds."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import mocap_ray
from mocap_ray.config import load
from mocap_ray.runs.train import TrainConfig
from mocap_ray.training.lockstep import train_locally
from tests.distributed.test_search import write_search
from tests.distributed.training import command, losses, rows, start, wait_for, write_base

pytestmark = [pytest.mark.ray, pytest.mark.slow]
FOLDS = 3
FOLDERS = (".", *(f"folds/{fold}" for fold in range(FOLDS)))


def _checkpoints(out: Path) -> dict[str, int]:
    """Each checkpoint of the finished trainings below, and when it was written."""
    done = [path.parent for path in out.rglob("summary.json") if path.parent.name != "best"]
    return {str(p): p.stat().st_mtime_ns for folder in done for p in folder.glob("checkpoints/*.pt")}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("workers", "feed"), [(1, "memory"), (2, "memory"), (1, "stream"), (2, "stream")])
def test_a_killed_training_of_all_folds_resumes_to_the_same_losses(
    data_set: Path, tmp_path: Path, workers: int, feed: str
) -> None:
    sections = {
        "data": {"folds": FOLDS, "feed": feed, "batch_size": 64},
        "training": {"max_epochs": 5},
        "ray": {"workers": workers},
    }
    base = write_base(tmp_path / "run.yaml", data_set, **sections)
    out = base.with_suffix("")
    process = start("train", base)
    wait_for(lambda: len(rows(out)) >= 2, process)
    process.kill()
    process.communicate()
    assert len(rows(out)) < 5, "killed too late to show anything"
    text = command("train", base, "--resume")
    assert "resuming after epoch" in text
    assert f"{FOLDS} folds, joint_flow" in text
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["epochs"], summary["workers"]) == (5, workers)
    assert summary["feed"] == ("Ray Data" if feed == "stream" else "memory")
    for epoch in range(5):
        values = [float(rows(out / f"folds/{fold}")[epoch]["val_loss"]) for fold in range(FOLDS)]
        assert float(rows(out)[epoch]["val_loss"]) == pytest.approx(np.mean(values), rel=1e-12)
    whole = write_base(tmp_path / "whole.yaml", data_set, **sections)
    if workers == 1 and feed == "memory":
        train_locally(load(str(whole), TrainConfig, kind="train").setup())
    else:
        command("train", whole)
    for name in FOLDERS:
        assert losses(out / name) == losses(tmp_path / "whole" / name)
    assert not list(out.rglob(".ray-train*"))
    for fold in range(FOLDS):
        assert mocap_ray.load_prior(out / "folds" / str(fold)).sample(2).shape == (2, 55, 3)


@pytest.mark.timeout(900)
def test_a_killed_search_with_folds_under_asha_repeats_nothing(data_set: Path, tmp_path: Path) -> None:
    base = write_base(tmp_path / "base.yaml", data_set, data={"batch_size": 64})
    search = write_search(
        tmp_path / "search.yaml",
        base,
        fixed={"data": {"folds": FOLDS}, "training": {"max_epochs": 6}},
        space={"training.learning_rate": {"grid": [1e-2, 1e-3, 1e-6, 1e-7]}},
        scheduler="asha",
        grace_epochs=2,
        reduction=2,
    )
    out = search.with_suffix("")
    process = start("search", search)
    wait_for(lambda: bool(list(out.glob("trials/*/summary.json"))), process, seconds=400)
    wait_for(lambda: sum(len(rows(p)) for p in out.glob("trials/*")) >= 7, process, seconds=400)
    process.kill()
    process.communicate()
    before = _checkpoints(out)
    assert before
    seen = {p: losses(p) for p in out.glob("trials/*")}
    text = command("search", search, "--resume", seconds=600)
    assert "std of folds" in text
    assert {k: v for k, v in _checkpoints(out).items() if k in before} == before, "finished trials are kept"
    table = list(csv.DictReader((out / "trials.csv").read_text().splitlines()))
    assert {r["state"] for r in table} == {"finished", "stopped"}
    for line in table:
        trial = out / "trials" / line["trial"]
        assert losses(trial)[: len(seen.get(trial, []))] == seen.get(trial, []), "no epoch was trained again"
        means = rows(trial)
        assert [r["epoch"] for r in means] == [str(k + 1) for k in range(len(means))]
        for k, mean in enumerate(means):
            values = [float(rows(trial / f"folds/{fold}")[k]["val_loss"]) for fold in range(FOLDS)]
            assert float(mean["val_loss"]) == pytest.approx(np.mean(values), rel=1e-12)
            assert float(mean["val_loss_std"]) == pytest.approx(np.std(values, ddof=1), rel=1e-9)
        best = means[int(line["at epoch"]) - 1]
        assert float(line["val_loss"]) == float(best["val_loss"]) == min(float(r["val_loss"]) for r in means)
        assert (line["std of folds"], line["worst fold"]) == (best["val_loss_std"], best["val_loss_max"])
        score = json.loads((trial / "trial.json").read_text())["score"]
        assert (score["val_loss"], score["epoch"]) == (float(best["val_loss"]), float(best["epoch"]))
    best = json.loads((out / "best" / "trial.json").read_text())
    assert best["number"] == int(table[0]["trial"])
    held_out = set()
    for name in FOLDERS:
        prior = mocap_ray.load_prior(out / "best" / name)
        assert prior.sample(2).shape == (2, 55, 3)
        about = json.loads((out / "best" / name / "export" / "prior.json").read_text())
        held_out |= set(about["held_out"])
    values = sorted(
        float(
            rows(out / "trials" / table[0]["trial"] / f"folds/{fold}")[int(table[0]["at epoch"]) - 1][
                "val_loss"
            ]
        )
        for fold in range(FOLDS)
    )
    own = load(str(out / "best" / "config.yaml"), TrainConfig, kind="train").data.fold
    folder = out / "trials" / table[0]["trial"] / f"folds/{own}"
    assert float(rows(folder)[int(table[0]["at epoch"]) - 1]["val_loss"]) == values[1], "the median fold"
    assert "std of folds" in (out / "page.html").read_text()
