"""Folds: whole groups, held out once each; all folds train in lockstep and resume without repeating an epoch."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mocap_ray
from mocap_ray.config import ConfigError, load
from mocap_ray.dataset.poses import PoseRows, read_poses
from mocap_ray.dataset.reader import open
from mocap_ray.runs.search import SearchConfig, check_search
from mocap_ray.runs.train import TrainConfig
from mocap_ray.searching.best import export_best
from mocap_ray.searching.population import Record
from mocap_ray.searching.results import read_trials
from mocap_ray.storage import place
from mocap_ray.training.callbacks import read_metrics
from mocap_ray.training.checkpoint import BEST, CheckpointError, read
from mocap_ray.training.folds import Division, Folded, by_lists, divide, each_fold
from mocap_ray.training.loaders import memory_loaders
from mocap_ray.training.lockstep import run, train_locally
from mocap_ray.training.lockstep import train_locally as train_one
from mocap_ray.training.means import mean_row
from mocap_ray.training.prepare import prepare
from mocap_ray.training.rows import TrainingDataError
from mocap_ray.training.streaming import PlainReader, stream_loaders
from mocap_ray.training.task import TaskWords, TrainingSetup, TrainingTask
from mocap_ray.training.team import Team
from tests.dataset.made import make
from tests.training import test_window_task as windows
from tests.training.small import Log
from tests.training.test_session import config

FOLDS = 3


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three subjects in train and val, and a test split."""
    root = tmp_path_factory.mktemp("made")
    make(root, clips={("CMU", "train"): 4, ("CMU", "val"): 2, ("BML", "test"): 2})
    return root


def folded(made: Path, out: Path, **changes: dict[str, Any]) -> TrainingSetup[Any]:
    """A training of a prior whose epochs take milliseconds."""
    changes["data"] = {"folds": FOLDS, **changes.get("data", {})}
    changes["training"] = {"closed_form": False, "max_epochs": 3, **changes.get("training", {})}
    return config(made, out, kind="gaussian_prior", **changes)


# Which group is in which fold.


def _names(count: int, seed: int) -> list[str]:
    return [f"CMU/{number:05d}" for number in random.Random(seed).sample(range(100_000), count)]


@pytest.mark.parametrize(("count", "folds"), [(2, 2), (5, 5), (6, 5), (12, 5), (101, 10)])
def test_folds_are_balanced_and_none_is_empty(count: int, folds: int) -> None:
    for seed in range(20):
        names = _names(count, seed)
        homes = divide(names, folds)
        assert set(homes) == set(names)
        sizes = np.bincount(list(homes.values()), minlength=folds)
        assert len(sizes) == folds
        assert sizes.min() >= 1
        assert sizes.max() - sizes.min() <= 1


def test_the_fold_of_a_group_depends_neither_on_the_order_nor_on_other_runs() -> None:
    names = _names(12, 0)
    homes = divide(names, 5)
    for seed in range(10):
        shuffled = names.copy()
        random.Random(seed).shuffle(shuffled)
        assert divide(shuffled, 5) == homes
    # Written down: a change would train other folds under the name of the same config.
    assert divide([f"CMU/{k:02d}" for k in range(6)], 3) == {
        "CMU/00": 2, "CMU/01": 0, "CMU/02": 2, "CMU/03": 0, "CMU/04": 1, "CMU/05": 1
    }  # fmt: skip


@pytest.mark.parametrize("count", [12, 60, 344])
def test_a_new_group_moves_few_others(count: int) -> None:
    moved = []
    for seed in range(40):
        names = _names(count + 1, seed)
        before, after = divide(names[:-1], 5), divide(names, 5)
        moved.append(sum(after[name] != fold for name, fold in before.items()))
    assert np.mean(moved) < 3
    assert max(moved) <= 8


