"""The folder `best/` of a search: the best trial, as an export and a checkpoint."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from mocap_ray.searching.population import TRIAL_NAME
from mocap_ray.searching.results import Trial, name
from mocap_ray.storage import Place
from mocap_ray.training import checkpoint
from mocap_ray.training.folds import FOLDS, fold_folders
from mocap_ray.training.means import fold_rows
from mocap_ray.training.prepare import CONFIG


def export_best(out: Place, trial: Trial, *, metric: str, description: str) -> int | None:
    """Write `best/`: export, checkpoint, config and record of the best trial.

    The exports are made from `best.pt`, because a trial that was stopped early has none. Of a trial with folds,
    `best/folds/` has those of each fold, and `best/` itself those of one: the fold with the median of the metric.

    Args:
        out: folder of the search.
        trial: the best trial.
        metric: column of metrics.csv.
        description: name of the JSON file in an export, see `training.task.TaskWords`.

    Returns:
        The fold in `best/`; None without folds.

    Raises:
        FileNotFoundError: the trial has no checkpoint.
    """
    source, target = out.folder("trials", name(trial.number)), out.folder("best")
    if target.exists(FOLDS):
        target.fs.delete_dir(target.join(FOLDS))
    folds = fold_folders(source)
    for number, fold in enumerate(folds):
        _export(fold, target.folder(FOLDS, str(number)), description=description)
    median = _median_fold(folds, trial, metric) if folds else None
    _export(source if median is None else folds[median], target, description=description)
    target.write_atomic(source.read(TRIAL_NAME), TRIAL_NAME)
    return median


def _export(source: Place, target: Place, *, description: str) -> None:
    """Write export, checkpoint and config of a training into another folder."""
    folder = source.folder(checkpoint.CHECKPOINTS)
    best = checkpoint.read(folder, checkpoint.BEST)
    checkpoint.export(
        target.folder(checkpoint.EXPORT),
        tensors=checkpoint.weights(best["state"]),
        about=best["about"],
        description=description,
    )
    target.write_atomic(folder.read(checkpoint.BEST), checkpoint.CHECKPOINTS, checkpoint.BEST)
    target.write_atomic(source.read(CONFIG), CONFIG)


def _median_fold(folds: Sequence[Place], trial: Trial, metric: str) -> int:
    """The fold whose value is the median in the epoch of the checkpoints; the lower one of two."""
    epoch = int(
        checkpoint.read(folds[0].folder(checkpoint.CHECKPOINTS), checkpoint.BEST)["state"]["counters"][
            "epoch"
        ]
    )
    values = [fold_rows(fold, until=epoch).get(epoch, {}).get(metric, math.inf) for fold in folds]
    return values.index(statistics.median_low(values))
