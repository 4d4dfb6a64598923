"""Before a training: whether its data can be trained on, and what its output folder holds already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mocap_ray.config import dump_yaml
from mocap_ray.errors import UserError
from mocap_ray.options import differences
from mocap_ray.storage import place
from mocap_ray.training import checkpoint
from mocap_ray.training.checkpoint import CHECKPOINTS, LAST, CheckpointError
from mocap_ray.training.task import Facts, TrainingSetup
from mocap_ray.training.trackers import check_trackers

FREE = ("max_epochs", "max_minutes", "patience", "min_delta", "val_every", "device", "compile")
"""Keys of `training` that may change at a resume."""
FREE_DATA = ("root", "feed", "memory_share")
"""Likewise of `data`: where the rows are, and how they get to the model."""
HASH = "manifest_hash"
"""Key of a checkpoint's description under which `Facts.source_hash` is."""
WRITTEN = (
    "config.yaml",
    "checkpoints",
    "export",
    "metrics.csv",
    "tensorboard",
    "summary.json",
    "trackers.json",
    "wandb",
)


def check_data(setup: TrainingSetup[Any]) -> Facts:
    """Look whether the training could start, without reading its rows.

    Raises:
        UserError: data that cannot be trained on, or a tracker that cannot work.
    """
    check_trackers(setup.output, place(setup.output.root))
    return setup.task.check()


def prepare(setup: TrainingSetup[Any], *, resume: bool = False, overwrite: bool = False) -> Facts:
    """Check data and output folder, make room for the training, and write config.yaml.

    Args:
        setup: of the training.
        resume: go on from the last checkpoint; without one the training starts.
        overwrite: remove the training in `output.root` first.

    Raises:
        UserError: the data cannot be trained on; `output.root` holds a training and neither resume nor overwrite
            was asked for; or it holds another training than the one to be resumed.
    """
    facts = check_data(setup)
    out = place(setup.output.root)
    if out.exists("manifest.json"):
        raise UserError(f"output.root {out.uri}: is a data set. Choose another folder for the training.")
    stands = out.exists("checkpoints", LAST)
    if stands and not (resume or overwrite):
        raise UserError(
            f"output.root {out.uri}: holds a training already. Go on with it by --resume, replace it by "
            "--overwrite, or choose another folder by --override output.root=..."
        )
    if overwrite:
        for info in out.files():
            if out.relative(info.path).split("/")[0] in WRITTEN:
                out.remove(out.relative(info.path))
    elif stands:
        compare(
            checkpoint.read(out.folder(CHECKPOINTS), LAST)["about"],
            setup,
            facts.source_hash,
            where=out.uri,
        )
    out.write_atomic(dump_yaml(setup.plain).encode(), "config.yaml")
    return facts


def compare(about: Mapping[str, Any], setup: TrainingSetup[Any], source_hash: str, *, where: str) -> None:
    """Refuse to resume what is another training. Raises CheckpointError with every difference."""
    if about.get(HASH) != source_hash:
        raise CheckpointError(
            f"{where}: was trained on another data set (manifest {str(about.get(HASH))[:12]}; "
            f"{setup.data.root} is {source_hash[:12]}), whose statistics it holds. Choose another output.root, or "
            "--overwrite."
        )
    old, new = (_fixed(plain) for plain in (about["config"], setup.plain))
    lines = differences(old, new)
    if lines:
        listed = "".join(f"\n  {line}" for line in lines)
        raise CheckpointError(
            f"{where}: cannot be resumed with other settings:{listed}\nSet them back, choose another "
            f"output.root, or --overwrite. These may change: training.{', training.'.join(FREE)}."
        )


def _fixed(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The settings on which the losses depend."""
    data = {k: v for k, v in plain["data"].items() if k not in FREE_DATA}
    training = {k: v for k, v in plain["training"].items() if k not in FREE}
    return {"model": plain["model"], "data": data, "training": training}