def test_lists_name_the_groups_of_each_fold() -> None:
    words = TaskWords(row="pose", group="subject")
    assert by_lists(["a", "b", "c"], [["a"], ["c"]], words=words) == {"a": 0, "c": 1}
    for lists, message in (
        ([["a"], ["a", "b"]], "the subject a is in lists 0 and 1"),
        ([["a"], []], "list 1 is empty"),
        ([["a"], ["d", "e"]], "no poses of the subject d and 1 other. Expected names such as a, b and c"),
    ):
        with pytest.raises(TrainingDataError, match=message):
            by_lists(["a", "b", "c"], lists, words=words)


# The rows of a fold.


def _subjects(data_set: Path) -> dict[str, set[str]]:
    """Subject -> its clips with poses, in train and val."""
    found: dict[str, set[str]] = {}
    for clip in open(data_set).clips(columns=["poses"]):
        if clip.split != "test" and clip.frames.get("poses") is not None:
            found.setdefault(clip.subject, set()).add(clip.clip_id)
    return found


def test_each_subject_is_held_out_once_and_the_test_split_never_takes_part(
    made: Path, tmp_path: Path
) -> None:
    subjects, held_out = _subjects(made), []
    everything = sum(len(read_poses(made, split=split)) for split in ("train", "val"))
    for fold in each_fold(folded(made, tmp_path)):
        clips, counts = {}, {}
        for role in ("train", "val"):
            rows = fold.task.rows(role)
            assert isinstance(rows, PoseRows)
            held = rows.load()
            clips[role] = set(held.names(np.arange(len(held))))
            counts[role] = len(held)
            assert sum(rows.counts.values()) >= len(held)
        assert sum(counts.values()) == everything
        assert not clips["train"] & clips["val"]
        for subject, own in subjects.items():
            assert own <= clips["val"] or own <= clips["train"], f"{subject} is whole"
        held_out += sorted(clips["val"])
        facts = fold.task.check()
        assert facts.rows >= counts["train"]
        assert facts.val_rows >= counts["val"]
    assert held_out
    assert sorted(held_out) == sorted(clip for own in subjects.values() for clip in own)


def test_a_split_may_take_part_and_a_sub_dataset_may_be_chosen(made: Path, tmp_path: Path) -> None:
    def groups(**data: Any) -> list[str]:
        setup = folded(made, tmp_path, data=data)
        return sorted(Division(setup.task, setup.data).rows)

    assert groups() == ["CMU/00", "CMU/01", "CMU/02"]
    assert groups(fold_splits=["train", "val", "test"]) == ["BML/00", "BML/01", "CMU/00", "CMU/01", "CMU/02"]
    assert groups(fold_splits=["train", "val", "test"], dataset="BML") == ["BML/00", "BML/01"]
    with pytest.raises(ValueError, match="no split 'dev'"):
        groups(fold_splits=["dev"])


@pytest.mark.parametrize("world", [1, 2])
def test_a_stream_of_a_fold_gives_the_rows_of_memory(made: Path, tmp_path: Path, world: int) -> None:
    for setup in (
        folded(made, tmp_path, data={"fold": 1}),
        windows.setup(tmp_path / "w.yaml", made, data={"folds": FOLDS, "fold": 1}),
    ):
        found: dict[str, list[torch.Tensor]] = {"memory": [], "stream": []}
        validated: dict[str, list[torch.Tensor]] = {"memory": [], "stream": []}
        teams = [Team(rank=rank, world=world) for rank in range(world)]
        for team in teams:
            loaders = memory_loaders(setup, team)
            found["memory"] += [batch.data for batch in loaders.train(0)]
            assert loaders.val is not None
            validated["memory"] += list(loaders.val())
        for team in teams:
            # One process plays both: each counts all shards.
            alone = Team(rank=team.rank, world=world, gather=lambda own: [own])
            if world == 1:
                loaders = stream_loaders(setup, alone, PlainReader())
                found["stream"] += [batch.data for batch in loaders.train(0)]
                assert loaders.val is not None
                validated["stream"] += list(loaders.val())
                loaders.close()
        for parts in (found, validated):
            memory = torch.cat(parts["memory"]).flatten(1).numpy()
            assert len(memory)
            if world == 1:
                stream = torch.cat(parts["stream"]).flatten(1).numpy()
                assert np.array_equal(np.sort(stream, axis=0), np.sort(memory, axis=0))


