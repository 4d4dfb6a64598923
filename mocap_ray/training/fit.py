"""The loop: plain torch, for any model that has a loss, on one process or as one of a team."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sized
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from mocap_ray.training.checkpoint import Checkpoints
from mocap_ray.training.ema import Ema
from mocap_ray.training.listener import Beat, EpochReport, Listener, Start
from mocap_ray.training.meters import Means, Waiting
from mocap_ray.training.options import TrainingOptions
from mocap_ray.training.schedule import Schedule
from mocap_ray.training.watch import EVERY_ON_GPU, Watch

BEAT_S = 1.0
"""Seconds between two beats within an epoch."""


class Batch(NamedTuple):
    """What a feed yields where it knows the clips of a batch; plain tensors do as well."""

    data: Any
    """What `model.loss` takes, on the model's device."""
    clips: Callable[[], list[str]]
    """Ids of the clips in it, asked for only when the loss is not finite."""


class Trainable(Protocol):
    """What `fit` asks of a model, which is an `nn.Module`."""

    def loss(self, batch: Any, *, epoch: float = 0.0) -> tuple[Tensor, dict[str, Tensor]]:
        """Scalar to minimise, a mean over the batch's rows, and detached scalars worth a curve.

        Args:
            batch: what the feed yields.
            epoch: epochs done before this step, with the part of the present one (2.5: half of the third)
                where the feed knows its length.
        """
        ...


def _alone(values: dict[str, float]) -> dict[str, float]:
    return values


def _as_it_is(module: nn.Module) -> nn.Module:
    return module


@dataclass(frozen=True)
class Team:
    """The processes that share each step; alone by default. `distributed/train.py` makes the others.

    Attributes:
        rank, world: which of how many. Rank 0 writes the files.
        device: of this process.
        wrap: makes the module whose `forward(batch, epoch)` is the model's loss average its gradients over the
            team (DistributedDataParallel).
        mean: the mean over the team of each value of a dict with the same keys in every process.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    wrap: Callable[[nn.Module], nn.Module] = _as_it_is
    mean: Callable[[dict[str, float]], dict[str, float]] = _alone


@dataclass(frozen=True, slots=True)
class FitResult:
    """How a training ended.

    Attributes:
        reason: `max_epochs`, `patience` or `max_minutes`.
        epochs: finished, those before a resume included.
        step: optimiser steps, likewise.
        best_epoch, best_loss: of the judged loss (validation, or training without one); epochs count from 1.
        seconds: of training, those before a resume included.
    """

    reason: str
    epochs: int
    step: int
    best_epoch: int
    best_loss: float
    seconds: float


def fit(
    model: nn.Module,
    batches: Callable[[int], Iterable[Any]],
    *,
    options: TrainingOptions,
    validate: Callable[[], Mapping[str, float]] | None = None,
    checkpoints: Checkpoints | None = None,
    listener: Listener | None = None,
    resume: Mapping[str, Any] | None = None,
    team: Team | None = None,
) -> FitResult:
    """Train `model` in place; see `Trainable` for what it must offer.

    The random numbers of an epoch depend on (seed, epoch, rank) alone, so that a resumed training draws what
    an uninterrupted one draws, and equal seeds give equal losses. The caller's own generators are put back.

    Args:
        model: on `team.device`; its weights are the last ones afterwards (averaged ones with `ema`).
        batches: the batches of an epoch, counted from 0: whatever `model.loss` takes, or `Batch`. All members
            of a team must get equally many.
        options: see `TrainingOptions`.
        validate: `{"loss": judged, ...}`, equal in all members of a team; called in eval mode, without
            gradients, with the averaged weights where `ema` is set.
        checkpoints: a `checkpoint.Checkpoints`, which writes best and last; None in ranks other than 0.
        listener: hears of progress, see `listener.Listener`.
        resume: the state of a checkpoint, as `checkpoint.read(...)["state"]` gives it.
        team: alone by default.

    Raises:
        NonFinite: a loss or gradient that is not finite; names the clips of that batch. The checkpoints stay
            as they were.
    """
    run = _Run(model, options, team or Team(), kept=_kept(checkpoints))
    heard = listener or Listener()
    if resume is not None:
        run.restore(resume)
    heard.started(run.start())
    gpus = [run.team.device] if run.team.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=gpus):
            while (reason := run.over()) is None:
                measured = run.train(batches, heard)
                with run.judged_weights():
                    val = run.validate(validate) if run.due() else None
                    report = run.judge(measured, val)
                    if not math.isfinite(report.judged):
                        heard.note(
                            f"The judged loss of epoch {report.epoch} is {report.judged}: not the best."
                        )
                    heard.judged(report, model)
                if val is not None and checkpoints is not None:
                    checkpoints.save(run.state(), best=report.best)
                with run.judged_weights():
                    heard.epoch(report, model)
    finally:
        heard.finished()
    if run.ema is not None:
        run.ema.keep()
    return FitResult(reason, run.epoch, run.step, run.best_epoch, run.best_loss, run.seconds)


def _kept(checkpoints: Checkpoints | None) -> str:
    return (
        "no checkpoints were asked for"
        if checkpoints is None
        else f"{checkpoints.folder.uri} has the last good one"
    )


def _seed(seed: int, epoch: int, rank: int) -> int:
    """Of an epoch's random numbers: neighbouring seeds, epochs and ranks have nothing in common."""
    return int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))


