"""Results of trials as table and CSV; failed and unstarted trials are in both."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from mocap_ray.runs.search import SearchConfig
from mocap_ray.searching.population import Clone, Record, Stage
from mocap_ray.searching.results import (
    STATES,
    Trial,
    heads,
    mark_stopped,
    ranked,
    read_trials,
    table,
    write_csv,
)
from mocap_ray.storage import Place, place

CONFIG = SearchConfig.model_validate(
    {
        "base": "joint_flow",
        "space": {
            "training.learning_rate": {"log_uniform": [1e-4, 1e-2]},
            "training.scheduler": {"choice": ["step", "cosine"]},
            "training.step_size": {"int": [1, 9], "when": {"training.scheduler": "step"}},
        },
        "trials": 4,
        "output": {"root": "out"},
    }
)


def _trials() -> list[Trial]:
    def rows(*values: float) -> list[dict[str, float]]:
        return [{"epoch": k + 1.0, "val_loss": v} for k, v in enumerate(values)]

    step = {"training.learning_rate": 1e-3, "training.scheduler": "step", "training.step_size": 3}
    cosine = {"training.learning_rate": 1e-2, "training.scheduler": "cosine"}
    return [
        Trial(0, step, rows(2.0, 1.0, 1.5), started=True, finished=True),
        Trial(1, cosine, rows(0.5), started=True, finished=False),
        Trial(2, cosine, rows(math.nan), started=True, finished=False, error="<b>the loss is nan</b>"),
        Trial(3, {}, [], started=False, finished=False),
    ]


def test_trials_are_sorted_best_first_and_without_value_last() -> None:
    assert [t.number for t in ranked(_trials(), "val_loss", "min")] == [1, 0, 2, 3]
    assert [t.number for t in ranked(_trials(), "val_loss", "max")] == [0, 1, 2, 3]
    states = [row[1] for row in table(_trials(), list(CONFIG.space), "val_loss", "min")]
    assert states == ["stopped", "finished", "failed", "not started"]


def _with_folds() -> list[Trial]:
    """Means of three folds; the second trial stopped before its first validation."""

    def row(epoch: int, mean: float, std: float) -> dict[str, float]:
        ends = {"val_loss_min": mean - std, "val_loss_max": mean + 1.5 * std}
        return {"epoch": float(epoch), "val_loss": mean, "val_loss_std": std, **ends}

    values = {"training.learning_rate": 1e-3, "training.scheduler": "cosine"}
    return [
        Trial(
            0, values, [row(1, 2.0, 0.5), row(2, 1.0, 0.25), row(3, 1.5, 0.1)], started=True, finished=True
        ),
        Trial(1, values, [{"epoch": 1.0, "val_loss": float("nan")}], started=True, finished=False),
    ]


def test_the_table_of_trials_with_folds_has_their_spread_in_the_best_epoch(tmp_path: Path) -> None:
    keys = list(CONFIG.space)
    names = heads(keys, "val_loss", folds=True)
    rows = [dict(zip(names, row, strict=True)) for row in table(_with_folds(), keys, "val_loss", "min")]
    assert [rows[0][n] for n in ("val_loss", "std of folds", "worst fold", "at epoch")] == [
        "1",
        "0.25",
        "1.38",
        "2",
    ]
    assert [rows[1][n] for n in ("val_loss", "std of folds", "worst fold", "at epoch")] == ["", "", "", ""]
    spread = _with_folds()[0].spread("val_loss", "max")
    assert spread is not None
    assert spread.worst == 1.5, "the lowest one, in the epoch with the highest mean"
    write_csv(place(tmp_path), _with_folds(), keys, "val_loss", "min")
    first, second = csv.DictReader((tmp_path / "trials.csv").open())
    assert [first[n] for n in ("val_loss", "std of folds", "worst fold", "at epoch")] == [
        "1.0",
        "0.25",
        "1.375",
        "2",
    ]
    assert (first["training.scheduler"], second["error"]) == ("cosine", "")
    assert heads(keys, "val_loss") == [n for n in names if "fold" not in n]


def test_running_stopped_failed_and_finished_trials_are_told_apart(tmp_path: Path) -> None:
    out = place(tmp_path)

    def write(number: int, *, epochs: int, config: bool = True) -> Place:
        folder = out.folder("trials", f"{number:03d}")
        Record(number, {"training.learning_rate": 1e-3}).write(folder)
        if config:
            folder.write_atomic(b"training: {max_epochs: 3}\n", "config.yaml")
        table = "epoch,loss,val_loss\n" + "".join(f"{k + 1},1.0,0.5\n" for k in range(epochs))
        folder.write_atomic(table.encode(), "metrics.csv")
        return folder

    write(0, epochs=2)
    # The scheduler also stops trials in their last epoch, before they write a summary.
    for number, epochs in ((1, 1), (2, 3)):
        mark_stopped(write(number, epochs=epochs), epoch=epochs)
    write(3, epochs=1)
    write(4, epochs=1).write_atomic(b"{}", "summary.json")  # it ran out of patience
    mark_stopped(out.folder("trials", "005"), epoch=1)
    errors = {2: "its process ended", 3: "the loss is nan"}
    during = read_trials(out, 6, errors, searching=True)
    assert [t.state for t in during] == ["running", "stopped", "finished", "failed", "finished", "waiting"]
    after = read_trials(out, 6, errors)
    assert [t.state for t in after] == ["stopped", "stopped", "finished", "failed", "finished", "not started"]
    assert {t.state for t in [*during, *after]} <= set(STATES)
    assert not (tmp_path / "trials" / "005").exists(), "a mark makes no folder"


def test_a_trial_that_diverges_says_so_beside_its_state() -> None:
    rows = [
        {"epoch": k + 1.0, "loss": a, "val_loss": b}
        for k, (a, b) in enumerate(zip((2.0, 0.5, 0.1, 0.0), (100.0, 10.0, 24.0, 23.0), strict=True))
    ]
    trial = Trial(0, {}, rows, started=True, finished=True)
    assert table([trial], [], "val_loss", "min")[0][1] == "finished, diverged"


def test_the_csv_has_full_precision(tmp_path: Path) -> None:
    write_csv(place(tmp_path), _trials(), list(CONFIG.space), "val_loss", "min")
    found = list(csv.DictReader((tmp_path / "trials.csv").read_text().splitlines()))
    assert [r["val_loss"] for r in found] == ["0.5", "1.0", "", ""]
    assert found[1]["training.step_size"] == "3"
    assert found[2]["error"] == "<b>the loss is nan</b>"


def test_an_empty_folder_is_a_trial_that_did_not_start(tmp_path: Path) -> None:
    (trial,) = read_trials(place(tmp_path), 1, {0: "its process died"})
    assert (trial.rows, trial.state, trial.error) == ([], "failed", "its process died")


def _clone() -> Trial:
    """A clone of trial 0 after its third epoch; its own weights were better before."""
    old, new = {"training.learning_rate": 1e-3}, {"training.learning_rate": 8e-4}
    left = {"row": {"epoch": 2, "val_loss": 0.2}, "values": {"training.learning_rate": 5e-3}}
    rows = [{"epoch": k + 1.0, "val_loss": v} for k, v in enumerate((2.0, 1.0, 0.9, 0.8))]
    history = (Stage(0, 0, old, {}), Stage(1, 3, new, left))
    return Trial(
        1, new, rows, started=True, finished=True, history=history, clones=(Clone("x", 0, 3, 2, new),)
    )


def test_a_clone_is_ranked_by_its_weights_and_its_replaced_weights(tmp_path: Path) -> None:
    trial = _clone()
    assert trial.best("val_loss", "min") == (0.2, 2)
    assert trial.best_values("val_loss", "min") == {"training.learning_rate": 5e-3}
    assert trial.best("val_loss", "max") == (2.0, 1)
    assert trial.best_values("val_loss", "max") == {"training.learning_rate": 1e-3}, (
        "the values of that epoch"
    )
    write_csv(place(tmp_path), [trial, *_trials()], list(CONFIG.space), "val_loss", "min")
    found = list(csv.DictReader((tmp_path / "trials.csv").read_text().splitlines()))
    assert found[0]["lineage"] == "000, 001 from epoch 3"
    assert found[0]["training.learning_rate"] == "0.005"
    assert found[1]["lineage"] == ""
