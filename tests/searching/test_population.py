"""Population based training: values stay in range, clones continue like their donors, the best is never lost."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocap_ray.searching.population import (
    Clone,
    Record,
    Stage,
    lineage,
    mutate,
    read_record,
    refusals,
    values_at,
)
from mocap_ray.searching.results import read_trial
from mocap_ray.searching.space import parse_space
from mocap_ray.storage import place
from mocap_ray.training.checkpoint import read
from mocap_ray.training.exploit import epochs_of, exploit
from mocap_ray.training.lockstep import train_locally
from mocap_ray.training.prepare import prepare
from mocap_ray.training.session import run
from mocap_ray.training.task import TrainingSetup
from tests.dataset.made import make
from tests.training.small import Log
from tests.training.test_session import config

SPACE = parse_space(
    {
        "training.learning_rate": {"log_uniform": [1e-4, 1e-2]},
        "model.dropout": {"uniform": [0, 0.3]},
        "model.noise_deg": {"int": [0, 9]},
        "training.grad_clip": {"choice": [0.5, 1.0, None]},
    }
)


@given(st.integers(0, 2**32 - 1))
def test_values_are_perturbed_by_a_fifth_or_to_a_neighbour_or_resampled_within_their_ranges(
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    old = {key: r.draw(rng) for key, r in SPACE.items()}
    new = mutate(SPACE, old, np.random.default_rng([seed, 1]))
    assert new == mutate(SPACE, old, np.random.default_rng([seed, 1])), "the seed decides"
    assert list(new) == list(old)
    assert 1e-4 <= new["training.learning_rate"] <= 1e-2
    assert 0 <= new["model.dropout"] <= 0.3
    assert isinstance(new["model.dropout"], float)
    assert isinstance(new["model.noise_deg"], int)
    assert 0 <= new["model.noise_deg"] <= 9
    assert new["training.grad_clip"] in (0.5, 1.0, None)


def test_three_of_four_values_are_perturbed_and_not_resampled() -> None:
    space = {"training.learning_rate": SPACE["training.learning_rate"]}
    old = {"training.learning_rate": 1e-3}
    found = [mutate(space, old, np.random.default_rng(k))["training.learning_rate"] for k in range(400)]
    down, up = (sum(v == pytest.approx(x) for v in found) for x in (8e-4, 1.2e-3))
    assert 110 < down < 190
    assert 110 < up < 190
    assert 60 < 400 - down - up < 140


def test_what_a_population_cannot_search_is_refused_with_what_to_do() -> None:
    space = parse_space(
        {
            "model.hidden": {"choice": [8, 16]},
            "training.learning_rate": {"grid": [1e-3, 1e-2]},
            "training.gamma": {"uniform": [0.1, 0.9], "when": {"training.scheduler": "step"}},
            "model.dropout": {"uniform": [0, 0.3]},
        }
    )
    problems = refusals(space, ("training.learning_rate", "training.gamma", "model.dropout"))
    assert len(problems) == 3
    assert "model.hidden must stay as it is; set it under fixed" in problems[0]
    assert "use choice instead of grid" in problems[1]
    assert "remove when" in problems[2]


def test_a_record_round_trips_and_gives_the_values_of_each_epoch(tmp_path: Path) -> None:
    out = place(tmp_path)
    mine = Record(1, {"a": 1}, (Stage(1, 0, {"a": 1}, {}),))
    begun = mine.with_pending(
        Clone("x", 0, 0, 3, {"a": 3}), Stage(1, 0, {"a": 3}, {"row": {"epoch": 2}, "values": {"a": 1}})
    )
    begun.write(out)
    assert read_record(out, 1) == begun
    done = begun.with_clone(Record(0, {"a": 2}, (Stage(0, 0, {"a": 2}, {}),)), 4)
    done.write(out)
    assert read_record(out, 1) == done
    assert done.pending is None
    assert [values_at(done.history, e)["a"] for e in (1, 4, 5)] == [2, 2, 3]
    assert lineage(done.history) == "000, 001 from epoch 4"
    assert done.clones == (Clone("x", 0, 4, 3, {"a": 3}),)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    make(root, clips={("CMU", "train"): 4, ("CMU", "val"): 2})
    return root


def _train(training: TrainingSetup[Any], epochs: int) -> None:
    """Train this many epochs, independent of the schedule."""
    prepare(training, overwrite=True)
    with pytest.raises(KeyboardInterrupt):
        run(training, callback=Log(stop_after=epochs))


def _losses(out: Path) -> list[str]:
    return [row["loss"] for row in csv.DictReader((out / "metrics.csv").read_text().splitlines())]


def _config(made: Path, out: Path, **training: Any) -> TrainingSetup[Any]:
    return config(made, out, training={"max_epochs": 4, "patience": 2, **training})


def test_a_clone_with_the_values_of_its_donor_trains_like_the_donor(made: Path, tmp_path: Path) -> None:
    donor = _config(made, tmp_path / "donor")
    _train(donor, 2)
    clone = _config(made, tmp_path / "clone")
    _train(_config(made, tmp_path / "clone", learning_rate=1e-6), 3)
    epoch, step = exploit(place(tmp_path / "clone"), place(tmp_path / "donor"), clone)
    assert (epoch, step) == (2, _counters(tmp_path / "donor", "last.pt")["step"])
    assert epochs_of(place(tmp_path / "clone")) == 2
    for each in (donor, clone):
        prepare(each, resume=True)
        run(each)
    assert _losses(tmp_path / "clone") == _losses(tmp_path / "donor")
    assert len(_losses(tmp_path / "donor")) == 4


def test_a_clone_trains_with_its_own_values_and_fresh_patience(made: Path, tmp_path: Path) -> None:
    donor = _config(made, tmp_path / "donor")
    _train(donor, 2)
    clone = _config(made, tmp_path / "clone", weight_decay=0.5, learning_rate=1e-5)
    exploit(place(tmp_path / "clone"), place(tmp_path / "donor"), clone)
    state = read(place(tmp_path / "clone" / "checkpoints"), "last.pt")["state"]
    assert state["counters"]["waited"] == 0
    prepare(clone, resume=True)
    run(clone)
    found = read(place(tmp_path / "clone" / "checkpoints"), "last.pt")
    assert [g["weight_decay"] for g in found["state"]["optimiser"]["param_groups"]] == [0.5]
    assert found["about"]["config"]["training"]["weight_decay"] == 0.5
    assert max(g["lr"] for g in found["state"]["optimiser"]["param_groups"]) <= 1e-5


def test_a_clone_inherits_the_best_epoch_unless_its_own_was_better(made: Path, tmp_path: Path) -> None:
    best = {}
    for name, rate in (("one", 1e-3), ("other", 1e-7)):
        _train(_config(made, tmp_path / name, learning_rate=rate), 2)
        best[name] = _counters(tmp_path / name, "best.pt")
    good, poor = sorted(best, key=lambda name: float(best[name]["best_loss"]))
    assert best[good]["best_loss"] < best[poor]["best_loss"]
    exploit(place(tmp_path / good), place(tmp_path / poor), _config(made, tmp_path / good))
    assert _counters(tmp_path / good, "best.pt") == best[good]
    assert _counters(tmp_path / good, "last.pt")["best_loss"] == best[good]["best_loss"]
    exploit(place(tmp_path / "new"), place(tmp_path / poor), _config(made, tmp_path / "new"))
    assert _counters(tmp_path / "new", "best.pt") == best[poor]


def _counters(out: Path, name: str) -> dict[str, float]:
    found: dict[str, float] = read(place(out / "checkpoints"), name)["state"]["counters"]
    return found


def test_a_replaced_training_is_no_longer_finished(made: Path, tmp_path: Path) -> None:
    mine, donor = _config(made, tmp_path / "mine", max_epochs=1), _config(made, tmp_path / "donor")
    train_locally(mine)
    _train(donor, 1)
    exploit(place(tmp_path / "mine"), place(tmp_path / "donor"), _config(made, tmp_path / "mine"))
    assert not read_trial(place(tmp_path / "mine"), 0).finished
    assert not (tmp_path / "mine" / "export" / "prior.json").exists()
