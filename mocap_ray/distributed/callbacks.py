"""What the driver of a training calls, and how a worker reaches it."""

from __future__ import annotations

from typing import Protocol

from torch import nn

from mocap_ray.distributed.cluster import Cluster
from mocap_ray.distributed.events import EventQueue
from mocap_ray.distributed.resources import Share
from mocap_ray.training.callbacks import Callback, EpochReport, Progress, TrainStart


class TrainCallback(Protocol):
    """Callback of a training on Ray: a terminal, a log, or a trial of a search."""

    def on_cluster(self, cluster: Cluster, part: Share) -> None:
        """Called when Ray is connected, with the resources of each worker."""

    def on_start(self, start: TrainStart) -> None:
        """Called before the first step, and again after a lost worker."""

    def on_progress(self, progress: Progress) -> None:
        """Called about once a second within an epoch."""

    def on_epoch_saved(self, report: EpochReport) -> None:
        """Called after an epoch and its checkpoints."""

    def on_note(self, text: str) -> None:
        """Called with a message for the user."""


class ForwardToDriver(Callback):
    """Forwards the callbacks of rank 0 to the driver: an event is named after the method that it is for."""

    def __init__(self, events: EventQueue) -> None:
        self.events = events

    def on_start(self, start: TrainStart) -> None:
        """Forward it."""
        self.events.put(TrainCallback.on_start.__name__, start)

    def on_progress(self, progress: Progress) -> None:
        """Forward it."""
        self.events.put(TrainCallback.on_progress.__name__, progress)

    def on_epoch_saved(self, report: EpochReport, model: nn.Module) -> None:
        """Forward the report; the model stays here."""
        self.events.put(TrainCallback.on_epoch_saved.__name__, report)

    def on_note(self, text: str) -> None:
        """Forward it."""
        self.events.put(TrainCallback.on_note.__name__, text)
