"""MLflow and Weights & Biases, where the config asks for them.

A tracker works in a thread of its own: a server that is slow or away holds up no training. Its first fault is told
once, and the training goes on without it. Who may write to a server is told by its own variables of the environment
(MLFLOW_TRACKING_URI, WANDB_API_KEY, ...), never by a config, and nothing of that is written down here.

    <output.root>/trackers.json     which run of each tracker this training is, so that a resumed one goes on in it
    <output.root>/wandb/            files of Weights & Biases
    <output.root>/../mlflow.db      MLflow's, where no server is named: beside the trainings, which share it
"""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import logging
import os
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from torch import nn

from mocap_ray.options import flat
from mocap_ray.storage import Place, without_secrets
from mocap_ray.training.callbacks import Callback, EpochReport, TrainStart
from mocap_ray.training.options import TrainOutput

PACKAGES = {"mlflow": "mlflow-skinny", "wandb": "wandb"}
"""Module -> what pip installs."""
RUNS = "trackers.json"
WAIT_S = 30.0
"""For so long the end of a training waits for what a tracker has not written yet."""
PARAMS_AT_ONCE = 100
"""MLflow takes no more in one call."""


@runtime_checkable
class Backend(Protocol):
    """One run in one tracker; everything is called in one thread."""

    def open(self, known: str | None) -> tuple[str, int]:
        """TrainStart a run, or go on with a known one; its id, and the last epoch that it has (0: none)."""
        ...

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        """The figures of an epoch."""
        ...

    def close(self, summary: Mapping[str, Any] | None) -> None:
        """The end: with the summary, or without one where the training failed."""
        ...


def check_trackers(output: TrainOutput, out: Place) -> None:
    """Refuse trackers that cannot work, before a training starts.

    Raises:
        ValueError: a package is missing; MLflow has nowhere to write to.
    """
    for name in output.trackers:
        spec = importlib.util.find_spec(name)
        # A folder `wandb` in the working directory looks like a package without a file.
        if spec is None or spec.origin is None:
            raise ValueError(
                f"output.tracker {name}: the package is not installed here. Run `pip install {PACKAGES[name]}` in the "
                "environment of this command and of its workers, or set output.tracker=none."
            )
        if name == "mlflow" and out.local is None and "MLFLOW_TRACKING_URI" not in os.environ:
            raise ValueError(
                f"output.tracker mlflow: {out.uri} is no local folder, beside which its database could stand. Set "
                "the environment variable MLFLOW_TRACKING_URI to a server, or output.tracker=none."
            )


def make_trackers(
    output: TrainOutput, plain: Mapping[str, Any], out: Place, tell: Callable[[str], None]
) -> list[Tracker]:
    """A callback for each tracker of the config.

    Args:
        output: names the trackers, the experiment and the run.
        plain: the whole config, which they show.
        out: folder of the training.
        tell: is called with a sentence about a tracker's first fault.
    """
    kinds: dict[str, Callable[[TrainOutput, Mapping[str, Any], Place], Backend]] = {
        "mlflow": MlflowRun,
        "wandb": WandbRun,
    }
    return [Tracker(name, kinds[name](output, plain, out), out, tell) for name in output.trackers]


class Tracker(Callback):
    """Passes figures on to a backend, in a thread, and survives all of its faults."""

    def __init__(self, name: str, backend: Backend, out: Place, tell: Callable[[str], None]) -> None:
        self.name, self.backend, self.out, self.tell = name, backend, out, tell
        self.todo: queue.Queue[Callable[[], None]] = queue.Queue()
        self.fault: str | None = None
        self.told = self.ended = False
        self.last = 0
        self.thread: threading.Thread | None = None

    def on_start(self, start: TrainStart) -> None:
        """Open the run, in the thread; a run that misses epochs gets them from metrics.csv."""
        self.todo.put(lambda: self._open(start.epoch))
        self.thread = threading.Thread(target=self._work, name=f"mocap-ray-{self.name}", daemon=True)
        self.thread.start()

    def on_epoch_end(self, report: EpochReport, model: nn.Module) -> None:
        """Put the epoch on the list."""
        row = {k: float(v) for k, v in report.row().items() if k != "epoch"}
        self.todo.put(lambda: self._log(report.epoch, row))
        self._say()

    def close(self, summary: Mapping[str, Any] | None) -> None:
        """After the training, however it ended; waits for the thread, though not for ever."""
        if self.thread is None:
            return

        def end() -> None:
            self.ended = True
            self.backend.close(summary)

        self.todo.put(end)
        self.thread.join(WAIT_S)
        if self.thread.is_alive():
            self.fault = self.fault or f"did not answer within {WAIT_S:.0f} s of the training's end"
        self._say()

    def _open(self, epoch: int) -> None:
        runs = json.loads(self.out.read(RUNS)) if self.out.exists(RUNS) else {}
        known = runs.get(self.name)
        run, self.last = self.backend.open(known)
        if run != known:
            runs = json.loads(self.out.read(RUNS)) if self.out.exists(RUNS) else {}
            self.out.write_atomic((json.dumps({**runs, self.name: run}, indent=1) + "\n").encode(), RUNS)
        for done, row in sorted(_old_rows(self.out).items()):
            if done <= epoch:
                self._log(done, row)

    def _log(self, epoch: int, row: Mapping[str, float]) -> None:
        if epoch > self.last:
            self.backend.log(epoch, row)
            self.last = epoch

    def _work(self) -> None:
        try:
            while not self.ended:
                self.todo.get()()
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            self.fault = f"{type(error).__name__}: {without_secrets(lines[0])}"

    def _say(self) -> None:
        if self.fault is not None and not self.told:
            self.told = True
            self.tell(
                f"output.tracker {self.name}: {self.fault.rstrip('.')}. The training does not need it and goes on."
            )