class _Loss(nn.Module):
    """The model's loss as a module's `forward`, which is what DistributedDataParallel and compile wrap."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Any, epoch: float) -> tuple[Tensor, dict[str, Tensor]]:
        found: tuple[Tensor, dict[str, Tensor]] = self.model.loss(batch, epoch=epoch)  # type: ignore[operator]
        return found


@dataclass(frozen=True, slots=True)
class _Measured:
    """A trained epoch: means of its scalars, and figures."""

    means: dict[str, float]
    norm: float
    norm_max: float
    rate: float
    samples_per_s: float
    waiting: float


class _Run:
    """All that changes during a training, and how one epoch changes it."""

    def __init__(self, model: nn.Module, options: TrainingOptions, team: Team, *, kept: str) -> None:
        self.model, self.options, self.team = model, options, team
        cuda = team.device.type == "cuda"
        self.loss: Any = team.wrap(_Loss(model))
        if options.compile:
            self.loss = torch.compile(self.loss)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            self.parameters, lr=options.learning_rate, weight_decay=options.weight_decay, fused=True
        )
        self.schedule = Schedule(options)
        self.ema = Ema(model, decay=options.ema) if options.ema is not None else None
        self.watch = Watch(options, every=EVERY_ON_GPU if cuda else 1, kept=kept)
        self.epoch = self.step = self.best_epoch = self.waited = 0
        self.best_loss, self.seconds, self.late = math.inf, 0.0, False
        self.clock = time.perf_counter()
        self.resumed_at, self.resumed_seconds = 0, 0.0

    def start(self) -> Start:
        count = sum(p.numel() for p in self.parameters)
        name = torch.cuda.get_device_name(self.team.device) if self.team.device.type == "cuda" else "CPU"
        return Start(self.epoch, self.step, self.options.max_epochs, count, name, self.team.world)

    def over(self) -> str | None:
        """Why the training is over, or None."""
        o = self.options
        if o.patience is not None and self.waited >= o.patience:
            return "patience"
        if self.late or (o.max_minutes is not None and self.seconds >= 60 * o.max_minutes):
            return "max_minutes"
        return "max_epochs" if self.epoch >= o.max_epochs else None

    def train(self, batches: Callable[[int], Iterable[Any]], heard: Listener) -> _Measured:
        """One epoch of steps. Raises NonFinite."""
        torch.manual_seed(_seed(self.options.seed, self.epoch, self.team.rank))
        self.model.train()
        source = batches(self.epoch)
        steps = len(source) if isinstance(source, Sized) else None
        waiting, means, rows, done = Waiting(source), Means(), 0, 0
        rate, self.watch.largest_norm = 0.0, 0.0
        since = beaten = time.perf_counter()
        with closing(waiting):  # a thread may be making batches ahead of a step that fails
            for item in waiting:
                data, clips = item if isinstance(item, Batch) else (item, list)
                epoch = self.epoch + (done / steps if steps else 0.0)
                rate = self.schedule.rate(step=self.step, epochs=epoch)
                means.add(self._update(data, clips, epoch, rate))
                rows, done = rows + _rows(data), done + 1
                now = time.perf_counter()
                if now - beaten > BEAT_S:
                    beaten = now
                    heard.beat(Beat(self.epoch + 1, done, steps, rows * self.team.world / (now - since)))
        self.watch.look()
        if not done:
            raise ValueError(f"Epoch {self.epoch + 1} has no batch to train on: the feed yielded nothing.")
        found = means.read()  # waits for the GPU, so that the time is that of the work
        spent = time.perf_counter() - since
        self.epoch += 1
        self.seconds = self.resumed_seconds + time.perf_counter() - self.clock
        found |= {
            "_waiting": waiting.seconds / spent,
            "_rows_per_s": rows / spent,
            "_late": float(self._is_late()),
        }
        found = self.team.mean(found)
        self.late = found.pop("_late") > 0  # one late process ends the training of all of them
        return _Measured(
            waiting=found.pop("_waiting"),
            samples_per_s=found.pop("_rows_per_s") * self.team.world,
            norm=found.pop("_norm"),
            norm_max=self.watch.largest_norm,
            rate=rate,
            means=found,
        )

    def _update(
        self, data: Any, clips: Callable[[], list[str]], epoch: float, rate: float
    ) -> dict[str, Tensor]:
        """One step of the optimiser; its scalars. Raises NonFinite, on the CPU before the weights change."""
        o = self.options
        amp = (
            torch.autocast(self.team.device.type, torch.bfloat16) if o.precision == "bf16" else nullcontext()
        )
        with amp:
            loss, scalars = self.loss(data, epoch)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(
            self.parameters, math.inf if o.grad_clip is None else o.grad_clip
        )
        self.watch.see(epoch=self.epoch, step=self.step, loss=loss, norm=norm, rate=rate, clips=clips)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        if self.ema is not None:
            self.ema.update()
        self.step += 1
        return {"loss": loss, **scalars, "_norm": norm}

    def _is_late(self) -> bool:
        limit = self.options.max_minutes
        return limit is not None and self.seconds >= 60 * limit

    def due(self) -> bool:
        """Whether the epoch just trained is validated; the last one always is."""
        return self.epoch % self.options.val_every == 0 or self.late or self.epoch >= self.options.max_epochs

    def judged_weights(self) -> AbstractContextManager[None]:
        """The model with the weights that are judged."""
        return nullcontext() if self.ema is None else self.ema.applied()

    def validate(self, validate: Callable[[], Mapping[str, float]] | None) -> dict[str, float]:
        """The figures of validation; empty without one."""
        if validate is None:
            return {}
        self.model.eval()
        with torch.no_grad():
            return dict(validate())

    def judge(self, measured: _Measured, val: dict[str, float] | None) -> EpochReport:
        """Compare with the best, count patience, and report; `val` is None where none was due."""
        judged = (val or {}).get("loss", measured.means["loss"])
        best = val is not None and judged < self.best_loss - self.options.min_delta
        if val is not None:
            self.schedule.judged(judged)
            self.waited = 0 if best else self.waited + 1
        if best:
            self.best_loss, self.best_epoch = judged, self.epoch
        self.seconds = self.resumed_seconds + time.perf_counter() - self.clock
        per_epoch = (self.seconds - self.resumed_seconds) / (self.epoch - self.resumed_at)
        return EpochReport(
            epoch=self.epoch,
            epochs=self.options.max_epochs,
            step=self.step,
            train=measured.means,
            val=val or {},
            judged=judged,
            best=best,
            best_loss=self.best_loss,
            best_epoch=self.best_epoch,
            learning_rate=measured.rate,
            grad_norm=measured.norm,
            grad_norm_max=measured.norm_max,
            samples_per_s=measured.samples_per_s,
            waiting=measured.waiting,
            seconds=self.seconds,
            eta_s=per_epoch * (self.options.max_epochs - self.epoch),
        )

    COUNTERS = ("epoch", "step", "seconds", "best_loss", "best_epoch", "waited")

    def state(self) -> dict[str, Any]:
        """Tensors and plain values from which `restore` goes on exactly.

        The state of the random numbers is (seed, epoch): each epoch draws its own, whatever came before.
        """
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state(),
            "ema": None if self.ema is None else dict(self.ema.mean),
            "ema_updates": 0 if self.ema is None else self.ema.updates,
            "seed": self.options.seed,
            "counters": {name: getattr(self, name) for name in self.COUNTERS},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()`; the clock and patience go on too, limits may have been raised since."""
        self.model.load_state_dict(state["model"])
        groups = [{**group, "fused": True} for group in state["optimiser"]["param_groups"]]
        self.optimiser.load_state_dict({**state["optimiser"], "param_groups": groups})
        self.schedule.restore(state["schedule"])
        if self.ema is not None and state["ema"] is not None:
            self.ema.restore(state["ema"], state["ema_updates"])
        for name in self.COUNTERS:
            setattr(self, name, state["counters"][name])
        self.resumed_at, self.resumed_seconds = self.epoch, self.seconds


def _rows(data: Any) -> int:
    """Rows of a batch: of its tensor, or of the first one in it."""
    if isinstance(data, Mapping):
        data = next(iter(data.values()))
    return len(data[0] if isinstance(data, tuple) else data)
