"""A training from its setup to its exported model, on one process or as one of a team.

`prepare.prepare` runs once, before anything is started; `run` runs in each process of a team and goes on from the last
checkpoint where there is one. `train_locally` is both, alone.

    <output.root>/config.yaml           as resolved
    <output.root>/checkpoints/          best.pt, last.pt
    <output.root>/export/               model.safetensors and its description: the best, when the training has ended
    <output.root>/metrics.csv           a row per epoch
    <output.root>/tensorboard/
    <output.root>/trackers.json         only with `output.tracker`, see trackers.py
    <output.root>/summary.json          when the training has ended
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
from mocap_ray.training.checkpoint import CHECKPOINTS, EXPORT, LAST, Checkpoints
from mocap_ray.training.feeds import Feeds, memory_feeds
from mocap_ray.training.fit import FitResult, fit
from mocap_ray.training.listener import EpochReport, Listener, Listeners, MetricsFile
from mocap_ray.training.memory import fits_in_memory
from mocap_ray.training.prepare import HASH, compare, prepare
from mocap_ray.training.rows import TrainingDataError
from mocap_ray.training.streaming import ShardReader, stream_feeds
from mocap_ray.training.task import M, TrainingSetup, TrainingTask
from mocap_ray.training.team import Team, own_random_numbers
from mocap_ray.training.trackers import Tracker, make_trackers

CPU = torch.device("cpu")


def run(
    setup: TrainingSetup[M],
    *,
    team: Team | None = None,
    listener: Listener | None = None,
    reader: Callable[[], ShardReader] | None = None,
) -> dict[str, Any]:
    """One process of a prepared training; goes on from the last checkpoint where there is one.

    Args:
        setup: as `prepare` saw it.
        team: alone on the config's device by default.
        listener: hears of progress in rank 0.
        reader: makes what reads rows that memory does not hold; called only where they are streamed.

    Returns:
        The summary, as in summary.json, in every process.

    Raises:
        UserError: data that cannot be trained on, or a loss that is not finite (`watch.NonFinite`).
    """
    team = team or alone(setup.training.device)
    listeners: list[Listener] = [listener] if listener is not None and team.rank == 0 else []
    out = place(setup.output.root)
    feeds = _feeds(setup, team, reader)
    trackers: list[Tracker] = []
    if team.rank == 0:
        trackers = make_trackers(setup.output, setup.plain, out, Listeners(listeners).note)
    summary = None
    try:
        summary = _run(setup, feeds, team, listeners, trackers)
        return summary
    finally:
        feeds.close()
        for tracker in trackers:
            tracker.close(summary)


def train_locally(
    setup: TrainingSetup[M],
    listener: Listener | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """The whole training in this process, without Ray; see `prepare` and `run`."""
    prepare(setup, resume=resume, overwrite=overwrite)
    return run(setup, listener=listener)


def alone(device: str) -> Team:
    """A team of one on the device that the config names: `auto`, `cpu` or `cuda`.

    Raises:
        UserError: `cuda` without a GPU.
    """
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise UserError("training.device cuda: torch sees no GPU here. Use device: auto.")
    return Team(device=torch.device("cuda" if there and device != "cpu" else "cpu"))


def validation(
    task: TrainingTask[M], model: M, batches: Callable[[], Iterable[Tensor]], team: Team, *, seed: int
) -> Callable[[], dict[str, float]]:
    """The task's figures of the validation rows, with its loss in other units.

    With the same random numbers at each call, so that a loss that draws some is compared under equal luck.
    """

    def validate() -> dict[str, float]:
        with own_random_numbers(team.device):
            torch.manual_seed(seed)
            figures = task.validate(model, batches(), team)
        return {**figures, **task.other_units(figures["loss"])}

    return validate


def _run(
    setup: TrainingSetup[M], feeds: Feeds, team: Team, listeners: list[Listener], trackers: list[Tracker]
) -> dict[str, Any]:
    task, out = setup.task, place(setup.output.root)
    folder = out.folder(CHECKPOINTS)
    found = checkpoint.read(folder, LAST) if folder.exists(LAST) else None
    if found is not None:
        compare(found["about"], setup, feeds.source_hash, where=out.uri)
    model = _model(setup, feeds, None if found is None else found["about"]).to(team.device)
    latest, checkpoints = _Latest(), None
    if team.rank == 0:
        checkpoints = Checkpoints(folder, about=_about(setup, model, feeds))
        listeners += [latest, MetricsFile(out), *_tensorboard(setup, out), *trackers]
        if feeds.val is None:
            Listeners(listeners).note(
                f"There is no split '{setup.data.val}': the training loss decides which epoch is the best."
            )
    seed = setup.training.seed
    result = fit(
        model,
        feeds.train,
        options=setup.training,
        validate=None if feeds.val is None else validation(task, model, feeds.val, team, seed=seed),
        checkpoints=checkpoints,
        listener=Listeners(listeners),
        resume=None if found is None else found["state"],
        team=team,
        words=task.words,
    )
    summary = _summary(setup, model, feeds, result, latest.report, team)
    if team.rank == 0:
        best = checkpoint.read(folder, checkpoint.BEST if result.best_epoch else LAST)
        checkpoint.export(
            out.folder(EXPORT),
            tensors=checkpoint.weights(best["state"]),
            about=best["about"],
            description=task.words.description,
        )
        out.publish((json.dumps(summary, indent=1) + "\n").encode(), "summary.json")
    return summary


def _feeds(setup: TrainingSetup[Any], team: Team, reader: Callable[[], ShardReader] | None) -> Feeds:
    """Memory or stream, the same in all processes of a team."""
    data = setup.data
    kind = data.feed
    if kind == "auto":
        fits = fits_in_memory(setup.task.check().size * team.world, share=data.memory_share)
        kind = "memory" if team.mean({"fits": float(fits)})["fits"] == 1 else "stream"
    if kind == "memory":
        return memory_feeds(setup, team)
    if reader is None:
        raise TrainingDataError(
            f"{data.root}: {setup.task.check().size / 1e9:.1f} GB of {setup.words.rows} are to be streamed (data.feed "
            f"{data.feed}), which needs Ray: use `mocap-ray train`, or set data.feed=memory."
        )
    return stream_feeds(setup, team, reader())


def _model(setup: TrainingSetup[M], feeds: Feeds, about: Mapping[str, Any] | None) -> M:
    """A new model, or the one of the checkpoint that is resumed; of the seed alone."""
    task, options = setup.task, setup.training
    with own_random_numbers(CPU):
        torch.manual_seed(options.seed)
        model = task.model(feeds.sample) if about is None else task.restored(about)
    if options.closed_form and about is None and not task.solve(model, feeds.sample):
        raise UserError(f"training.closed_form: {setup.plain['model']['kind']} has none. Set it to false.")
    return model


def _about(setup: TrainingSetup[M], model: M, feeds: Feeds) -> dict[str, Any]:
    """What a checkpoint says of itself."""
    return {
        "model": setup.plain["model"],
        **setup.task.describe(model),
        HASH: feeds.source_hash,
        "config": dict(setup.plain),
        "rows": feeds.rows,
        "val_rows": feeds.val_rows,
    }


class _Latest(Listener):
    """Keeps the last report, for the summary."""

    report: EpochReport | None = None

    def epoch(self, report: EpochReport, model: nn.Module) -> None:
        self.report = report


def _tensorboard(setup: TrainingSetup[Any], out: Place) -> list[Listener]:
    """The TensorBoard writer, where it is wanted and the folder is local."""
    if not setup.output.tensorboard or out.local is None:
        return []
    from mocap_ray.training.tensorboard import TensorBoardFiles

    count, task = setup.output.pictures, setup.task
    picture = (lambda model: task.picture(model, count=count)) if count else None
    return [TensorBoardFiles(out.local / "tensorboard", picture=picture)]


def _summary(
    setup: TrainingSetup[M], model: M, feeds: Feeds, result: FitResult, last: EpochReport | None, team: Team
) -> dict[str, Any]:
    """What a person wants to know of a finished training, as plain JSON values."""
    best = {"best_loss": result.best_loss}
    best |= {f"best_{unit}": value for unit, value in setup.task.other_units(result.best_loss).items()}
    return {
        "kind": setup.plain["model"]["kind"],
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        **setup.task.summary(model),
        "rows": feeds.rows,
        "val_rows": feeds.val_rows,
        "feed": feeds.held,
        HASH: feeds.source_hash,
        "workers": team.world,
        "device": str(team.device),
        **{k: v for k, v in asdict(result).items() if k != "best_loss"},
        **{k: v if math.isfinite(v) else None for k, v in best.items()},
        "train_loss": last.train["loss"] if last else None,
        "samples_per_s": last.samples_per_s if last else None,
        "waiting": last.waiting if last else None,
        "root": setup.output.root,
    }