def test_fewer_subjects_than_folds_are_refused_before_anything_is_written(made: Path, tmp_path: Path) -> None:
    setup = folded(made, tmp_path / "out", data={"folds": 5})
    with pytest.raises(
        TrainingDataError,
        match=r"data.folds 5: .* has poses of 3 subjects .* each fold needs one. Set data.folds to 3 or less",
    ):
        prepare(setup)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"folds": 1}, "expected a number of folds from 2 on, or two or more lists such as"),
        ({"folds": True}, "expected a number of folds"),
        ({"folds": [["a"]]}, "expected a number of folds"),
        ({"folds": ["a", "b"]}, "expected a number of folds"),
        ({"fold": 0}, "fold needs folds"),
        ({"fold_splits": ["train"]}, "fold_splits needs folds"),
        ({"folds": 3, "fold": 3}, "fold 3: there are 3 folds"),
    ],
)
def test_folds_that_make_no_sense_are_refused(made: Path, tmp_path: Path, data: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(made, tmp_path, data=data)


# Training.


def _figures(out: Path) -> list[tuple[float, float, float]]:
    return [(row["epoch"], row["loss"], row["val_loss"]) for row in read_metrics(place(out))]


def test_every_fold_is_a_training_and_the_summary_has_their_spread(made: Path, tmp_path: Path) -> None:
    log = Log()
    summary = train_locally(folded(made, tmp_path), log)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    each = [read_metrics(place(tmp_path / "folds" / str(k))) for k in range(FOLDS)]
    means = read_metrics(place(tmp_path))
    assert [row["epoch"] for row in means] == [1, 2, 3]
    for epoch, row in enumerate(means):
        losses = [rows[epoch]["val_loss"] for rows in each]
        assert row["val_loss"] == pytest.approx(np.mean(losses), rel=1e-12)
        assert row["val_loss_std"] == pytest.approx(np.std(losses, ddof=1), rel=1e-9)
        assert (row["val_loss_min"], row["val_loss_max"]) == (min(losses), max(losses))
        assert log.reports[epoch].val["loss"] == row["val_loss"]
    best = min(means, key=lambda row: row["val_loss"])
    assert summary["best_epoch"] == best["epoch"]
    assert (summary["best_loss"], summary["best_loss_std"]) == (best["val_loss"], best["val_loss_std"])
    for number, own in enumerate(summary["each"]):
        folder = tmp_path / "folds" / str(number)
        assert json.loads((folder / "summary.json").read_text()) == own
        assert own["fold"] == number
        assert own["best_loss"] == each[number][int(best["epoch"]) - 1]["val_loss"]
        saved = read(place(folder / "checkpoints"), BEST)
        assert saved["state"]["counters"]["epoch"] == best["epoch"], "of the best mean"
        prior = mocap_ray.load_prior(folder)
        rows = PoseRows(str(made), ("train", "val"), subjects=frozenset(own["held_out"])).load()
        with torch.no_grad():
            score = -prior.log_prob(torch.from_numpy(rows.sample())).mean() / prior.coordinates.active
        assert float(score) == pytest.approx(own["best_loss"], rel=1e-5), "the score on the held-out people"
        again = load(str(folder / "config.yaml"), TrainConfig, kind="train")
        assert again.data.fold == number


def test_one_fold_alone_trains_like_that_fold_among_all(made: Path, tmp_path: Path) -> None:
    train_locally(folded(made, tmp_path / "all"))
    train_one(folded(made, tmp_path / "one", data={"fold": 1}))
    assert _figures(tmp_path / "one") == _figures(tmp_path / "all" / "folds" / "1")


def _kill_after(setups: TrainingSetup[Any], saves: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run until some checkpoints were written."""
    from mocap_ray.training import lockstep

    count = 0
    real = lockstep._LastOnly.save

    def save(self: Any, state: Any, *, best: bool) -> None:
        nonlocal count
        real(self, state, best=best)
        count += 1
        if count == saves:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(lockstep._LastOnly, "save", save)
        with pytest.raises(KeyboardInterrupt):
            run(setups, reader=PlainReader)


@pytest.mark.parametrize(
    ("feed", "saves"), [("memory", 1), ("memory", 5), ("memory", 6), ("memory", 9), ("stream", 5)]
)
def test_a_kill_between_two_folds_changes_nothing(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, feed: str, saves: int
) -> None:
    whole, halves = (folded(made, tmp_path / name, data={"feed": feed}) for name in ("whole", "halves"))
    prepare(whole)
    expected = run(whole, reader=PlainReader)
    prepare(halves)
    _kill_after(halves, saves, monkeypatch)
    prepare(halves, resume=True)
    log = Log()
    summary = run(halves, reader=PlainReader, callback=log)
    assert [report.epoch for report in log.reports] == list(range((saves // FOLDS) + 1, 4))
    for name in (".", *(f"folds/{k}" for k in range(FOLDS))):
        assert _figures(tmp_path / "halves" / name) == _figures(tmp_path / "whole" / name)
    for key in ("best_epoch", "best_loss", "best_loss_std", "best_loss_max", "epochs", "reason"):
        assert summary[key] == expected[key]
    for k in range(FOLDS):
        one, two = (
            read(place(tmp_path / n / "folds" / str(k) / "checkpoints"), BEST) for n in ("whole", "halves")
        )
        assert one["state"]["counters"]["epoch"] == two["state"]["counters"]["epoch"]
        assert all(torch.equal(one["state"]["model"][n], t) for n, t in two["state"]["model"].items())


def test_a_finished_training_of_all_folds_repeats_nothing(made: Path, tmp_path: Path) -> None:
    setup = folded(made, tmp_path)
    first = train_locally(setup)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*.pt")}
    log = Log()
    again = train_locally(setup, log, resume=True)
    assert log.reports == []
    assert {p: p.read_bytes() for p in before} == before
    assert (again["best_loss"], again["epochs"]) == (first["best_loss"], first["epochs"])


def test_patience_is_that_of_the_mean_and_equal_for_all_folds(made: Path, tmp_path: Path) -> None:
    settings = {"max_epochs": 9, "patience": 2, "min_delta": 0.5, "learning_rate": 1e-6}
    summary = train_locally(folded(made, tmp_path, training=settings))
    assert (summary["reason"], summary["best_epoch"], summary["epochs"]) == ("patience", 1, 3)
    assert {own["epochs"] for own in summary["each"]} == {3}
    assert len(read_metrics(place(tmp_path))) == 3


def test_folds_that_are_solved_have_one_epoch(made: Path, tmp_path: Path) -> None:
    log = Log()
    train_locally(folded(made, tmp_path, training={"closed_form": "auto", "max_epochs": 9}), log)
    assert [(report.epoch, report.epochs, report.eta_s) for report in log.reports] == [(1, 1, 0)]


def test_a_folder_with_folds_is_not_mixed_with_another_training(made: Path, tmp_path: Path) -> None:
    setup = folded(made, tmp_path)
    train_locally(setup)
    with pytest.raises(ValueError, match="already contains a training"):
        prepare(setup)
    for changes, message in (
        ({"folds": None}, r"data.folds: was 3, is now None"),
        ({"folds": 2}, r"data.folds: was 3, is now 2"),
        ({"fold": 1}, r"folds/0: cannot be resumed.*\n.*data.fold: was 0, is now 1"),
    ):
        with pytest.raises(CheckpointError, match=message):
            prepare(folded(made, tmp_path, data=changes), resume=True)
    with pytest.raises(CheckpointError, match=r"trainings of 3 folds.*such as .*folds/0"):
        mocap_ray.load_prior(tmp_path)
    prepare(config(made, tmp_path), overwrite=True)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["config.yaml"]


def test_a_second_task_has_folds_too(made: Path, tmp_path: Path) -> None:
    setup = windows.setup(tmp_path / "w.yaml", made, data={"folds": FOLDS})
    summary = train_locally(setup)
    assert [own["held_out"] for own in summary["each"]] == [
        Division(setup.task, setup.data).held_out(fold) for fold in range(FOLDS)
    ]
    assert (tmp_path / "w" / "folds" / "2" / "export" / "autoencoder.json").is_file()
    with pytest.raises(TrainingDataError, match="has windows of 3 dancers in the splits that are divided"):
        prepare(windows.setup(tmp_path / "x.yaml", made, data={"folds": 4}))


def test_an_error_in_a_fold_names_it(made: Path, tmp_path: Path) -> None:
    settings = {"learning_rate": 1e30, "grad_clip": None}
    setup = config(made, tmp_path, data={"folds": FOLDS}, training=settings)
    with pytest.raises(ValueError, match=r"(?s)Fold 0: .*its gradient norm is"):
        train_locally(setup)


def test_folds_that_leave_out_other_axes_say_so(tmp_path: Path) -> None:
    def still(number: int, frames: int) -> np.ndarray:
        """Subject 0 keeps the jaw still, so it varies freely only where that one is held out."""
        poses = np.random.default_rng(number).normal(size=(frames, 55, 3)).astype(np.float32) * 0.1
        poses[:, 22] *= number % 3 != 0
        return poses

    root = tmp_path / "set"
    make(root, clips={("CMU", "train"): 6}, poses=still)
    summary = train_locally(folded(root, tmp_path / "out", training={"max_epochs": 1}))
    active = {own["active"] for own in summary["each"]}
    assert len(active) == 2
    assert f"The folds have {min(active)} to {max(active)} active dimensions" in summary["caveat"]
    assert "jaw" in summary["caveat"]


def test_the_mean_of_a_diverged_fold_is_not_finite_and_never_the_best() -> None:
    row = mean_row([{"epoch": 2, "val_loss": 1.0}, {"epoch": 2, "val_loss": float("nan")}])
    assert np.isnan(row["val_loss"])
    assert np.isnan(row["val_loss_std"])


def test_the_best_of_a_search_is_the_median_fold_beside_all_of_them(made: Path, tmp_path: Path) -> None:
    source = tmp_path / "trials" / "000"
    summary = train_locally(folded(made, source))
    Record(0, {"training.learning_rate": 1e-3}).write(place(source))
    trial = read_trials(place(tmp_path), 1, {})[0]
    assert trial.finished
    assert trial.best("val_loss", "min") == (summary["best_loss"], summary["best_epoch"])
    median = export_best(place(tmp_path), trial, metric="val_loss", description="prior.json")
    values = [own["best_loss"] for own in summary["each"]]
    assert median is not None
    assert values[median] == sorted(values)[1]
    for fold in range(FOLDS):
        mocap_ray.load_prior(tmp_path / "best" / "folds" / str(fold))
    own = load(str(tmp_path / "best" / "config.yaml"), TrainConfig, kind="train").data.fold
    assert own == median
    assert mocap_ray.load_prior(tmp_path / "best").coordinates.active == summary["each"][median]["active"]


@pytest.mark.parametrize(
    ("space", "scheduler", "message"),
    [
        ({"training.learning_rate": {"uniform": [0.1, 0.2]}}, "pbt", "a trial with folds has several"),
        ({"data.folds": {"choice": [2, 3]}}, "asha", r"space\.data\.folds: trials with different folds"),
    ],
)
def test_searches_that_folds_do_not_allow_are_refused(
    made: Path, tmp_path: Path, space: Any, scheduler: str, message: str
) -> None:
    base = windows.write_config(tmp_path / "base.yaml", made, data={"folds": FOLDS})
    more = {"trials": 2, "perturb_epochs": 1, "output": {"root": str(tmp_path / "out")}}
    plain = {"base": str(base), "space": space, "scheduler": scheduler, **more}
    with pytest.raises(ConfigError, match=message):
        check_search(SearchConfig.model_validate(plain))


def test_a_folded_task_passes_on_every_question_to_its_task() -> None:
    asked = {name for name in vars(TrainingTask) if not name.startswith("_")}
    assert asked - vars(Folded).keys() <= {"words"}, (
        "a default of the base class would hide the task's own answer"
    )
