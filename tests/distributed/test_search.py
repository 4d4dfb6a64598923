"""Searches on Ray: killed and resumed ones come to an end, failing trials are told, the best is exported."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from .training import command, rows, start, wait_for, write_base

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


@pytest.mark.slow
def test_a_killed_search_goes_on_and_repeats_nothing_and_a_failing_trial_does_not_end_it(
    data_set: Path, tmp_path: Path
) -> None:
    base = write_base(tmp_path / "base.yaml", data_set)
    # The third trial cannot be trained: its gradient explodes at once.
    space = {"training": {"learning_rate": {"grid": [1e-3, 1e-2, 1e30]}}}
    search = write_search(tmp_path / "search.yaml", base, space=space, scheduler="none")
    out = search.with_suffix("")
    process = start("search", search)
    wait_for(lambda: bool(_finished(out)), process)
    # Tune writes its journal every few seconds; what the folders say holds all the same.
    process.kill()
    process.communicate()
    before = _finished(out)
    assert "a search stands there" in command("search", search, expect=2)
    text = command("search", search, "--resume")
    assert "trial 002 failed" in text
    assert "the norm of its gradient" in text
    after = _finished(out)
    assert sorted(after) == ["000", "001"]
    assert {k: after[k] for k in before} == before, "finished trials are not repeated"
    table = _table(out)
    assert [r["state"] for r in table] == ["finished", "finished", "failed"]
    assert float(table[0]["val_loss"]) <= float(table[1]["val_loss"])
    page = (out / "page.html").read_text()
    assert page.count("<polyline") == 2 * 2, "two trials in two charts"
    assert "http" not in page.replace("http-equiv", "")
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
    for number in range(6):
        values = json.loads((out / "trials" / f"{number:03d}" / "trial.json").read_text())["values"]
        assert ("training.step_size" in values) == (values["training.scheduler"] == "step")
        assert rows(out / "trials" / f"{number:03d}")


def test_problems_of_a_search_end_it_before_ray_starts(data_set: Path, tmp_path: Path) -> None:
    base = write_base(tmp_path / "base.yaml", data_set)
    space = {"training.learning_rate": {"uniform": [-1, 1]}, "model.hiden": {"choice": [1]}}
    text = command("search", write_search(tmp_path / "s.yaml", base, space=space, trials=2), expect=2)
    assert "space.training.learning_rate: -1" in text
    assert "Did you mean 'hidden'" in text
    assert not (tmp_path / "s" / "search.yaml").exists()
