"""Checks before a training: its data, and what its output folder already contains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from mocap_ray.config import dump_yaml
from mocap_ray.documents import Document, first_problem
from mocap_ray.errors import UserError
from mocap_ray.options import differences
from mocap_ray.storage import Place, place
from mocap_ray.training import checkpoint
from mocap_ray.training.checkpoint import CHECKPOINTS, LAST, CheckpointError
from mocap_ray.training.folds import FOLDS, each_fold, fold_folders
from mocap_ray.training.task import Facts, TrainingSetup
from mocap_ray.training.trackers import check_trackers

FREE = ("max_epochs", "max_minutes", "patience", "min_delta", "val_every", "device", "compile")
"""Keys of `training` that may change when a training is resumed."""
FREE_DATA = ("root", "feed", "memory_share")
"""Keys of `data` that may change: where the rows are, and how they are loaded."""
HASH = "manifest_hash"
"""Key of `Facts.source_hash` in the description of a checkpoint."""
SUMMARY = "summary.json"
CONFIG = "config.yaml"
WRITTEN = (
    CONFIG,
    "checkpoints",
    "export",
    "metrics.csv",
    "tensorboard",
    SUMMARY,
    "trackers.json",
    "wandb",
    FOLDS,
)


class _Config(Document):
    """The sections of a config that are compared."""

    model: dict[str, Any]
    data: dict[str, Any]
    training: dict[str, Any]


def check_data(setup: TrainingSetup[Any]) -> Facts:
    """Check that the training can start; of its rows it reads a bounded sample (`TrainingTask.look`).

    Raises:
        UserError: the data cannot be trained on, or a tracker cannot be used.
    """
    check_trackers(setup.output, place(setup.output.root))
    each = [fold.task.check() for fold in each_fold(setup)] if setup.data.every_fold else [setup.task.check()]
    setup.task.look()
    return replace(
        each[0], rows=min(facts.rows for facts in each), val_rows=min(facts.val_rows for facts in each)
    )


def prepare(setup: TrainingSetup[Any], *, resume: bool = False, overwrite: bool = False) -> Facts:
    """Check the data and the output folder, remove an overwritten training, and write config.yaml.

    Args:
        setup: the training.
        resume: resume from the last checkpoint; without a checkpoint the training starts from the beginning.
        overwrite: remove the training in `output.root` first.

    Raises:
        UserError: the data cannot be trained on; `output.root` contains a training and neither resume nor overwrite
            is set; or it contains another training than the one to resume; resume and overwrite are both set.
    """
    refuse_both(resume=resume, overwrite=overwrite)
    facts = check_data(setup)
    out = place(setup.output.root)
    if out.exists("manifest.json"):
        raise UserError(f"output.root {out.uri}: is a data set. Choose another folder for the training.")
    has_training = is_started(out)
    if has_training and not (resume or overwrite):
        raise UserError(
            f"output.root {out.uri}: already contains a training. Resume it with --resume, replace it with "
            "--overwrite, or choose another folder with --override output.root=..."
        )
    if overwrite:
        for info in out.files():
            if out.relative(info.path).split("/")[0] in WRITTEN:
                out.remove(out.relative(info.path))
    elif has_training:
        _compare_all(out, setup, facts.source_hash)
    if setup.data.every_fold:
        for fold in each_fold(setup):
            place(fold.output.root).write_atomic(dump_yaml(fold.plain).encode(), CONFIG)
    out.write_atomic(dump_yaml(setup.plain).encode(), CONFIG)
    return facts


def is_started(out: Place) -> bool:
    """Whether a folder contains a training, or one of its folds, with a checkpoint."""
    return any(folder.exists(CHECKPOINTS, LAST) for folder in (out, *fold_folders(out)))


def discard(out: Place) -> None:
    """Make `out` a training that has not started; its best checkpoint stays until that is overwritten."""
    out.remove(SUMMARY)
    for folder in (out, *fold_folders(out)):
        folder.remove(CHECKPOINTS, LAST)


def _compare_all(out: Place, setup: TrainingSetup[Any], source_hash: str) -> None:
    """Check that the checkpoints in a folder belong to this training. Raises CheckpointError."""
    folders = {folder.uri: folder for folder in (out, *fold_folders(out)) if folder.exists(CHECKPOINTS, LAST)}
    setups = each_fold(setup) if setup.data.every_fold else [setup]
    expected = {place(each.output.root).uri: each for each in setups}
    for uri, folder in folders.items():
        about = checkpoint.read(folder.folder(CHECKPOINTS), LAST, resumable=True)["about"]
        # A folder that this training would not write has other settings: they are shown.
        compare(about, expected.get(uri, setup), source_hash, where=uri)


def refuse_both(*, resume: bool, overwrite: bool) -> None:
    """Raise UserError if a run is to be resumed and to be replaced."""
    if resume and overwrite:
        raise UserError(
            "--resume and --overwrite together: --resume continues what output.root contains, --overwrite deletes it. "
            "Pass one of them."
        )


def compare(about: Mapping[str, Any], setup: TrainingSetup[Any], source_hash: str, *, where: str) -> None:
    """Check that a checkpoint belongs to this training. Raises CheckpointError with every difference."""
    if about.get(HASH) != source_hash:
        raise CheckpointError(
            f"{where}: was trained on another data set (manifest {str(about.get(HASH))[:12]}; "
            f"{setup.data.root} is {source_hash[:12]}) and uses its statistics. Choose another output.root, or use "
            "--overwrite."
        )
    try:
        config = _Config.model_validate(about.get("config"))
    except ValidationError as error:
        raise CheckpointError(
            f"{where}: its checkpoint does not say how it was trained ({first_problem(error)}). Choose another "
            "output.root, or use --overwrite."
        ) from error
    old, new = (_fixed(plain, solvable=setup.task.solvable) for plain in (config.model_dump(), setup.plain))
    lines = differences(old, new)
    if lines:
        listed = "".join(f"\n  {line}" for line in lines)
        raise CheckpointError(
            f"{where}: cannot be resumed with other settings:{listed}\nRestore them, choose another "
            f"output.root, or use --overwrite. These may change: training.{', training.'.join(FREE)}."
        )


def _fixed(plain: Mapping[str, Any], *, solvable: bool) -> dict[str, Any]:
    """The settings that affect the losses; `auto` is what it means for this task."""
    data = {k: v for k, v in plain["data"].items() if k not in FREE_DATA}
    training = {k: v for k, v in plain["training"].items() if k not in FREE}
    if training.get("closed_form") == "auto" and not solvable:
        training["closed_form"] = False
    return {"model": plain["model"], "data": data, "training": training}
