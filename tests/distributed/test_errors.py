"""Who is to blame: a user's fault is a sentence, anything else is a bug and shows its traceback."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from ray.exceptions import ActorDiedError
from ray.train.v2.api.exceptions import WorkerGroupError
from rich.console import Console

from mocap_ray.cli.search_view import SearchView
from mocap_ray.config import load
from mocap_ray.distributed import trial, worker
from mocap_ray.distributed.train import TrainingFailed, _failure_message
from mocap_ray.errors import UserError, bug_report
from mocap_ray.lock import Locked
from mocap_ray.runs.search import SearchConfig
from mocap_ray.runs.train import TrainConfig
from tests.distributed import buggy
from tests.distributed.test_search import write_search
from tests.distributed.training import command, write_base

LIBRARY = "ValueError: cannot reshape array of size 3 into shape (2,2)"


def _raised() -> Exception:
    try:
        buggy._raise()
    except ValueError as error:
        return error


def test_a_bug_report_has_type_message_and_traceback() -> None:
    text = bug_report(_raised(), code="the code that trains")
    assert text.startswith(
        f"{LIBRARY}\nThis is a bug in the code that trains, not in your input:\nTraceback ("
    )
    assert "in _raise" in text


def test_a_worker_and_a_trial_blame_the_user_only_for_a_user_error(tmp_path: Path) -> None:
    config = load(str(write_base(tmp_path / "base.yaml", tmp_path)), TrainConfig, kind="train")
    sentence = "data.root: nothing there. Set it."
    assert worker._error_message(UserError(sentence), config) == sentence
    assert worker._error_message(Locked(sentence), config) == sentence
    for error in (UserError(sentence), Locked(sentence), TrainingFailed(sentence), OSError(sentence)):
        assert trial._error_message(error) == sentence
    for text in (worker._error_message(_raised(), config), trial._error_message(_raised())):
        assert text.startswith(LIBRARY)
        assert "This is a bug" in text
        assert "in _raise" in text


def test_a_bug_that_ray_train_retried_shows_its_traceback_and_an_io_error_does_not(tmp_path: Path) -> None:
    config = load(str(write_base(tmp_path / "base.yaml", tmp_path)), TrainConfig, kind="train")

    def message(error: Exception) -> str:
        return _failure_message(WorkerGroupError("failed", {0: error}), config, bug_report(_raised()))

    text = message(RuntimeError("no such operator"))
    assert "Last error: no such operator. The last checkpoint is kept" in text
    assert "in _raise" in text
    for error in (OSError(5, "Input/output error"), ActorDiedError()):
        assert "The last checkpoint is kept" in message(error)
        assert "Traceback" not in message(error)


def test_the_view_of_a_search_shows_the_traceback_of_a_bug_whole(tmp_path: Path) -> None:
    space = {"training.learning_rate": {"grid": [1e-3]}}
    path = write_search(tmp_path / "search.yaml", tmp_path / "base.yaml", space=space)
    out = io.StringIO()
    view = SearchView(
        Console(file=out, width=1000, highlight=False), load(str(path), SearchConfig, kind="search")
    )
    text = bug_report(_raised())
    view.on_trial(3, "failed", text)
    assert out.getvalue().startswith(f"trial 003 failed: {text}\n")


@pytest.mark.ray
@pytest.mark.slow
def test_a_bug_in_a_training_worker_and_in_a_trial_shows_its_traceback(
    data_set: Path, tmp_path: Path
) -> None:
    model = {"model": {"kind": "tests.distributed.buggy:PRIOR"}}
    base = write_base(tmp_path / "base.yaml", data_set, training={"max_epochs": 1})
    text = base.read_text()
    base.write_text(
        text.replace("hidden: 8\n", "").replace("K: 2\n", "").replace("joint_flow", model["model"]["kind"])
    )
    text = command("train", base, expect=1)
    assert LIBRARY in text
    assert "in _raise" in text
    space = {"training.learning_rate": {"grid": [1e-3]}}
    text = command(
        "search", write_search(tmp_path / "search.yaml", base, space=space, scheduler="none"), expect=1
    )
    assert f"trial 000 failed: {LIBRARY}" in text
    assert "in _raise" in text
