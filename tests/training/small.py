"""A small model with a loss, and its batches, for the tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mocap_ray.storage import place
from mocap_ray.training import checkpoint
from mocap_ray.training.batch import Batch
from mocap_ray.training.callbacks import Callback, EpochReport
from mocap_ray.training.checkpoint import Checkpoints
from mocap_ray.training.fit import FitResult, fit
from mocap_ray.training.options import TrainingOptions


class Line(nn.Module):
    """Regression with dropout, so that random numbers matter."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Dropout(0.2), nn.Linear(16, 1))
        self.double()

    def loss(self, batch: Tensor, *, epoch: float = 0.0) -> tuple[Tensor, dict[str, Tensor]]:
        error = ((self.net(batch[:, :4]) - batch[:, 4:]) ** 2).mean()
        return error, {"mse": error.detach()}


class Log(Callback):
    """Records its calls."""

    def __init__(self, *, stop_after: int | None = None) -> None:
        self.reports: list[EpochReport] = []
        self.notes: list[str] = []
        self.stop_after, self.ended = stop_after, False

    def on_epoch_saved(self, report: EpochReport, model: nn.Module) -> None:
        self.reports.append(report)
        if report.epoch == self.stop_after:
            raise KeyboardInterrupt

    def on_note(self, text: str) -> None:
        self.notes.append(text)

    def on_end(self) -> None:
        self.ended = True

    @property
    def losses(self) -> list[float]:
        return [r.train["loss"] for r in self.reports]

    @property
    def figures(self) -> list[tuple[Any, ...]]:
        """The parts of the reports that do not depend on time."""
        return [
            (r.epoch, r.step, r.train, r.val, r.best, r.best_loss, r.best_epoch, r.learning_rate, r.grad_norm)
            for r in self.reports
        ]


def rows(count: int = 40, *, seed: int = 0) -> Tensor:
    """[N, 5] float64: four numbers and a smooth function of them."""
    x = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.cat([x, torch.sin(x.sum(1, keepdim=True))], dim=1)


def batches(data: Tensor | None = None, size: int = 10) -> Callable[[int], list[Batch]]:
    """The same batches each epoch, each with its own clip."""
    data = rows() if data is None else data
    return lambda epoch: [Batch(part, (lambda k=k: [f"clip{k}"])) for k, part in enumerate(data.split(size))]


def line(seed: int = 0) -> Line:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Line()


def validation(model: Line, data: Tensor) -> Callable[[], dict[str, float]]:
    return lambda: {"loss": float(model.loss(data)[0])}


def run(folder: Any, log: Log, *, resume: bool = False, **settings: Any) -> tuple[Line, FitResult]:
    """A training of a `Line` with checkpoints in `folder`, as in a new process."""
    model = line()
    where = place(folder)
    state = checkpoint.read(where, checkpoint.LAST)["state"] if resume else None
    result = fit(
        model,
        batches(),
        options=TrainingOptions(**{"learning_rate": 0.02, "max_epochs": 8, "patience": None, **settings}),
        validate=validation(model, rows(30, seed=1)),
        checkpoints=Checkpoints(where, about={"kind": "line"}),
        callback=log,
        resume=state,
    )
    return model, result
