"""Callbacks for MLflow and Weights & Biases, if the config enables them.

A tracker runs in its own thread, so that a slow or unreachable server does not block the training. Its first error is
reported once, and the training continues without it. Credentials come only from the environment variables of the
trackers (MLFLOW_TRACKING_URI, WANDB_API_KEY, ...), never from a config, and are not written to any file.

    <output.root>/trackers.json     run id of this training in each tracker, so that a resumed training continues it
    <output.root>/wandb/            files of Weights & Biases
    <output.root>/../mlflow.db      database of MLflow without a server, shared by all trainings in the parent folder
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from pydantic import RootModel
from torch import nn

from mocap_ray.documents import parse
from mocap_ray.errors import UserError
from mocap_ray.options import flat
from mocap_ray.storage import Place, without_secrets
from mocap_ray.training.callbacks import METRICS, Callback, EpochReport, TrainStart, read_metrics
from mocap_ray.training.options import TrainOutput

PACKAGES = {"mlflow": "mlflow-skinny", "wandb": "wandb"}
"""Module -> name of its package."""
RUNS = "trackers.json"
WAIT_S = 30.0
"""How long the end of a training waits for a tracker to finish writing."""
PARAMS_AT_ONCE = 100
"""Limit of MLflow for one call."""


@runtime_checkable
class Backend(Protocol):
    """One run in one tracker; all methods are called in the same thread."""

    def open(self, run_id: str | None) -> tuple[str, int]:
        """Start a run, or resume the one with this id; returns its id and its last epoch (0: none)."""
        ...

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Log the metrics of an epoch."""
        ...

    def close(self, summary: Mapping[str, Any] | None) -> None:
        """Finish the run; `summary` is None if the training failed."""
        ...


def check_trackers(output: TrainOutput, out: Place) -> None:
    """Check that the selected trackers can be used, before a training starts.

    Raises:
        UserError: a package is missing, or MLflow has no place to write to.
    """
    for name in output.trackers:
        spec = importlib.util.find_spec(name)
        # A folder `wandb` in the working directory looks like a package without a file.
        if spec is None or spec.origin is None:
            raise UserError(
                f"output.tracker {name}: the package is not installed. Run `pip install {PACKAGES[name]}` in the "
                "environment of this command and of its workers, or set output.tracker=none."
            )
        if name == "mlflow" and out.local is None and "MLFLOW_TRACKING_URI" not in os.environ:
            raise UserError(
                f"output.tracker mlflow: {out.uri} is no local folder, so MLflow has no place for its database. Set "
                "the environment variable MLFLOW_TRACKING_URI to a server, or output.tracker=none."
            )


def make_trackers(
    output: TrainOutput, plain: Mapping[str, Any], out: Place, notify: Callable[[str], None]
) -> list[Tracker]:
    """Create a callback for each selected tracker.

    Args:
        output: names the trackers, the experiment and the run.
        plain: the config, which is logged as parameters.
        out: folder of the training.
        notify: is called with a message about the first error of a tracker.
    """
    kinds: dict[str, Callable[[TrainOutput, Mapping[str, Any], Place], Backend]] = {
        "mlflow": MlflowRun,
        "wandb": WandbRun,
    }
    return [Tracker(name, kinds[name](output, plain, out), out, notify) for name in output.trackers]


class Tracker(Callback):
    """Logs metrics to a backend in a thread; errors of the backend do not stop the training."""

    def __init__(self, name: str, backend: Backend, out: Place, notify: Callable[[str], None]) -> None:
        self.name, self.backend, self.out, self.notify = name, backend, out, notify
        self.todo: queue.Queue[Callable[[], None]] = queue.Queue()
        self.error: str | None = None
        self.reported = self.ended = False
        self.last = 0
        self.thread: threading.Thread | None = None

    def on_start(self, start: TrainStart) -> None:
        """Open the run in the thread; epochs that it lacks are logged from metrics.csv."""
        self.todo.put(lambda: self._open(start.epoch))
        self.thread = threading.Thread(target=self._work, name=f"mocap-ray-{self.name}", daemon=True)
        self.thread.start()

    def on_epoch_end(self, report: EpochReport, model: nn.Module) -> None:
        """Queue the metrics of the epoch."""
        row = {k: float(v) for k, v in report.row().items() if k != "epoch"}
        self.todo.put(lambda: self._log(report.epoch, row))
        self._report_error()

    def close(self, summary: Mapping[str, Any] | None) -> None:
        """Called after the training, also after an error; waits up to `WAIT_S` seconds for the thread."""
        if self.thread is None:
            return

        def end() -> None:
            self.ended = True
            self.backend.close(summary)

        self.todo.put(end)
        self.thread.join(WAIT_S)
        if self.thread.is_alive():
            self.error = self.error or f"no answer within {WAIT_S:.0f} s of the training's end"
        self._report_error()

    def _open(self, epoch: int) -> None:
        saved = _runs(self.out).get(self.name)
        run, self.last = self.backend.open(saved)
        if run != saved:
            self.out.write_atomic(
                (json.dumps({**_runs(self.out), self.name: run}, indent=1) + "\n").encode(), RUNS
            )
        for past, row in sorted(_read_metrics(self.out).items()):
            if past <= epoch:
                self._log(past, row)

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
            self.error = f"{type(error).__name__}: {without_secrets(lines[0])}"

    def _report_error(self) -> None:
        if self.error is not None and not self.reported:
            self.reported = True
            self.notify(
                f"output.tracker {self.name}: {self.error.rstrip('.')}. The training continues without it."
            )


