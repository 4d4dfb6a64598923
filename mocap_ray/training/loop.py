"""The state of a training, and one epoch of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sized
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mocap_ray.training.batch import Batch, row_count
from mocap_ray.training.callbacks import Callback, EpochReport, Progress, StepLosses, TrainStart
from mocap_ray.training.checkpoint import CheckpointError
from mocap_ray.training.divergence import Divergence, divergence
from mocap_ray.training.ema import Ema
from mocap_ray.training.finite import EVERY_ON_GPU, FiniteCheck
from mocap_ray.training.meters import Means, Waiting
from mocap_ray.training.options import TrainingOptions
from mocap_ray.training.schedule import Schedule
from mocap_ray.training.task import TaskWords
from mocap_ray.training.team import Team, epoch_seed

PROGRESS_S = 1.0
"""Seconds between two progress reports within an epoch."""


class _Loss(nn.Module):
    """The loss of a model as the `forward` of a module, for DistributedDataParallel and `torch.compile`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Any, epoch: float) -> tuple[Tensor, dict[str, Tensor]]:
        result: tuple[Tensor, dict[str, Tensor]] = self.model.loss(batch, epoch=epoch)  # type: ignore[operator]
        return result


@dataclass(frozen=True, slots=True)
class Measured:
    """The measurements of an epoch: means of its scalars, gradient norms and speed."""

    means: dict[str, float]
    norm: float
    norm_max: float
    rate: float
    samples_per_s: float
    waiting: float


