"""Each event that a worker sends is one that the driver's callbacks take."""

from __future__ import annotations

import math

import pytest
from torch import nn

from mocap_ray.cli.training_view import TrainView
from mocap_ray.distributed.callbacks import ForwardToDriver
from mocap_ray.distributed.cluster import connected
from mocap_ray.distributed.events import EventQueue
from mocap_ray.distributed.trial import _Reporting
from mocap_ray.runs.ray import RayOptions
from mocap_ray.training.callbacks import EpochReport, Progress, TrainStart

REPORT = EpochReport(
    epoch=1, epochs=2, step=3, train={"loss": 1.0}, val={}, judged=1.0, best=True, best_loss=1.0, best_epoch=1,
    learning_rate=0.1, grad_norm=1.0, grad_norm_max=1.0, samples_per_s=10.0, waiting=0.0, seconds=1.0, eta_s=math.nan,
)  # fmt: skip


@pytest.mark.ray
def test_every_callback_of_a_worker_reaches_the_driver_in_its_order() -> None:
    with connected(RayOptions(workers=1)):
        events = EventQueue()
        forward = ForwardToDriver(events)
        forward.on_start(TrainStart(0, 0, 2, 5, "cpu", 1))
        forward.on_progress(Progress(1, 1, 2, 10.0))
        forward.on_epoch_saved(REPORT, nn.Linear(1, 1))
        forward.on_note("a note")
        received = events.get_all()
        assert events.get_all() == []
    assert [type(value) for _, value in received] == [TrainStart, Progress, EpochReport, str]
    for name, _ in received:
        assert callable(getattr(TrainView, name)), name
        assert callable(getattr(_Reporting, name)), name
