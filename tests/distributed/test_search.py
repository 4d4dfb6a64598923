"""Searches on Ray: killed ones resume, failing trials are reported, the best is exported."""

from __future__ import annotations

import csv
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml

from mocap_ray.searching.space import draw_trials, parse_space
from tests.distributed.training import command, rows, start, wait_for, write_base

pytestmark = pytest.mark.ray


def write_search(path: Path, base: Path, **settings: Any) -> Path:
    config = {
        "base": str(base),
        "fixed": {"training": {"max_epochs": 3}},
        "output": {"root": str(path.with_suffix(""))},
        "ray": {"workers": 1, "gpus_per_worker": 0},
        **settings,
    }
    path.write_text(yaml.safe_dump(config))
    return path


def _finished(out: Path) -> dict[str, int]:
    """Trials with a summary, and when it was written."""
    return {p.parent.name: p.stat().st_mtime_ns for p in out.glob("trials/*/summary.json")}


def _table(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "trials.csv").read_text().splitlines()))


@pytest.mark.timeout(600)
def test_a_killed_search_resumes_without_repeating_trials_and_survives_a_failing_trial(
    data_set: Path, tmp_path: Path
) -> None:
    base = write_base(tmp_path / "base.yaml", data_set)
    # The third trial cannot be trained: its gradient explodes immediately.
    space = {"training": {"learning_rate": {"grid": [1e-3, 1e-2, 1e30]}}}
    fixed = {"training": {"max_epochs": 2}}
    search = write_search(tmp_path / "search.yaml", base, space=space, scheduler="none", fixed=fixed)
    out = search.with_suffix("")
    process = start("search", search)
    wait_for(lambda: bool(_finished(out)), process)
    # Tune writes its journal every few seconds; the folders are up to date nevertheless.
    assert 'http-equiv="refresh"' in (out / "page.html").read_text(), (
        "the page is there while the search runs"
    )
    process.kill()
    process.communicate()
    before = _finished(out)
    text = command("search", search, "--resume")
    assert "trial 002 failed" in text
    assert "its gradient norm is" in text
    assert "3 of 3 trials ended, best val_loss" in text
    after = _finished(out)
    assert sorted(after) == ["000", "001"]
    assert {k: after[k] for k in before} == before, "finished trials are not repeated"
    table = _table(out)
    assert [r["state"] for r in table] == ["finished", "finished", "failed"]
    assert float(table[0]["val_loss"]) <= float(table[1]["val_loss"])
    page = (out / "page.html").read_text()
    assert page.count("<polyline") == 2 * 2, "two trials in two charts"
    assert "http" not in page.replace("http-equiv", "")
    assert "refresh" not in page
    best = json.loads((out / "best" / "trial.json").read_text())
    assert best["number"] == int(table[0]["trial"])

    import mocap_ray

    prior = mocap_ray.load_prior(str(out / "best"))
    assert prior.sample(2).shape == (2, 55, 3)


@pytest.mark.slow
def test_asha_stops_poor_trials_and_optuna_proposes(data_set: Path, tmp_path: Path) -> None:
    base = write_base(tmp_path / "base.yaml", data_set, data={"batch_size": 64})
    search = write_search(
        tmp_path / "search.yaml",
        base,
        fixed={"training": {"max_epochs": 8}},
        space={
            "training.learning_rate": {"log_uniform": [1e-6, 1e-2]},
            "training.scheduler": {"choice": ["cosine", "step"]},
            "training.step_size": {"int": [1, 4], "when": {"training.scheduler": "step"}},
        },
        trials=6,
        scheduler="asha",
        grace_epochs=1,
        reduction=2,
        searcher="optuna",
    )
    out = search.with_suffix("")
    command("search", search)
    table = _table(out)
    assert len(table) == 6
    assert {r["state"] for r in table} == {"finished", "stopped"}
    # ASHA also stops trials in their last epoch: those are finished.
    assert all((r["state"] == "finished") == (r["epochs"] == "8") for r in table)
    for number in range(6):
        values = json.loads((out / "trials" / f"{number:03d}" / "trial.json").read_text())["values"]
        assert ("training.step_size" in values) == (values["training.scheduler"] == "step")
        assert rows(out / "trials" / f"{number:03d}")


def _study(out: Path) -> list[tuple[int, str, float | None]]:
    """The state of Optuna in Tune's journal: number, state and value of each trial."""
    # One per run; the name has the time of its start.
    newest = max(out.glob("tune/searcher-state-*.pkl"))
    study = pickle.loads(newest.read_bytes())["_ot_study"]
    return [(t.number, t.state.name, t.value) for t in study.trials]


def _values(out: Path) -> dict[str, dict[str, Any]]:
    """Values of each trial that has started."""
    return {p.parent.name: json.loads(p.read_text())["values"] for p in out.glob("trials/*/trial.json")}


