"""A training takes over the checkpoints of another one of the same shape, with values of its own."""

from __future__ import annotations

import io
from typing import Any

import torch

from mocap_ray.storage import Place
from mocap_ray.training import checkpoint
from mocap_ray.training.checkpoint import BEST, CHECKPOINTS, EXPORT, FORMAT, LAST, WEIGHTS
from mocap_ray.training.task import TrainingSetup


def epochs_of(out: Place) -> int:
    """Epochs that the last checkpoint in a training's folder has seen; 0 without one."""
    folder = out.folder(CHECKPOINTS)
    return _epoch(checkpoint.read(folder, LAST)) if folder.exists(LAST) else 0


def adopt(out: Place, donor: Place, setup: TrainingSetup[Any]) -> tuple[int, int]:
    """Replace the training in `out` by a clone of the one in `donor` that goes on with `setup`.

    Weights, their averages, the optimiser's moments, the schedule's decay and the counts of epochs and steps are
    the donor's; the optimiser's weight decay is that of `setup`, and patience counts from 0. The best epoch is
    inherited with its `best.pt`, unless the one that stands in `out` is better: no clone loses the best weights of
    a search. `metrics.csv` becomes the donor's: the history of these weights. `last.pt` is written last, so that
    after a kill `adopt` may simply be repeated.

    Args:
        out: folder of the training that is replaced; it may be empty.
        donor: folder of a training whose weights and data have the same shape; it may go on meanwhile.
        setup: of the clone.

    Returns:
        The epochs and the steps that the clone's weights have seen.

    Raises:
        FileNotFoundError: the donor has no checkpoint.
        CheckpointError: one of the two is damaged.
    """
    source, target = donor.folder(CHECKPOINTS), out.folder(CHECKPOINTS)
    found = checkpoint.read(source, LAST)
    best = checkpoint.read(source, BEST) if source.exists(BEST) else None
    if best is not None and _epoch(best) > _epoch(found):
        # The donor went on between the two reads; its best epoch is written first.
        found = best
    about, state = found["about"], found["state"]
    counters = dict(state["counters"])
    own = checkpoint.read(target, LAST)["state"]["counters"] if target.exists(LAST) else None
    if own is not None and own["best_loss"] < counters["best_loss"] and target.exists(BEST):
        counters.update({key: own[key] for key in ("best_loss", "best_epoch")})
    elif best is not None:
        _publish(target, BEST, about=best["about"], state=best["state"])
    # The ends of a training that is no longer this one.
    for path in ("summary.json", f"{EXPORT}/{setup.words.description}", f"{EXPORT}/{WEIGHTS}"):
        out.remove(path)
    if donor.exists("metrics.csv"):
        out.publish(donor.read("metrics.csv"), "metrics.csv")
    optimiser = dict(state["optimiser"])
    optimiser["param_groups"] = [
        {**group, "weight_decay": setup.training.weight_decay} for group in optimiser["param_groups"]
    ]
    state = {
        **state,
        "optimiser": optimiser,
        "schedule": {**state["schedule"], "waited": 0},
        "counters": {**counters, "waited": 0},
    }
    plain = dict(setup.plain)
    _publish(target, LAST, about={**about, "model": plain["model"], "config": plain}, state=state)
    return int(counters["epoch"]), int(counters["step"])


def _publish(folder: Place, name: str, *, about: dict[str, Any], state: dict[str, Any]) -> None:
    sink = io.BytesIO()
    torch.save({"format": FORMAT, "about": about, "state": state}, sink)
    folder.publish(sink.getvalue(), name)


def _epoch(found: dict[str, Any]) -> int:
    return int(found["state"]["counters"]["epoch"])
