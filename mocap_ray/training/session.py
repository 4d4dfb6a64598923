"""A training from its setup to its exported model, in one process or in a process group.

`prepare.prepare` runs once, before any worker starts. `run` runs in each process of the group, and resumes from the
last checkpoint if there is one. `train_locally` does both in a single process.

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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from mocap_ray.errors import UserError
from mocap_ray.storage import Place, place
from mocap_ray.training import checkpoint
from mocap_ray.training.callbacks import Callback, CallbackList, EpochReport, MetricsFile
from mocap_ray.training.checkpoint import CHECKPOINTS, EXPORT, LAST, CheckpointError, Checkpoints
from mocap_ray.training.fit import FitResult, fit
from mocap_ray.training.loaders import Loaders, memory_loaders
from mocap_ray.training.memory import fits_in_memory
from mocap_ray.training.prepare import HASH, compare, prepare
from mocap_ray.training.rows import TrainingDataError
from mocap_ray.training.streaming import ShardReader, stream_loaders
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
    team = team or alone(setup.training.device)
    callbacks: list[Callback] = [callback] if callback is not None and team.rank == 0 else []
    out = place(setup.output.root)
    loaders = _loaders(setup, team, reader)
    trackers: list[Tracker] = []
    if team.rank == 0:
        trackers = make_trackers(setup.output, setup.plain, out, CallbackList(callbacks).on_note)
    summary = None
    try:
        summary = _run(setup, loaders, team, callbacks, trackers)
        return summary
    finally:
        loaders.close()
        for tracker in trackers:
            tracker.close(summary)


def train_locally(
    setup: TrainingSetup[M],
    callback: Callback | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Run a complete training in this process, without Ray; see `prepare` and `run`."""
    prepare(setup, resume=resume, overwrite=overwrite)
    return run(setup, callback=callback)


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


def _run(
    setup: TrainingSetup[M], loaders: Loaders, team: Team, callbacks: list[Callback], trackers: list[Tracker]
) -> dict[str, Any]:
    task, out = setup.task, place(setup.output.root)
    folder = out.folder(CHECKPOINTS)
    saved = checkpoint.read(folder, LAST, resumable=True) if folder.exists(LAST) else None
    if saved is not None:
        compare(saved["about"], setup, loaders.source_hash, where=out.uri)
    model = _model(setup, loaders, None if saved is None else saved["about"]).to(team.device)
    latest, checkpoints = _Latest(), None
    if team.rank == 0:
        checkpoints = Checkpoints(folder, about=_about(setup, model, loaders))
        callbacks += [latest, MetricsFile(out), *_tensorboard(setup, out), *trackers]
        if loaders.val is None:
            CallbackList(callbacks).on_note(
                f"There are no {setup.words.rows} to validate on in the split '{setup.data.val}', so the training loss "
                "decides which epoch is the best."
            )
    seed = setup.training.seed
    result = _fit(
        folder,
        model,
        loaders.train,
        options=setup.training,
        validate=None if loaders.val is None else validation(task, model, loaders.val, team, seed=seed),
        checkpoints=checkpoints,
        callback=CallbackList(callbacks),
        resume=None if saved is None else saved["state"],
        team=team,
        words=task.words,
        solved=setup.training.closed_form == "auto" and task.solvable,
    )
    summary = _summary(setup, model, loaders, result, latest.report, team)
    if team.rank == 0:
        best = checkpoint.read(folder, checkpoint.BEST if result.best_epoch else LAST)
        checkpoint.export(
            out.folder(EXPORT),
            tensors=checkpoint.weights(best["state"]),
            about=best["about"],
            description=task.words.description,
        )
        out.write_atomic((json.dumps(summary, indent=1) + "\n").encode(), "summary.json")
    return summary


def _fit(folder: Place, *arguments: Any, **settings: Any) -> FitResult:
    """`fit`, which does not know the file that it resumes from."""
    try:
        return fit(*arguments, **settings)
    except CheckpointError as error:
        raise CheckpointError(f"{folder.uri}/{LAST}: {error} {checkpoint.REMEDY}") from error


def _loaders(setup: TrainingSetup[Any], team: Team, reader: Callable[[], ShardReader] | None) -> Loaders:
    """Load into memory or stream; the same choice on all ranks."""
    data = setup.data
    kind = data.feed
    if kind == "auto":
        fits = fits_in_memory(setup.task.check().size * team.world, share=data.memory_share)
        kind = "memory" if team.mean({"fits": float(fits)})["fits"] == 1 else "stream"
    if kind == "memory":
        return memory_loaders(setup, team)
    if reader is None:
        raise TrainingDataError(
            f"{data.root}: {setup.task.check().size / 1e9:.1f} GB of {setup.words.rows} must be streamed (data.feed "
            f"{data.feed}), which needs Ray. Use `mocap-ray train`, or set data.feed=memory."
        )
    return stream_loaders(setup, team, reader())


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