@pytest.mark.slow
def test_a_killed_search_with_optuna_repeats_and_loses_no_trial(data_set: Path, tmp_path: Path) -> None:
    base = write_base(tmp_path / "base.yaml", data_set, data={"batch_size": 64})
    search = write_search(
        tmp_path / "search.yaml",
        base,
        space={
            "training.scheduler": {"grid": ["cosine", "step"]},
            "training.step_size": {"int": [1, 4], "when": {"training.scheduler": "step"}},
            "training.learning_rate": {"log_uniform": [1e-5, 1e-2]},
        },
        trials=5,
        scheduler="none",
        searcher="optuna",
    )
    out = search.with_suffix("")
    process = start("search", search)
    wait_for(lambda: len(_finished(out)) >= 2, process, seconds=240)
    process.kill()
    process.communicate()
    finished, values = _finished(out), _values(out)
    command("search", search, "--resume")
    after = _finished(out)
    assert sorted(after) == [f"{k:03d}" for k in range(5)]
    assert {k: after[k] for k in finished} == finished, "finished trials are not repeated"
    assert {k: _values(out)[k] for k in values} == values, "and those that began keep their values"
    study = _study(out)
    assert [(number, state) for number, state, _ in study] == [(k, "COMPLETE") for k in range(5)]
    for number, _, value in study:
        assert float(rows(out / "trials" / f"{number:03d}")[-1]["val_loss"]) == value
    assert [v["training.scheduler"] for _, v in sorted(_values(out).items())] == [
        "cosine", "step", "cosine", "step", "cosine"
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_worse_trial_becomes_a_clone_of_the_better_one_also_after_a_kill(
    data_set: Path, tmp_path: Path
) -> None:
    # Epochs long enough that both trials train at the same time.
    base = write_base(tmp_path / "base.yaml", data_set, model={"hidden": 16, "K": 4}, data={"batch_size": 16})
    search = write_search(
        tmp_path / "search.yaml",
        base,
        fixed={"training": {"max_epochs": 24}},
        # The second one learns almost nothing.
        space={
            "training.learning_rate": {"choice": [1e-7, 3e-4]},
            "model.noise_deg": {"uniform": [0.0, 2.0]},
        },
        seed=_seed_of_two_rates(),
        trials=2,
        scheduler="pbt",
        perturb_epochs=3,
        quantile=0.5,
    )
    out = search.with_suffix("")
    process = start("search", search)
    wait_for(lambda: bool(_clones(out)), process, seconds=300)
    process.kill()
    process.communicate()
    before = _clones(out)
    command("search", search, "--resume", seconds=500)
    assert [c for c in _clones(out) if c in before] == before, "clones are kept"
    assert sorted(_finished(out)) == ["000", "001"]
    table = _table(out)
    assert any("from epoch" in r["lineage"] for r in table)
    for row in table:
        folder = out / "trials" / row["trial"]
        assert [int(float(r["epoch"])) for r in rows(folder)] == list(range(1, 25)), (
            "the history of its weights"
        )
        stage = json.loads((folder / "trial.json").read_text())["history"][-1]
        config = yaml.safe_load((folder / "config.yaml").read_text())
        assert config["training"]["learning_rate"] == stage["values"]["training.learning_rate"]
    assert "from epoch" in (out / "page.html").read_text()


def _clones(out: Path) -> list[str]:
    """Ids of the clones, in the order of the folders."""
    found = []
    for path in sorted(out.glob("trials/*/trial.json")):
        found += [clone["id"] for clone in json.loads(path.read_text()).get("clones", [])]
    return found


def _seed_of_two_rates() -> int:
    """A seed whose first two trials draw different rates."""
    # In the order of the file, which is alphabetical.
    space = parse_space({"noise": {"uniform": [0.0, 2.0]}, "rate": {"choice": [1e-7, 3e-4]}})
    for seed in range(100):
        first, second = draw_trials(space, {}, trials=2, seed=seed)
        if first["rate"] > second["rate"]:
            return seed
    raise AssertionError("none")


@pytest.mark.slow
def test_a_search_that_does_not_fit_on_the_cluster_writes_nothing(data_set: Path, tmp_path: Path) -> None:
    base = write_base(tmp_path / "base.yaml", data_set)
    space = {"training.learning_rate": {"uniform": [1e-4, 1e-3]}}
    search = write_search(
        tmp_path / "s.yaml", base, space=space, trials=2000, scheduler="pbt", perturb_epochs=1
    )
    text = command("search", search, expect=2)
    assert "its 2,000 trials are compared while they train" in text
    assert not search.with_suffix("").exists()


def test_problems_of_a_search_are_reported_before_ray_starts(data_set: Path, tmp_path: Path) -> None:
    base = write_base(tmp_path / "base.yaml", data_set)
    space = {"training.learning_rate": {"uniform": [-1, 1]}, "model.hiden": {"choice": [1]}}
    text = command("search", write_search(tmp_path / "s.yaml", base, space=space, trials=2), expect=2)
    assert "space.training.learning_rate: -1" in text
    assert "Did you mean 'hidden'" in text
    assert not (tmp_path / "s" / "search.yaml").exists()