def _runs(out: Place) -> dict[str, str]:
    """The runs of the trackers by name. Raises UserError if the file is damaged."""
    if not out.exists(RUNS):
        return {}
    found = parse(
        out.read(RUNS),
        _Runs,
        where=f"{out.uri}/{RUNS}",
        what="the list of a training's runs",
        remedy="Copy it again, or delete it: then a new run starts.",
    )
    return found.root


class _Runs(RootModel[dict[str, str]]):
    """Name of a tracker -> id of its run."""


def _read_metrics(out: Place) -> dict[int, dict[str, float]]:
    """The rows of metrics.csv by epoch."""
    if not out.exists(METRICS):
        return {}
    rows = read_metrics(out)
    return {int(r["epoch"]): {k: v for k, v in r.items() if k != "epoch"} for r in rows}


def plain_values(tree: Mapping[str, Any]) -> dict[str, str | int | float | bool | None]:
    """Flatten to dotted keys; URIs without secrets, lists as text.

    >>> plain_values({"model": {"kind": "a", "K": 4}, "names": ["x", "y"]})
    {'model.kind': 'a', 'model.K': 4, 'names': 'x, y'}
    """
    values: dict[str, str | int | float | bool | None] = {}
    for key, value in flat(tree).items():
        if isinstance(value, list | tuple):
            value = ", ".join(map(str, value))
        if not isinstance(value, Mapping):  # an empty section
            values[key] = without_secrets(value) if isinstance(value, str) else value
    return values


class MlflowRun:
    """A run of MLflow; uses only the client, without global state."""

    def __init__(self, output: TrainOutput, plain: Mapping[str, Any], out: Place) -> None:
        self.output, self.plain, self.out = output, plain, out
        self.client: Any = None
        self.run = ""

    def open(self, run_id: str | None) -> tuple[str, int]:
        """Resume the run if the server still has it, else start a new one."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        import mlflow

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        address = os.environ.get("MLFLOW_TRACKING_URI")
        if address is None:
            assert self.out.local is not None
            address = f"sqlite:///{self.out.local.absolute().parent / 'mlflow.db'}"
        self.client = mlflow.MlflowClient(tracking_uri=address)
        if run_id is not None:
            try:
                history = self.client.get_metric_history(run_id, "loss")
                self.client.update_run(run_id, status="RUNNING")
                self.run = run_id
                return run_id, max((m.step for m in history), default=0)
            except mlflow.MlflowException:
                pass  # deleted, or another server: start a new run
        name = self.output.experiment
        existing = self.client.get_experiment_by_name(name)
        experiment = self.client.create_experiment(name) if existing is None else existing.experiment_id
        self.run = self.client.create_run(experiment, run_name=self.output.title).info.run_id
        params = [mlflow.entities.Param(k, str(v)) for k, v in plain_values(self.plain).items()]
        for first in range(0, len(params), PARAMS_AT_ONCE):
            self.client.log_batch(self.run, params=params[first : first + PARAMS_AT_ONCE])
        return self.run, 0

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Log all metrics in one call."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.client.log_batch(self.run, metrics=[Metric(k, v, now, epoch) for k, v in figures.items()])

    def close(self, summary: Mapping[str, Any] | None) -> None:
        """Log the numbers of the summary as metrics `summary/...` and its texts as tags."""
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
    """A run of Weights & Biases; WANDB_MODE=offline stores it only on this machine."""

    def __init__(self, output: TrainOutput, plain: Mapping[str, Any], out: Place) -> None:
        self.output, self.plain, self.out = output, plain, out
        self.run: Any = None

    def open(self, run_id: str | None) -> tuple[str, int]:
        """Start a run, or resume the one with this id; the server ignores epochs that it already has."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        folder = tempfile.mkdtemp(prefix="mocap-ray-wandb-") if self.out.local is None else self.out.local
        self.run = wandb.init(
            project=self.output.experiment,
            name=self.output.title,
            id=run_id,
            resume="allow",
            dir=str(folder),
            config=plain_values(self.plain),
            # Do not upload the console output, the program or its repository: they are private.
            settings=wandb.Settings(console="off", silent=True, disable_git=True, save_code=False),
        )
        return str(self.run.id), max(0, int(self.run.step) - 1) if run_id else 0

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Log one row; its step is the epoch."""
        self.run.log(dict(figures), step=epoch)

    def close(self, summary: Mapping[str, Any] | None) -> None:
        """Add the summary to the summary of the run, as `summary/...`, and finish the run."""
        self.run.summary.update({f"summary/{k}": v for k, v in plain_values(summary or {}).items()})
        self.run.finish(exit_code=1 if summary is None else 0)
