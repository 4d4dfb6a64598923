"""What a search says before Ray runs, and views of trainings and searches as their lines stand in a log."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, cast

import yaml

from mocap_ray.cli.search_view import SearchView, print_search
from mocap_ray.cli.training_view import TrainView, print_training
from mocap_ray.distributed.cluster import Cluster
from mocap_ray.distributed.resources import Share
from mocap_ray.distributed.search import SearchResult
from mocap_ray.priors.task import WORDS, PoseTask
from mocap_ray.runs.search import SearchConfig
from mocap_ray.searching.results import Trial
from mocap_ray.training.callbacks import EpochReport, TrainStart
from mocap_ray.training.divergence import advice, divergence
from mocap_ray.training.options import TrainingOptions
from tests.wording.scenes import House, printed, scene


def _values(house: House, **settings: Any) -> dict[str, Any]:
    base = house.written("base.yaml", yaml.safe_dump(house.training_values(house.root / "unused")))
    return {
        "base": str(base),
        "space": {"training.learning_rate": {"grid": [0.001, 0.01]}},
        "output": {"root": str(house.root / "search")},
        **settings,
    }


def _search(house: House, *words: str, **settings: Any) -> str:
    """Type `mocap-ray search`; what it refuses ends it before Ray starts."""
    path = house.written("search.yaml", yaml.safe_dump(_values(house, **settings)))
    return house.typed("search", path, *words)


@scene
def search_with_problems_in_its_space(house: House) -> str:
    space = {
        "training.learning_rate": {"log_uniform": [0, 1]},
        "training.seed": {"int": [0.5, 2]},
        "training.gamma": {"choice": []},
        "training.patience": 3,
    }
    return _search(house, space=space, trials=2)


@scene
def search_over_values_that_the_base_does_not_take(house: House) -> str:
    space = {"training.learning_rate": {"uniform": [-1, 1]}, "model.hiden": {"choice": [1]}}
    return _search(house, space=space, trials=2)


@scene
def search_with_one_problem(house: House) -> str:
    return _search(house, space={"training.schedule": {"grid": ["step"]}})


@scene
def search_over_nothing(house: House) -> str:
    return _search(house, space={})


@scene
def search_over_where_trials_write(house: House) -> str:
    return _search(house, space={"output.root": {"grid": ["a", "b"]}})


@scene
def search_without_an_end(house: House) -> str:
    return _search(house, space={"training.learning_rate": {"uniform": [0.1, 0.2]}})


@scene
def search_with_fewer_trials_than_its_grids(house: House) -> str:
    return _search(house, trials=1)


@scene
def search_with_a_fault_in_what_is_fixed(house: House) -> str:
    return _search(house, fixed={"training": {"max_epochs": 0}})


@scene
def search_of_a_population_that_cannot_be(house: House) -> str:
    return _search(house, scheduler="pbt", searcher="optuna", trials=1)


@scene
def search_of_a_base_that_is_not_there(house: House) -> str:
    return _search(house, base="joint_flows")


@scene
def search_by_a_metric_that_is_never_measured(house: House) -> str:
    return _search(house, fixed={"data": {"val": "validation"}})


@scene
def search_where_there_is_one_already(house: House) -> str:
    house.written("search/search.yaml", yaml.safe_dump(_values(house)))
    return _search(house)


@scene
def search_resumed_with_other_settings(house: House) -> str:
    there = {"root": str(house.root / "another_search")}
    theirs = SearchConfig.model_validate(_values(house, output=there)).model_dump(mode="json")
    house.written("another_search/search.yaml", yaml.safe_dump(theirs))
    return _search(house, "--resume", output=there, metric="loss", seed=4)


@scene
def search_to_resume_that_is_not_there(house: House) -> str:
    return _search(house, "--resume", output={"root": str(house.root / "no_search")})


@scene
def search_into_a_folder_in_use(house: House) -> str:
    house.written("notes/notes.txt", "precious")
    return _search(house, output={"root": str(house.root / "notes")})


def _report(epoch: int) -> EpochReport:
    return EpochReport(
        epoch, 2, 31 * epoch, {"loss": 1.25}, {"loss": 1.5}, 1.5, True, 1.5, epoch, 1e-3, 1.0, 2.0, 1234.5, 0.1,
        60.0, 61.0,
    )  # fmt: skip


@scene
def training_in_a_log(house: House) -> str:
    def show(console: Any) -> None:
        with TrainView(console, WORDS) as view:
            view.on_cluster(Cluster(workers=1, nodes=1, own=False, whole=False), Share(1, 1.0, 0.0))
            view.on_start(TrainStart(epoch=1, step=31, epochs=2, parameters=1, device="cpu", world=1))
            view.on_note(
                "There are no poses to validate on in the split 'val', so the training loss decides which epoch is the "
                "best."
            )
            view.on_epoch_saved(_report(2))

    return printed(show)


@scene
def training_that_ended(house: House) -> str:
    summary = {
        "kind": "joint_flow", "parameters": 1234567, "active": 63, "degenerate": {}, "bound": False, "rows": 13500,
        "val_rows": 1, "feed": "memory", "manifest_hash": "0" * 64, "workers": 1, "device": "cpu",
        "reason": "patience", "epochs": 24, "step": 5064, "best_epoch": 14, "seconds": 187.2, "diverged": None,
        "best_loss": -0.87654321, "best_bits": -1.2645844, "train_loss": -1.20123, "samples_per_s": 12345.67,
        "waiting": 0.0153623, "root": "runs/joint_flow",
    }  # fmt: skip
    return printed(lambda console: print_training(console, summary, "runs/joint_flow", WORDS))


@scene
def training_that_diverged(house: House) -> str:
    losses = ((1, 1.62, 100.3), (2, 0.41, 10.1), (3, 0.12, 24.2), (4, -0.05, 23.4))
    found = divergence(losses)
    assert found is not None
    summary = {"kind": "global_flow", "best_loss": 10.1, "diverged": asdict(found)}

    def show(console: Any) -> None:
        print_training(console, summary, "runs/flow", WORDS)
        for clip in (1.0, None):
            options = TrainingOptions(learning_rate=3e-4, grad_clip=clip)
            with TrainView(console, WORDS) as view:
                view.on_note(advice(found, options, WORDS, validated=clip is not None))

    return printed(show)


@scene
def search_in_a_log(house: House) -> str:
    config = SearchConfig.model_validate(_values(house))

    def show(console: Any) -> None:
        with SearchView(console, config) as view:
            view.on_cluster(
                Cluster(workers=2, nodes=1, own=False, whole=False),
                Share(1, 1.0, 0.0),
                concurrency=2,
                trials=2,
            )
            for number, rate in enumerate((0.001, 0.01)):
                view.on_trial(number, "started", {"training.learning_rate": rate})
            view.on_trial(0, "epoch", {"epoch": 1, "val_loss": 0.5})
            view.on_trial(1, "failed", "Epoch 1, step 3: the loss is nan. " + "It goes on. " * 40)
            view.on_trial(0, "stopped", {})

    return printed(show)


@scene
def search_with_folds_under_pbt(house: House) -> str:
    fixed = {"data": {"folds": 3}}
    space = {"training.learning_rate": {"uniform": [0.1, 0.2]}}
    return _search(house, space=space, trials=2, scheduler="pbt", perturb_epochs=1, fixed=fixed)


@scene
def search_over_folds(house: House) -> str:
    return _search(house, space={"data.folds": {"grid": [2, 3]}})


@scene
def training_of_all_folds_that_ended(house: House) -> str:
    each = [
        {"fold": k, "held_out": [f"CMU/{k:02d}", f"CMU/{k + 2:02d}"][: k + 1], "rows": 9000, "val_rows": 1200,
         "best_loss": -0.9 + k / 10}
        for k in range(2)
    ]  # fmt: skip
    summary = {
        "kind": "joint_flow", "folds": 2, "reason": "patience", "epochs": 24, "best_epoch": 14, "seconds": 187.2,
        "best_loss": -0.85, "best_loss_std": 0.0707, "best_loss_min": -0.9, "best_loss_max": -0.8, "each": each,
        "caveat": PoseTask.caveat(
            cast(PoseTask, None),
            [{"active": 63, "degenerate": {}}, {"active": 62, "degenerate": {"jaw.x": "constant"}}],
        ),
    }  # fmt: skip
    return printed(lambda console: print_training(console, summary, "runs/folds", WORDS))


@scene
def search_with_folds_that_ended(house: House) -> str:
    config = SearchConfig.model_validate(_values(house))
    row = {"epoch": 1.0, "val_loss": 0.5, "val_loss_std": 0.1, "val_loss_min": 0.4, "val_loss_max": 0.61}
    trial = Trial(0, {"training.learning_rate": 0.001}, [row], started=True, finished=True)
    outcome = SearchResult("searches/small", [trial], trial, run_s=1.0, words=WORDS, best_fold=2)

    def show(console: Any) -> None:
        with SearchView(console, config) as view:
            cluster = Cluster(workers=1, nodes=1, own=False, whole=False)
            view.on_cluster(cluster, Share(1, 1.0, 0.0), concurrency=1, trials=1)
            view.on_trial(0, "started", trial.values)
            view.on_trial(0, "epoch", row)
            view.on_trial(0, "finished", {})
        print_search(console, outcome, config)

    return printed(show)


@scene
def search_that_ended(house: House) -> str:
    config = SearchConfig.model_validate(_values(house))
    rows = [{"epoch": 1.0, "val_loss": 0.5}]
    trials = [
        Trial(0, {"training.learning_rate": 0.001}, rows, started=True, finished=True),
        Trial(1, {"training.learning_rate": 0.01}, [], started=True, finished=False, error="the loss is nan"),
    ]
    outcome = SearchResult("searches/small", trials, trials[0], run_s=61.0, words=WORDS)
    return printed(lambda console: print_search(console, outcome, config, most=1))


@scene
def search_of_one_trial_that_ended(house: House) -> str:
    config = SearchConfig.model_validate(_values(house))
    trial = Trial(
        0, {"training.learning_rate": 0.001}, [{"epoch": 1.0, "val_loss": 0.5}], started=True, finished=True
    )
    outcome = SearchResult("searches/small", [trial], trial, run_s=1.0, words=WORDS)
    return printed(lambda console: print_search(console, outcome, config))
