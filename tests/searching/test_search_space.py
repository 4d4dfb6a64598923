"""The search space: samples stay in range, depend on the seed, and problems are reported before the first trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocap_ray.config import ConfigError, load
from mocap_ray.runs.search import SearchConfig, check_search, trial_config
from mocap_ray.searching.space import combinations, draw_trials, parse_space

SPACE = {
    "training.learning_rate": {"log_uniform": ["1e-4", 1e-1]},
    "training.grad_clip": {"uniform": [0.5, 2.0]},
    "data.batch_size": {"int": [8, 64]},
    "training.scheduler": {"choice": ["step", "cosine"]},
    "training.step_size": {"int": [1, 9], "when": {"training.scheduler": "step"}},
}


@given(st.integers(0, 2**32 - 1))
def test_samples_stay_in_range_and_conditional_keys_only_occur_with_their_condition(seed: int) -> None:
    space = parse_space(SPACE)
    drawn = draw_trials(space, {}, trials=8, seed=seed)
    for values in drawn:
        assert 1e-4 <= values["training.learning_rate"] <= 1e-1
        assert 0.5 <= values["training.grad_clip"] <= 2.0
        assert 8 <= values["data.batch_size"] <= 64
        assert isinstance(values["data.batch_size"], int)
        assert ("training.step_size" in values) == (values["training.scheduler"] == "step")
    assert draw_trials(space, {}, trials=8, seed=seed) == drawn
    assert draw_trials(space, {}, trials=3, seed=seed) == drawn[:3], "more trials begin with the same ones"


def test_samples_cover_the_whole_range() -> None:
    drawn = draw_trials(parse_space(SPACE), {}, trials=400, seed=0)
    rates = sorted(v["training.learning_rate"] for v in drawn)
    assert rates[0] < 2e-4
    assert rates[-1] > 5e-2
    assert 2e-3 < rates[200] < 5e-3, "even in the logarithm: half of the draws below its middle"
    assert {v["data.batch_size"] for v in drawn} >= {8, 64}


def test_a_grid_is_walked_completely_and_without_duplicates() -> None:
    space = parse_space(
        {
            "a": {"grid": [1, 2]},
            "b": {"grid": ["x", "y"]},
            "c": {"grid": [10, 20, 30], "when": {"b": "x"}},
        }
    )
    drawn = draw_trials(space, {}, trials=None, seed=0)
    assert len(drawn) == 2 * (3 + 1)
    assert drawn == combinations(space, {})
    with pytest.raises(ValueError, match="trials 3 is less than the 8 combinations"):
        draw_trials(space, {}, trials=3, seed=0)


def test_every_problem_of_a_space_is_reported_with_its_key() -> None:
    tree = {
        "a": {"log_unifrom": [1, 2]},
        "b": {"log_uniform": [0, 1]},
        "c": {"uniform": [2, 1]},
        "d": {"int": [1.5, 3]},
        "e": {"choice": [1, 1]},
        "f": {"choice": [1], "when": {"g": 1}},
        "g": {"choice": [1, 2]},
        "h": 3,
    }
    with pytest.raises(ValueError, match="Did you mean 'log_uniform'") as caught:
        parse_space(tree)
    text = str(caught.value)
    for part in ("b: log_uniform takes numbers above 0", "c: uniform takes a finite low below", "d: int takes whole",
                 "e: choice has a value twice", "put g before it", "h: expected a range"):  # fmt: skip
        assert part in text


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.yaml"
    path.write_text(
        "model: {kind: gaussian_prior}\ndata: {root: nowhere}\noutput: {root: out}\n"
        "training: {scheduler: cosine}\nray: {workers: 7}\n"
    )
    return path


def _config(base: Path, **settings: Any) -> SearchConfig:
    return SearchConfig.model_validate(
        {"base": str(base), "space": SPACE, "trials": 4, "output": {"root": "searched"}, **settings}
    )


def test_both_ends_of_each_range_are_validated_with_the_base(base: Path) -> None:
    check_search(_config(base))
    space = {
        "training.learning_rate": {"uniform": [-1.0, 1.0]},
        "training.max_epoch": {"int": [1, 5]},
        "training.scheduler": {"choice": ["step", "stairs"]},
        "output.root": {"choice": ["a"]},
    }
    with pytest.raises(ConfigError) as caught:
        check_search(_config(base, space=space))
    text = str(caught.value)
    assert "space.training.learning_rate: -1.0" in text
    assert "Did you mean 'max_epochs'" in text
    assert "space.training.scheduler: 'stairs'" in text
    assert "space.output.root" in text
    assert "space.training.learning_rate: 1.0" not in text, "the good end is no problem"


def test_a_trial_is_the_base_with_its_values_and_the_workers_of_the_search(base: Path) -> None:
    config = _config(base, fixed={"training": {"max_epochs": 3}}, ray={"workers": 2})
    made = trial_config(config, {"training.learning_rate": 1e-05}, "there")
    assert made.training.learning_rate == 1e-5
    assert made.training.max_epochs == 3
    assert made.ray.workers == 2
    assert made.output.root == "there"


RATE = {"training.learning_rate": {"uniform": [1e-4, 1e-3]}}


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"scheduler": "pbt"}, "data.batch_size must stay as it is; set it under fixed"),
        ({"scheduler": "pbt", "space": RATE, "searcher": "optuna"}, "use searcher random"),
        ({"scheduler": "pbt", "space": RATE, "trials": 1}, "it needs at least 2"),
        ({"trials": None}, "trials: missing"),
        ({"space": {}}, "nothing to search"),
        ({"fixed": {"data": {"rot": "x"}}}, "  fixed.data.rot: unknown key"),
        (
            {"space": {"model.beta": {"uniform": [0, 1]}}},
            "1 problem\n  space.model.beta: 0: model.beta: unknown",
        ),
    ],
)
def test_invalid_searches_are_refused(base: Path, settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        check_search(_config(base, **settings))


def test_a_population_whose_trials_would_never_be_compared_is_refused(base: Path) -> None:
    config = _config(base, space=RATE, scheduler="pbt", fixed={"training": {"max_epochs": 5}})
    with pytest.raises(ConfigError, match="perturb_epochs 5: a training has 5 epochs"):
        check_search(config)


@pytest.mark.parametrize("searcher", ["random", "optuna"])
def test_fewer_trials_than_combinations_of_the_grids_are_refused(base: Path, searcher: str) -> None:
    space = {"data.batch_size": {"grid": [8, 16, 32]}, **RATE}
    with pytest.raises(ConfigError, match="trials 2 is less than the 3 combinations"):
        check_search(_config(base, space=space, trials=2, searcher=searcher))


def test_a_search_config_round_trips_through_yaml(base: Path, tmp_path: Path) -> None:
    import yaml

    config = _config(base)
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    assert load(str(path), SearchConfig, kind="search") == config


CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "search"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_searches_are_valid_for_their_bases(path: Path) -> None:
    config = load(str(path), SearchConfig, kind="search")
    assert check_search(config).model.kind == config.base
    header = path.read_text().split("\n\n")[0]
    for word in ("Purpose", "Needs", "Command", "On Ray", "Size"):
        assert word in header
