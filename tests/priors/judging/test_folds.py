"""Judging priors of folds: on the subjects that they held out, and with a note where they were trained on others."""

from __future__ import annotations

from pathlib import Path

import pytest

from mocap_ray.config import load
from mocap_ray.dataset.reader import open
from mocap_ray.priors.judging.evaluate import evaluate
from mocap_ray.priors.judging.judgement import JudgeOptions
from mocap_ray.runs.train import TrainConfig
from mocap_ray.training.lockstep import train_locally
from tests.dataset.made import make

QUICK = JudgeOptions(poses=400, train=400, samples=100, completed=8, steps=30, importance=4)


def test_a_prior_of_a_fold_is_judged_on_the_subjects_that_it_held_out(tmp_path: Path) -> None:
    root = tmp_path / "set"
    make(root, clips={("CMU", "train"): 4, ("CMU", "val"): 2, ("CMU", "test"): 1})
    plain = load("gaussian_prior", TrainConfig, kind="train").plain()
    plain["data"] |= {"root": str(root), "folds": 3}
    plain["training"] |= {"max_epochs": 1}
    plain["output"] |= {"root": str(tmp_path / "out"), "tensorboard": False}
    first, second, _ = train_locally(TrainConfig.model_validate(plain).setup())["each"]
    report = evaluate([second["root"]], options=QUICK)
    own = [
        clip
        for clip in open(root).clips(columns=["poses"])
        if clip.split != "test" and clip.subject in second["held_out"] and clip.poses is not None
    ]
    assert report.split == "fold 1 of train, val"
    assert (report.clips, report.poses) == (len(own), second["val_rows"])
    assert report.priors[0].judgement.likelihood.nll == pytest.approx(second["best_loss"], rel=1e-4)
    assert any(n.startswith("Fold 1 of train, val helped to choose the best epoch") for n in report.notes)
    assert not any("Trained on subjects" in note for note in report.notes)
    # The second prior was trained on what the first one held out, and the split val on neither.
    for paths, split, names in (
        ([second["root"], first["root"]], None, "fold 1 of train, val: 0"),
        ([second["root"]], "val", "val: 1"),
    ):
        notes = evaluate(paths, split=split, options=QUICK).notes
        assert notes[0].startswith(f"Trained on subjects of {names}.")
    assert not any(
        "Trained on" in note for note in evaluate([second["root"]], split="test", options=QUICK).notes
    )
