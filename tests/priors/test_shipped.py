"""The configs that we ship train on real takes as they are (../shared has some)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mocap_ray.config import load
from mocap_ray.demo.standin import write_standin
from mocap_ray.runs.train import TrainConfig
from mocap_ray.training.lockstep import train_locally

SPLIT = {
    "train": [f"CMU/{subject}" for subject in ("01", "05", "07", "09", "10", "11", "12", "90")],
    "val": ["CMU/03", "CMU/08"],
    "test": ["CMU/02", "CMU/88"],
}


@pytest.mark.slow
@pytest.mark.ray
def test_shipped_flows_beat_the_shipped_gaussian_on_subjects_they_have_not_seen(
    shared: Path, tmp_path: Path
) -> None:
    write_standin(tmp_path / "bodies")
    (tmp_path / "lists").mkdir()
    for name, subjects in SPLIT.items():
        (tmp_path / "lists" / f"{name}.txt").write_text("\n".join(subjects) + "\n")
    keys = {
        "source.root": shared / "data" / "amass",
        "source.split": tmp_path / "lists",
        "body.root": tmp_path / "bodies",
        "output.root": tmp_path / "cmu",
    }
    command = [sys.executable, "-m", "mocap_ray.cli", "extract", "amass", "--override"]
    subprocess.run([*command, *(f"{k}={v}" for k, v in keys.items())], check=True, timeout=250)

    losses = {}
    for kind in ("gaussian_prior", "joint_flow", "global_flow"):
        overrides = [
            f"data.root={tmp_path / 'cmu'}",
            f"output.root={tmp_path / kind}",
            "training.max_epochs=1",
        ]
        summary = train_locally(load(kind, TrainConfig, kind="train", overrides=overrides).setup())
        losses[kind] = summary["best_loss"]
        assert summary["active"] == 54
        # CMU's feet rest at exactly 0 in half of the poses; its collars never move.
        assert summary["degenerate"]["left_foot.x"].startswith("one exact value in")
        assert summary["degenerate"]["left_collar.x"] == "constant"
    assert losses["joint_flow"] < losses["gaussian_prior"] - 0.2
    assert losses["global_flow"] < losses["gaussian_prior"] - 0.2
