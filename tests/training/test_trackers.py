"""Trackers: what they log, in one run across a resume, and that their errors do not stop a training."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs as pafs

from mocap_ray.storage import Place, place
from mocap_ray.training import trackers
from mocap_ray.training.callbacks import CallbackList, MetricsFile
from mocap_ray.training.lockstep import train_locally
from mocap_ray.training.options import TrainOutput
from mocap_ray.training.task import TrainingSetup
from mocap_ray.training.trackers import Tracker, check_trackers
from tests.dataset.made import make
from tests.training.small import Log, run
from tests.training.test_session import Kill, config


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    make(root, clips={("CMU", "train"): 3, ("CMU", "val"): 1})
    return root


class Memory:
    """A backend that records its calls, and may fail or hang."""

    def __init__(self, *, fails: str = "", hangs: threading.Event | None = None) -> None:
        self.fails, self.hangs = fails, hangs
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.run_ids: list[str | None] = []
        self.summaries: list[Mapping[str, Any] | None] = []

    def open(self, run_id: str | None) -> tuple[str, int]:
        if self.fails == "open":
            raise ConnectionError("no way to https://me:secret@host/x\nand more")
        self.run_ids.append(run_id)
        return run_id or "run1", max((epoch for epoch, _ in self.rows), default=0)

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        if self.fails == "log":
            raise RuntimeError("full")
        if self.hangs is not None:
            self.hangs.wait(60)
        self.rows.append((epoch, dict(figures)))

    def close(self, summary: Mapping[str, Any] | None) -> None:
        self.summaries.append(summary)


def _train(folder: Path, backend: Memory, *, resume: bool = False, stop_after: int | None = None) -> Log:
    log = Log(stop_after=stop_after)
    tracker = Tracker("mlflow", backend, place(folder), log.on_note)
    callback = CallbackList([MetricsFile(place(folder)), tracker, log])
    summary = None
    try:
        run(folder, callback, resume=resume, max_epochs=4)  # type: ignore[arg-type]
        summary = {"best": 1}
    except KeyboardInterrupt:
        pass
    finally:
        tracker.close(summary)
    return log


def test_each_epoch_is_logged_once_in_one_run_across_a_resume(tmp_path: Path) -> None:
    backend = Memory()
    _train(tmp_path, backend, stop_after=2)
    assert backend.summaries == [None]
    log = _train(tmp_path, backend, resume=True)
    assert [epoch for epoch, _ in backend.rows] == [1, 2, 3, 4]
    assert backend.run_ids == [None, "run1"]
    assert backend.summaries == [None, {"best": 1}]
    assert not log.notes
    assert {"loss", "mse", "val_loss", "learning_rate", "samples_per_s"} <= set(backend.rows[0][1])


def test_a_tracker_that_is_enabled_later_gets_earlier_epochs(tmp_path: Path) -> None:
    _train(tmp_path, Memory(fails="open"), stop_after=2)
    backend = Memory()
    _train(tmp_path, backend, resume=True)
    assert [epoch for epoch, _ in backend.rows] == [1, 2, 3, 4]
    rows = [row for _, row in backend.rows]
    assert rows[1].keys() == rows[2].keys()


@pytest.mark.parametrize("fails", ["open", "log"])
def test_a_failing_tracker_is_reported_once_without_passwords_and_the_training_continues(
    tmp_path: Path, fails: str
) -> None:
    log = _train(tmp_path, Memory(fails=fails))
    assert len(log.reports) == 4
    (note,) = log.notes
    assert note.startswith("output.tracker mlflow: ")
    assert note.endswith("continues without it.")
    assert "secret" not in note


def test_a_tracker_that_hangs_does_not_block_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "WAIT_S", 0.2)
    hangs = threading.Event()
    log = _train(tmp_path, Memory(hangs=hangs))
    hangs.set()
    assert len(log.reports) == 4
    assert "no answer within" in log.notes[0]


def test_a_training_that_never_starts_has_no_run(tmp_path: Path) -> None:
    backend = Memory()
    Tracker("mlflow", backend, place(tmp_path), print).close(None)
    assert not backend.run_ids
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_missing_package_is_refused_before_anything_is_written(
    made: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    chosen = config(made, tmp_path / "out", output={"tracker": [name]})
    with pytest.raises(ValueError, match=rf"output.tracker {name}: .* `pip install {name}"):
        train_locally(chosen)
    assert not (tmp_path / "out").exists()


def test_without_a_tracker_neither_package_is_imported(made: Path, tmp_path: Path) -> None:
    chosen = config(made, tmp_path / "out", training={"max_epochs": 1})
    text = tmp_path / "config.json"
    text.write_text(json.dumps(chosen.plain))
    code = (
        "import sys; from pathlib import Path; from mocap_ray.runs.train import TrainConfig; "
        "from mocap_ray.training.lockstep import train_locally; "
        f"train_locally(TrainConfig.model_validate_json(Path({str(text)!r}).read_text()).setup()); "
        "print({'mlflow', 'wandb'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "set()"
    assert not (tmp_path / "out" / "trackers.json").exists()


def test_a_database_beside_a_bucket_is_refused(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    bucket = Place(pafs._MockFileSystem(), "bucket/out", "s3://bucket/out")
    chosen = config(made, Path("out"), output={"tracker": "mlflow"})
    with pytest.raises(ValueError, match=r"s3://bucket/out is no local folder.* MLFLOW_TRACKING_URI"):
        check_trackers(chosen.output, bucket)


def test_one_or_several_trackers_with_the_folder_as_run_name() -> None:
    assert TrainOutput(root="a/b/").trackers == ()
    assert TrainOutput(root="a/b/", tracker="wandb").trackers == ("wandb",)
    both = TrainOutput(root="s3://bucket/a/b/", tracker=("mlflow", "wandb", "mlflow"))
    assert both.trackers == ("mlflow", "wandb")
    assert both.title == "b"
    assert TrainOutput(root="a", run_name="mine").title == "mine"


def _halves(made: Path, out: Path, tracker: str) -> TrainingSetup[Any]:
    """A training that was stopped after its first epoch and resumed."""
    chosen = config(made, out, training={"max_epochs": 3}, output={"tracker": tracker, "experiment": "tests"})
    with pytest.raises(KeyboardInterrupt):
        train_locally(chosen, Kill(1))
    log = Log()
    train_locally(chosen, log, resume=True)
    assert not log.notes
    return chosen


def test_mlflow_has_one_finished_run_with_curves_settings_and_summary(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    chosen = _halves(made, tmp_path / "first", "mlflow")
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("tests")
    (found,) = client.search_runs([experiment.experiment_id])
    assert (found.info.status, found.info.run_name) == ("FINISHED", "first")
    assert found.data.params["model.kind"] == chosen.model.kind
    assert found.data.params["training.learning_rate"] == str(chosen.training.learning_rate)
    assert [m.step for m in client.get_metric_history(found.info.run_id, "val_loss")] == [1, 2, 3]
    assert found.data.metrics["summary/epochs"] == 3
    assert found.data.tags["summary/reason"] == "max_epochs"


def test_wandb_offline_keeps_one_id_across_a_resume(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    _halves(made, tmp_path, "wandb")
    names = [p.name for p in (tmp_path / "wandb").glob("offline-run-*")]
    # offline-run-DATE-ID, followed by a number if two start within a second.
    assert len(names) == 2
    assert len({name.split("-")[3] for name in names}) == 1
    assert list((tmp_path / "wandb").rglob("*.wandb"))
