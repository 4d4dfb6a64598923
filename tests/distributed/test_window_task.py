"""Training of a custom task by the real command on workers of Ray: killed, resumed and searched."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.dataset.made import make
from tests.distributed.training import command, losses, rows, start, wait_for
from tests.training.test_window_task import setup, write_config

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made") / "set"
    make(root, clips={("CMU", "train"): 4, ("CMU", "val"): 2})
    return root


def killed_and_resumed(base: Path, *, after: int) -> Path:
    """The training of a config whose driver is killed after some epochs and started again; its folder."""
    out = base.with_suffix("")
    process = start("train", base)
    wait_for(lambda: len(rows(out)) >= after, process)
    process.kill()
    process.communicate()
    assert "resuming after epoch" in command("train", base, "--resume")
    return out


@pytest.mark.slow
def test_a_killed_stream_on_two_workers_resumes_and_finishes(made: Path, tmp_path: Path) -> None:
    # Small batches, so that the epochs are long enough for a kill.
    sections: dict[str, dict[str, Any]] = {
        "data": {"feed": "stream", "batch_size": 2},
        "ray": {"workers": 2},
        "training": {"max_epochs": 12},
    }
    out = killed_and_resumed(write_config(tmp_path / "killed.yaml", made, **sections), after=2)
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["feed"], summary["workers"], summary["epochs"]) == ("Ray Data", 2, 12)
    assert [int(r["epoch"]) for r in rows(out)] == list(range(1, 13))
    values = [float(r["val_loss"]) for r in rows(out)]
    assert min(values) < 0.9 * values[0]
    assert (out / "export" / "autoencoder.json").is_file()
    assert setup(tmp_path / "again.yaml", made).words.row == "window"


@pytest.mark.slow
@pytest.mark.parametrize("feed", ["memory", "stream"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_training_gives_the_losses_of_an_undisturbed_one(
    made: Path, tmp_path: Path, feed: str, workers: int
) -> None:
    sections: dict[str, dict[str, Any]] = {
        "data": {"feed": feed, "batch_size": 2},
        "ray": {"workers": workers},
        "training": {"max_epochs": 20},
    }
    whole = write_config(tmp_path / "whole.yaml", made, **sections)
    assert "windows/s" in command("train", whole)
    out = killed_and_resumed(write_config(tmp_path / "killed.yaml", made, **sections), after=2)
    assert losses(out) == losses(tmp_path / "whole")


@pytest.mark.slow
def test_two_workers_train_like_one(made: Path, tmp_path: Path) -> None:
    found = []
    for workers in (1, 2):
        # Without noise, which differs between the workers.
        base = write_config(
            tmp_path / f"{workers}.yaml", made, model={"noise": 0.0}, ray={"workers": workers}
        )
        command("train", base)
        found.append([float(r["val_loss"]) for r in rows(tmp_path / str(workers))])
    np.testing.assert_allclose(found[1], found[0], rtol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["none", "pbt"])
def test_a_search_of_it_runs(made: Path, tmp_path: Path, scheduler: str) -> None:
    base = write_config(tmp_path / "base.yaml", made, data={"batch_size": 2})
    space = {"training.learning_rate": {"choice": [1e-4, 1e-2]}, "model.noise": {"uniform": [0.0, 0.3]}}
    search = tmp_path / "search.yaml"
    config = {
        "base": str(base),
        "fixed": {"training": {"max_epochs": 6}},
        "space": space,
        "trials": 2,
        "scheduler": scheduler,
        "perturb_epochs": 2,
        "quantile": 0.5,
        "output": {"root": str(tmp_path / "search")},
        "ray": {"workers": 1, "gpus_per_worker": 0},
    }
    search.write_text(yaml.safe_dump(config))
    assert "is the best autoencoder." in command("search", search)
    table = list(csv.DictReader((tmp_path / "search" / "trials.csv").read_text().splitlines()))
    assert [r["state"] for r in table] == ["finished", "finished"]
    assert (tmp_path / "search" / "best" / "export" / "autoencoder.json").is_file()
    config["space"] = {"data.length": {"choice": [4, 8]}}
    search.write_text(yaml.safe_dump({**config, "scheduler": "pbt"}))
    text = command("search", search, "--overwrite", expect=2)
    assert "data.length must stay as it is" in text
    assert "model.noise" in text