def _old_rows(out: Place) -> dict[int, dict[str, float]]:
    """What metrics.csv has, by epoch."""
    if not out.exists("metrics.csv"):
        return {}
    rows = csv.DictReader(io.StringIO(out.read("metrics.csv").decode()))
    return {int(r["epoch"]): {k: float(v) for k, v in r.items() if v and k != "epoch"} for r in rows}


def plain_values(tree: Mapping[str, Any]) -> dict[str, str | int | float | bool | None]:
    """One level of keys joined by dots; addresses without secrets, lists as text.

    >>> plain_values({"model": {"kind": "a", "K": 4}, "names": ["x", "y"]})
    {'model.kind': 'a', 'model.K': 4, 'names': 'x, y'}
    """
    found: dict[str, str | int | float | bool | None] = {}
    for key, value in flat(tree).items():
        if isinstance(value, list | tuple):
            value = ", ".join(map(str, value))
        if not isinstance(value, Mapping):  # an empty section
            found[key] = without_secrets(value) if isinstance(value, str) else value
    return found


class MlflowRun:
    """A run of MLflow, by its client alone: no state of the process is touched."""

    def __init__(self, output: TrainOutput, plain: Mapping[str, Any], out: Place) -> None:
        self.output, self.plain, self.out = output, plain, out
        self.client: Any = None
        self.run = ""

    def open(self, known: str | None) -> tuple[str, int]:
        """Go on with the known run where the server still has it."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        import mlflow

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        address = os.environ.get("MLFLOW_TRACKING_URI")
        if address is None:
            assert self.out.local is not None
            address = f"sqlite:///{self.out.local.absolute().parent / 'mlflow.db'}"
        self.client = mlflow.MlflowClient(tracking_uri=address)
        if known is not None:
            try:
                history = self.client.get_metric_history(known, "loss")
                self.client.update_run(known, status="RUNNING")
                self.run = known
                return known, max((m.step for m in history), default=0)
            except mlflow.MlflowException:
                pass  # deleted there, or another server: a new one
        name = self.output.experiment
        there = self.client.get_experiment_by_name(name)
        experiment = self.client.create_experiment(name) if there is None else there.experiment_id
        self.run = self.client.create_run(experiment, run_name=self.output.title).info.run_id
        params = [mlflow.entities.Param(k, str(v)) for k, v in plain_values(self.plain).items()]
        for first in range(0, len(params), PARAMS_AT_ONCE):
            self.client.log_batch(self.run, params=params[first : first + PARAMS_AT_ONCE])
        return self.run, 0

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        """One call with all of them."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.client.log_batch(self.run, metrics=[Metric(k, v, now, epoch) for k, v in figures.items()])

    def close(self, summary: Mapping[str, Any] | None) -> None:
        """Numbers as metrics `summary/...`, texts as tags."""
        from mlflow.entities import Metric, RunTag

        now = int(time.time() * 1000)
        plain = plain_values(summary or {})
        numbers = {k: float(v) for k, v in plain.items() if isinstance(v, int | float)}
        texts = {k: v for k, v in plain.items() if isinstance(v, str)}
        self.client.log_batch(
            self.run,
            metrics=[Metric(f"summary/{k}", v, now, 0) for k, v in numbers.items()],
            tags=[RunTag(f"summary/{k}", v) for k, v in texts.items()],
        )
        self.client.set_terminated(self.run, status="FAILED" if summary is None else "FINISHED")


class WandbRun:
    """A run of Weights & Biases; WANDB_MODE=offline keeps it on this machine."""

    def __init__(self, output: TrainOutput, plain: Mapping[str, Any], out: Place) -> None:
        self.output, self.plain, self.out = output, plain, out
        self.run: Any = None

    def open(self, known: str | None) -> tuple[str, int]:
        """Go on under the known id; what it has, the server knows and sorts out by epochs."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        folder = tempfile.mkdtemp(prefix="mocap-ray-wandb-") if self.out.local is None else self.out.local
        self.run = wandb.init(
            project=self.output.experiment,
            name=self.output.title,
            id=known,
            resume="allow",
            dir=str(folder),
            config=plain_values(self.plain),
            # Neither what the terminal shows, nor the program, nor its repository is anybody's business.
            settings=wandb.Settings(console="off", silent=True, disable_git=True, save_code=False),
        )
        return str(self.run.id), max(0, int(self.run.step) - 1) if known else 0

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        """One row; its step is the epoch."""
        self.run.log(dict(figures), step=epoch)

    def close(self, summary: Mapping[str, Any] | None) -> None:
        """Into the run's own summary, as `summary/...`."""
        self.run.summary.update({f"summary/{k}": v for k, v in plain_values(summary or {}).items()})
        self.run.finish(exit_code=1 if summary is None else 0)
