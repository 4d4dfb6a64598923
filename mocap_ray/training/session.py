"""A training from its setup to its exported model, in one process or in a process group.

`prepare.prepare` runs once, before any worker starts. `run` runs in each process of the group, and resumes from the
last checkpoint if there is one. `lockstep.train_locally` does both in a single process.

    <output.root>/config.yaml           the resolved config
    <output.root>/checkpoints/          best.pt, last.pt
    <output.root>/export/               model.safetensors and its description: the best epoch, written at the end
    <output.root>/metrics.csv           a row per epoch
    <output.root>/tensorboard/
    <output.root>/trackers.json         only if `output.tracker` is set, see trackers.py
    <output.root>/summary.json          written at the end
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Generic

import torch
from torch import Tensor, nn

from mocap_ray.errors import UserError
from mocap_ray.storage import Place, place
from mocap_ray.training import checkpoint
from mocap_ray.training.callbacks import Callback, CallbackList, EpochReport, MetricsFile
from mocap_ray.training.checkpoint import CHECKPOINTS, EXPORT, LAST, CheckpointError, Checkpoints
from mocap_ray.training.feeds import make_loaders
from mocap_ray.training.fit import FitResult, Fitting
from mocap_ray.training.folds import refuse_every_fold
from mocap_ray.training.loaders import Loaders
from mocap_ray.training.prepare import HASH, SUMMARY, compare
from mocap_ray.training.streaming import ShardReader
from mocap_ray.training.task import M, TrainingSetup, TrainingTask
from mocap_ray.training.team import Team, own_random_numbers
from mocap_ray.training.trackers import Tracker, make_trackers

CPU = torch.device("cpu")


def run(
    setup: TrainingSetup[M],
    *,
    team: Team | None = None,
    callback: Callback | None = None,
    reader: Callable[[], ShardReader] | None = None,
) -> dict[str, Any]:
    """Run one process of a prepared training; resumes from the last checkpoint if there is one.

    Args:
        setup: the setup that was passed to `prepare`.
        team: the process group; by default a single process on the device of the config.
        callback: is called on rank 0.
        reader: creates the reader of rows that do not fit into memory; only called if they are streamed.

    Returns:
        The summary, as in summary.json, on every rank.

    Raises:
        UserError: the data cannot be trained on, or the loss is not finite (`finite.NonFinite`).
        ValueError: an epoch has no batches.
    """
    refuse_every_fold(setup.data)
    team = team or alone(setup.training.device)
    callbacks: list[Callback] = [callback] if callback is not None and team.rank == 0 else []
    out = place(setup.output.root)
    loaders = make_loaders(setup, team, reader)
    trackers: list[Tracker] = []
    if team.rank == 0:
        trackers = make_trackers(setup.output, setup.plain, out, CallbackList(callbacks).on_note)
    summary = None
    try:
        training = Training(setup, loaders, team, callbacks, trackers)
        summary = training.run()
        return summary
    finally:
        loaders.close()
        for tracker in trackers:
            tracker.close(summary)


def alone(device: str) -> Team:
    """A single-process team on the device of the config: `auto`, `cpu` or `cuda`.

    Raises:
        UserError: the device is `cuda`, but there is no GPU.
    """
    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        raise UserError("training.device cuda: torch finds no GPU on this machine. Use device: auto.")
    return Team(device=torch.device("cuda" if has_gpu and device != "cpu" else "cpu"))


def validation(
    task: TrainingTask[M], model: M, batches: Callable[[], Iterable[Tensor]], team: Team, *, seed: int
) -> Callable[[], dict[str, float]]:
    """A function that validates and returns the metrics of the task, with the loss in other units.

    Each call uses the same random numbers, so that a stochastic loss is comparable between epochs.
    """

    def validate() -> dict[str, float]:
        with own_random_numbers(team.device):
            torch.manual_seed(seed)
            metrics = task.validate(model, batches(), team)
        return {**metrics, **task.other_units(metrics["loss"])}

    return validate


class Training(Generic[M]):
    """One training in one process: its model, restored if there is a checkpoint, and the files that it writes."""

    def __init__(
        self,
        setup: TrainingSetup[M],
        loaders: Loaders,
        team: Team,
        callbacks: Sequence[Callback] = (),
        trackers: Sequence[Tracker] = (),
        *,
        writer: type[Checkpoints] = Checkpoints,
    ) -> None:
        """Build or restore the model.

        Args:
            setup: of the training.
            loaders: its rows.
            team: the process group.
            callbacks: called on rank 0, before the files are written.
            trackers: called on rank 0, after them.
            writer: writes the checkpoints on rank 0.

        Raises:
            UserError: the model does not support the rows, or a checkpoint is damaged or of another training.
        """
        self.setup, self.loaders, self.team = setup, loaders, team
        self.out = place(setup.output.root)
        self.folder = self.out.folder(CHECKPOINTS)
        task, words = setup.task, setup.words
        saved = checkpoint.read(self.folder, LAST, resumable=True) if self.folder.exists(LAST) else None
        if saved is not None:
            compare(saved["about"], setup, loaders.source_hash, where=self.out.uri)
        model = _model(setup, loaders, None if saved is None else saved["about"]).to(team.device)
        self.latest, checkpoints, members = _Latest(), None, [*callbacks]
        if team.rank == 0:
            checkpoints = writer(self.folder, about=_about(setup, model, loaders))
            members += [self.latest, MetricsFile(self.out), *_tensorboard(setup, self.out), *trackers]
            if loaders.val is None:
                CallbackList(callbacks).on_note(
                    f"There are no {words.rows} to validate on in the split '{setup.data.val}', so the training loss "
                    "decides which epoch is the best."
                )
        seed, val = setup.training.seed, loaders.val
        self.model = model
        with self._naming_the_checkpoint():
            self.fitting = Fitting(
                model,
                loaders.train,
                options=setup.training,
                validate=None if val is None else validation(task, model, val, team, seed=seed),
                checkpoints=checkpoints,
                callback=CallbackList(members),
                resume=None if saved is None else saved["state"],
                team=team,
                words=words,
                solved=setup.training.closed_form == "auto" and task.solvable,
            )

    @contextmanager
    def _naming_the_checkpoint(self) -> Iterator[None]:
        """Name the file in an error of `Fitting`, which does not know the one that it resumes from."""
        try:
            yield
        except CheckpointError as error:
            raise CheckpointError(f"{self.folder.uri}/{LAST}: {error} {checkpoint.REMEDY}") from error

    def run(self) -> dict[str, Any]:
        """Train to the end; returns the summary."""
        return self.finish(self.fitting.run())

    def finish(self, result: FitResult) -> dict[str, Any]:
        """Write the export and summary.json on rank 0; returns the summary."""
        words = self.setup.words
        summary = _summary(self.setup, self.model, self.loaders, result, self.latest.report, self.team)
        if self.team.rank == 0:
            best = checkpoint.read(self.folder, checkpoint.BEST if result.best_epoch else LAST)
            checkpoint.export(
                self.out.folder(EXPORT),
                tensors=checkpoint.weights(best["state"]),
                about=best["about"],
                description=words.description,
            )
            self.out.write_atomic((json.dumps(summary, indent=1) + "\n").encode(), SUMMARY)
        return summary


def _model(setup: TrainingSetup[M], loaders: Loaders, about: Mapping[str, Any] | None) -> M:
    """A new model, initialized from the seed, or the model of the checkpoint to resume."""
    task, options = setup.task, setup.training
    with own_random_numbers(CPU):
        torch.manual_seed(options.seed)
        model = task.model(loaders.sample) if about is None else _restored(task, about, setup.output.root)
    wanted = task.solvable if options.closed_form == "auto" else options.closed_form
    if wanted and about is None and not task.solve(model, loaders.sample):
        raise UserError(
            f"training.closed_form: {setup.plain['model']['kind']} has no closed-form solution. Set it to auto."
        )
    return model


def _about(setup: TrainingSetup[M], model: M, loaders: Loaders) -> dict[str, Any]:
    """The description in a checkpoint."""
    return {
        "model": setup.plain["model"],
        **setup.task.describe(model),
        HASH: loaders.source_hash,
        "config": dict(setup.plain),
        "rows": loaders.rows,
        "val_rows": loaders.val_rows,
    }


class _Latest(Callback):
    """Keeps the last report, for the summary."""

    report: EpochReport | None = None

    def on_epoch_saved(self, report: EpochReport, model: nn.Module) -> None:
        self.report = report


def _restored(task: TrainingTask[M], about: Mapping[str, Any], root: str) -> M:
    """The model of a checkpoint. Raises CheckpointError if its description is damaged."""
    try:
        return task.restored(about)
    except CheckpointError:
        raise
    except UserError as error:
        raise CheckpointError(
            f"{root}/{CHECKPOINTS}/{LAST}: {str(error).rstrip('.')}. {checkpoint.REMEDY}"
        ) from error


def _tensorboard(setup: TrainingSetup[Any], out: Place) -> list[Callback]:
    """The TensorBoard callback, if it is enabled and the folder is local."""
    if not setup.output.tensorboard or out.local is None:
        return []
    from mocap_ray.training.tensorboard import TensorBoardFiles, hparams

    count, task = setup.output.pictures, setup.task
    settings = hparams(setup.plain, only=setup.searched)
    picture = (lambda model: task.picture(model, count=count)) if count else None
    return [TensorBoardFiles(out.local / "tensorboard", picture=picture, settings=settings)]


def _summary(
    setup: TrainingSetup[M],
    model: M,
    loaders: Loaders,
    result: FitResult,
    last: EpochReport | None,
    team: Team,
) -> dict[str, Any]:
    """The content of summary.json, as plain JSON values."""
    best = {"best_loss": result.best_loss}
    best |= {f"best_{unit}": value for unit, value in setup.task.other_units(result.best_loss).items()}
    return {
        "kind": setup.plain["model"]["kind"],
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        **setup.task.summary(model),
        "rows": loaders.rows,
        "val_rows": loaders.val_rows,
        "feed": loaders.location,
        HASH: loaders.source_hash,
        "workers": team.world,
        "device": str(team.device),
        **{k: v for k, v in asdict(result).items() if k != "best_loss"},
        **{k: v if math.isfinite(v) else None for k, v in best.items()},
        "train_loss": last.train["loss"] if last else None,
        "samples_per_s": last.samples_per_s if last else None,
        "waiting": last.waiting if last else None,
        "root": setup.output.root,
    }
