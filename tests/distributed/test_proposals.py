"""What Optuna proposes: every combination of the grids in turn, and after a kill the trials in the folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mocap_ray.distributed.proposals import Proposals
from mocap_ray.runs.search import SearchConfig
from mocap_ray.searching.population import Record
from mocap_ray.searching.results import name
from mocap_ray.storage import place

pytestmark = pytest.mark.ray

SPACE = {
    "training.scheduler": {"grid": ["step", "cosine"]},
    "training.step_size": {"int": [1, 4], "when": {"training.scheduler": "step"}},
    "training.gamma": {"grid": [0.2, 0.4], "when": {"training.scheduler": "step"}},
    "training.learning_rate": {"log_uniform": [1e-4, 1e-2]},
}


def _proposals(root: Path, *, trials: int = 7) -> Proposals:
    config = SearchConfig.model_validate(
        {
            "base": "joint_flow",
            "space": SPACE,
            "trials": trials,
            "searcher": "optuna",
            "output": {"root": str(root)},
        }
    )
    return Proposals(config, {}, root=str(root))


def _suggest(proposals: Proposals, count: int, *, first: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [proposals.suggest(f"id{k}") for k in range(first, first + count)]
    return found


def _write(root: Path, found: list[dict[str, Any]]) -> None:
    """As the trials do."""
    for values in found:
        number = values["number"]
        Record(number, _values(values)).write(place(root / "trials" / name(number)))


def _values(found: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key != "number"}


def test_optuna_walks_the_grids_by_number_and_proposes_the_rest_under_their_conditions(
    tmp_path: Path,
) -> None:
    found = _suggest(_proposals(tmp_path), 6)
    assert [f["number"] for f in found] == list(range(6))
    walked = [(f["training.scheduler"], f.get("training.gamma")) for f in found]
    assert walked == 2 * [("step", 0.2), ("step", 0.4), ("cosine", None)]
    assert all(("training.step_size" in f) == (f["training.scheduler"] == "step") for f in found)
    assert len({f["training.learning_rate"] for f in found}) == 6


def test_trials_missing_in_the_journal_are_proposed_again_with_their_numbers(tmp_path: Path) -> None:
    before = _proposals(tmp_path)
    early = _suggest(before, 2)
    before.on_trial_complete("id0", {"val_loss": 0.5, "training_iteration": 3})
    before.save(str(tmp_path / "journal"))
    late = _suggest(before, 2, first=2)
    _write(tmp_path, early + late)
    # A new searcher without state, as Tune creates it.
    after = _proposals(tmp_path / "elsewhere")
    after.restore(str(tmp_path / "journal"))
    assert [t.value for t in after._ot_study.trials[:1]] == [0.5], "earlier results are kept"
    again = _suggest(after, 3, first=2)
    assert again[:2] == late
    assert again[2]["number"] == 4
    assert again[2]["training.learning_rate"] not in {f["training.learning_rate"] for f in early + late}


def test_a_search_killed_before_its_first_journal_proposes_the_same_again(tmp_path: Path) -> None:
    found = _suggest(_proposals(tmp_path), 3)
    _write(tmp_path, found)
    assert _suggest(_proposals(tmp_path), 3) == found