class Loop:
    """The state of a training: model, optimiser, schedule, averaged weights and counters."""

    def __init__(
        self,
        model: nn.Module,
        options: TrainingOptions,
        team: Team,
        *,
        kept: str,
        words: TaskWords,
        solved: bool = False,
    ) -> None:
        self.model, self.options, self.team, self.solved = model, options, team, solved
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
        self.finite_check = FiniteCheck(options, every=EVERY_ON_GPU if cuda else 1, kept=kept, words=words)
        self.epoch = self.step = self.best_epoch = self.waited = 0
        self.best_loss, self.seconds, self.late = math.inf, 0.0, False
        self.clock = time.perf_counter()
        self.resumed_at, self.resumed_seconds = 0, 0.0
        self.history: list[tuple[int, float, float]] = []

    def start(self) -> TrainStart:
        """The facts for `Callback.on_start`."""
        count = sum(p.numel() for p in self.parameters)
        name = torch.cuda.get_device_name(self.team.device) if self.team.device.type == "cuda" else "CPU"
        return TrainStart(self.epoch, self.step, self.epochs, count, name, self.team.world)

    @property
    def epochs(self) -> int:
        """The largest number of epochs."""
        return 1 if self.solved else self.options.max_epochs

    def stop_reason(self) -> str | None:
        """Why the training is finished, or None."""
        o = self.options
        if self.solved:
            return "closed_form" if self.epoch else None
        if o.patience is not None and self.waited >= o.patience:
            return "patience"
        if self.late or (o.max_minutes is not None and self.seconds >= 60 * o.max_minutes):
            return "max_minutes"
        return "max_epochs" if self.epoch >= o.max_epochs else None

    def train(self, batches: Callable[[int], Iterable[Any]], callback: Callback) -> Measured:
        """Train one epoch. Raises NonFinite."""
        torch.manual_seed(epoch_seed(self.options.seed, self.epoch, self.team.rank))
        self.model.train(not self.solved)
        source = batches(self.epoch)
        steps = len(source) if isinstance(source, Sized) else None
        waiting, means, rows, done = Waiting(source), Means(), 0, 0
        rate, self.finite_check.largest_norm = 0.0, 0.0
        losses: list[Tensor] = []
        start = reported = time.perf_counter()
        with closing(waiting):  # stops a prefetching thread also when a step fails
            for item in waiting:
                data, items = item if isinstance(item, Batch) else (item, list)
                epoch = self.epoch + (done / steps if steps else 0.0)
                rate = self.schedule.rate(step=self.step, epochs=epoch)
                scalars = self._update(data, items, epoch, rate)
                means.add(scalars)
                losses.append(scalars["loss"].detach())
                rows, done = rows + row_count(data), done + 1
                now = time.perf_counter()
                if now - reported > PROGRESS_S:
                    reported = now
                    self._report_steps(losses, steps, callback)
                    callback.on_progress(
                        Progress(self.epoch + 1, done, steps, rows * self.team.world / (now - start))
                    )
        self.finite_check.check()
        if not done:
            raise ValueError(f"Epoch {self.epoch + 1} has no batch to train on: the loader yielded nothing.")
        self._report_steps(losses, steps, callback)
        measured = means.read()  # synchronizes with the GPU, so that the time includes its work
        spent = time.perf_counter() - start
        self.epoch += 1
        self.seconds = self.resumed_seconds + time.perf_counter() - self.clock
        measured |= {
            "_waiting": waiting.seconds / spent,
            "_rows_per_s": rows / spent,
            "_late": float(self._is_late()),
        }
        measured = self.team.mean(measured)
        self.late = measured.pop("_late") > 0  # one late rank stops all ranks
        return Measured(
            waiting=measured.pop("_waiting"),
            samples_per_s=measured.pop("_rows_per_s") * self.team.world,
            norm=measured.pop("_norm"),
            norm_max=self.finite_check.largest_norm,
            rate=rate,
            means=measured,
        )

    def _report_steps(self, losses: list[Tensor], of: int | None, callback: Callback) -> None:
        """Report the losses of the steps since the last report, and forget them; synchronizes with the device."""
        if losses:
            callback.on_steps(StepLosses(self.step, tuple(torch.stack(losses).tolist()), of))
            losses.clear()

    def _update(
        self, data: Any, items: Callable[[], list[str]], epoch: float, rate: float
    ) -> dict[str, Tensor]:
        """Take an optimiser step and return its scalars. Raises NonFinite; on the CPU before the weights change."""
        o = self.options
        amp = (
            torch.autocast(self.team.device.type, torch.bfloat16) if o.precision == "bf16" else nullcontext()
        )
        with amp, torch.set_grad_enabled(not self.solved):
            loss, scalars = self.loss(data, epoch)
        if self.solved:
            return {"loss": loss, **scalars, "_norm": torch.zeros_like(loss)}
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(
            self.parameters, math.inf if o.grad_clip is None else o.grad_clip
        )
        self.finite_check.add(epoch=self.epoch, step=self.step, loss=loss, norm=norm, rate=rate, items=items)
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

    def validation_due(self) -> bool:
        """Whether to validate after this epoch; always true for the last one."""
        return self.epoch % self.options.val_every == 0 or self.late or self.epoch >= self.epochs

    def judged_weights(self) -> AbstractContextManager[None]:
        """Context in which the model has the weights to validate: the averaged ones if there are any."""
        return nullcontext() if self.ema is None else self.ema.applied()

    def validate(self, validate: Callable[[], Mapping[str, float]] | None) -> dict[str, float]:
        """The validation metrics; empty without validation."""
        if validate is None:
            return {}
        self.model.eval()
        with torch.no_grad():
            return dict(validate())

    def judge(self, measured: Measured, val: dict[str, float] | None) -> EpochReport:
        """Compare with the best epoch, count patience, and report; `val` is None if no validation was due."""
        judged = (val or {}).get("loss", measured.means["loss"])
        best = val is not None and judged < self.best_loss - self.options.min_delta
        if val is not None:
            self.history.append((self.epoch, measured.means["loss"], judged))
            self.schedule.record(judged)
            self.waited = 0 if best else self.waited + 1
        if best:
            self.best_loss, self.best_epoch = judged, self.epoch
        self.seconds = self.resumed_seconds + time.perf_counter() - self.clock
        per_epoch = (self.seconds - self.resumed_seconds) / (self.epoch - self.resumed_at)
        return EpochReport(
            epoch=self.epoch,
            epochs=self.epochs,
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
            eta_s=per_epoch * (self.epochs - self.epoch),
        )

    def divergence(self) -> Divergence | None:
        """How the loss that decides which epoch is the best diverges, or None."""
        return divergence(self.history)

    COUNTERS = ("epoch", "step", "seconds", "best_loss", "best_epoch", "waited")

    def state(self) -> dict[str, Any]:
        """Tensors and plain values from which `restore` resumes exactly.

        It needs no state of random generators: each epoch is seeded from (seed, epoch, rank).
        """
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state(),
            "ema": None if self.ema is None else dict(self.ema.mean),
            "ema_updates": 0 if self.ema is None else self.ema.updates,
            "seed": self.options.seed,
            "counters": {name: getattr(self, name) for name in self.COUNTERS},
            "history": list(self.history),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore from `state()`, including training time and patience; the limits in `options` may be new.

        Args:
            state: of a checkpoint that was read with `resumable`, so its types are checked.

        Raises:
            CheckpointError: the state is of another model.
        """
        own = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        averaged = {} if self.ema is None or state["ema"] is None else self.ema.mean
        moments = {
            f"{k}.{name}": value
            for k, values in state["optimiser"]["state"].items()
            for name, value in values.items()
            if name != "step"
        }
        _require_shapes(state["model"], self.model.state_dict(), what="weights")
        _require_shapes(state["ema"] or {} if averaged else {}, averaged, what="averaged weights")
        _require_shapes(
            moments,
            {f"{k}.{name}": p for k, p in enumerate(own.values()) for name in ("exp_avg", "exp_avg_sq")},
            what="moments of the optimiser",
            some=True,
        )
        self.model.load_state_dict(state["model"])
        groups = [{**group, "fused": True} for group in state["optimiser"]["param_groups"]]
        try:
            self.optimiser.load_state_dict({**state["optimiser"], "param_groups": groups})
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"Its optimiser is that of another model ({type(error).__name__}: {error})."
            ) from error
        self.schedule.restore(state["schedule"])
        if self.ema is not None and state["ema"] is not None:
            self.ema.restore(state["ema"], state["ema_updates"])
        for name in self.COUNTERS:
            setattr(self, name, state["counters"][name])
        self.resumed_at, self.resumed_seconds = self.epoch, self.seconds
        self.history = list(state.get("history", ()))  # checkpoints of earlier versions have none


def _require_shapes(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, what: str, some: bool = False
) -> None:
    """Raise CheckpointError unless the tensors have the expected names and shapes; with `some`, a part is enough."""
    names = found.keys() - expected.keys() if some else found.keys() ^ expected.keys()
    wrong = sorted(names) or sorted(n for n in found if found[n].shape != expected[n].shape)
    if wrong:
        raise CheckpointError(f"Its {what} are those of another model (first: {wrong[0]!r:.80}).")
