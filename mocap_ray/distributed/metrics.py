"""What runs report to Prometheus, through Ray's own exporter; `cluster/monitoring/` shows it.

Every metric has the tag `run`, the last part of the output's path. Extractions report from their driver, trainings from
rank 0, each trial of a search as a run of its own, named after the search and its folder.
"""

from __future__ import annotations

import time

import torch
from ray.util.metrics import Counter, Gauge, Histogram
from torch import nn

from mocap_ray.shards.reports import ShardReport
from mocap_ray.storage import place
from mocap_ray.training.callbacks import Callback, EpochReport, Progress, TrainStart

PREFIX = "mocap_ray_"
RUN = ("run",)
SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0)
"""Upper bounds of the histogram of shards."""


def run_name(root: str) -> str:
    """The value of the tag `run`: the last part of a path or an address, with the search in front of a trial.

    >>> run_name("s3://bucket/data/amass_263/"), run_name("/runs/search/trials/0003")
    ('amass_263', 'search/0003')
    """
    parts = root.rstrip("/").split("/")
    return f"{parts[-3]}/{parts[-1]}" if parts[-2:-1] == ["trials"] and len(parts) > 2 else parts[-1]


class ShardMetrics:
    """Counts what an engine makes."""

    def __init__(self, run: str) -> None:
        tags = {"run": run}
        self.since, self.amount = time.monotonic(), 0.0
        self.recordings = Counter(f"{PREFIX}recordings", "Inputs that were read", RUN).set_default_tags(tags)
        self.rows = Counter(f"{PREFIX}rows", "Rows that were written", RUN).set_default_tags(tags)
        self.frames = Counter(f"{PREFIX}frames", "Frames or poses that were written", RUN).set_default_tags(
            tags
        )
        self.speed = Gauge(f"{PREFIX}frames_per_second", "Mean since the start", RUN).set_default_tags(tags)
        self.failed = Counter(
            f"{PREFIX}failed_shards", "Shards that could not be made", RUN
        ).set_default_tags(tags)
        self.rejected = Counter(
            f"{PREFIX}rejections", "Inputs, or pieces of one, that were left out", ("run", "reason")
        ).set_default_tags(tags)
        self.seconds = Histogram(f"{PREFIX}shard_seconds", "Time to make a shard", list(SECONDS), RUN)
        self.seconds.set_default_tags(tags)

    def add(self, report: ShardReport) -> None:
        """Count one shard."""
        if not report.ok:
            self.failed.inc()
            return
        self.amount += report.amount
        for counter, number in (
            (self.recordings, report.inputs), (self.rows, report.rows), (self.frames, report.amount),
        ):  # fmt: skip
            if number:
                counter.inc(number)
        for reason, number in report.reasons.items():
            self.rejected.inc(number, tags={"reason": reason})
        self.seconds.observe(report.busy_s)
        self.speed.set(self.amount / max(time.monotonic() - self.since, 1e-3))


class TrainMetrics(Callback):
    """Reports a training from rank 0."""

    def __init__(self, root: str) -> None:
        tags = {"run": run_name(place(root).uri)}

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"{PREFIX}{name}", text, RUN).set_default_tags(tags)

        self.epoch = gauge("epoch", "Finished epochs")
        self.samples = gauge("samples_per_second", "Over all workers")
        self.loss = gauge("loss", "Mean training loss of the last epoch")
        self.val_loss = gauge("val_loss", "Loss that decides which epoch is the best")
        self.waiting = gauge("waiting", "Fraction of the time in which the loop waited for the next batch")
        self.memory = gauge("gpu_memory_bytes", "Peak GPU memory of tensors on rank 0; 0 without a GPU")

    def on_start(self, start: TrainStart) -> None:
        """Report the epoch that a resumed training starts from."""
        self.epoch.set(start.epoch)
        self._memory()

    def on_progress(self, progress: Progress) -> None:
        """Report the speed."""
        self.samples.set(progress.samples_per_s)

    def on_epoch_saved(self, report: EpochReport, model: nn.Module) -> None:
        """Report the figures of an epoch."""
        self.epoch.set(report.epoch)
        self.samples.set(report.samples_per_s)
        self.loss.set(report.train["loss"])
        self.val_loss.set(report.judged)
        self.waiting.set(report.waiting)
        self._memory()

    def _memory(self) -> None:
        self.memory.set(torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0)
