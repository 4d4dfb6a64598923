"""A training from its config to its exported prior, on one process or as one of a team.

`check` and `prepare` run once, before anything is started; `run` runs in each process of a team and goes on
from the last checkpoint where there is one. `train_locally` is all three, alone.

    <output.root>/config.yaml           as resolved
    <output.root>/checkpoints/          best.pt, last.pt
    <output.root>/export/               model.safetensors, prior.json: the best, when the training has ended
    <output.root>/metrics.csv           a row per epoch
    <output.root>/tensorboard/
    <output.root>/trackers.json         only with `output.tracker`, see trackers.py
    <output.root>/summary.json          when the training has ended
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from mocap_ray import priors
from mocap_ray.config import dump_yaml
from mocap_ray.dataset.poses import COLUMN, ROW_BYTES, manifest_hash, pose_rows
from mocap_ray.dataset.reader import DataSet, open
from mocap_ray.dataset.views import DataSetError
from mocap_ray.options import differences
from mocap_ray.priors import Coordinates, Prior
from mocap_ray.runs.train import TrainConfig
from mocap_ray.storage import Place, place
from mocap_ray.training import checkpoint
from mocap_ray.training.checkpoint import CHECKPOINTS, LAST, CheckpointError, Checkpoints
from mocap_ray.training.feed import fits_in_memory
from mocap_ray.training.feeds import Feeds, memory_feeds
from mocap_ray.training.fit import FitResult, Team, fit
from mocap_ray.training.listener import EpochReport, Listener, Listeners, MetricsFile
from mocap_ray.training.trackers import Tracker, check_trackers, make_trackers

FREE = ("max_epochs", "max_minutes", "patience", "min_delta", "val_every", "device", "compile")
"""Keys of `training` that may change at a resume."""
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

Stream = Callable[[TrainConfig, Team], Feeds]
"""Makes the feeds that read from disk; `distributed/` has it, since it needs Ray Data."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the manifest of a data set says of a training.

    Attributes:
        rows: poses to train on, at most.
        val_rows: poses to validate on, at most; 0 without such a split.
        manifest_hash: see `poses.manifest_hash`.
    """

    rows: int
    val_rows: int
    manifest_hash: str

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return (self.rows + self.val_rows) * ROW_BYTES


def check(config: TrainConfig) -> Facts:
    """Look whether the data set can be trained on, without reading its poses.

    Raises:
        DataSetError: it cannot; says what to do.
        ValueError: a tracker that cannot work.
    """
    check_trackers(config, place(config.output.root))
    data = config.data
    source = open(data.root)
    source.checked_columns([COLUMN])
    rows = pose_rows(source, split=data.train, dataset=data.dataset)
    if not rows:
        raise DataSetError(
            f"{data.root}: no clip in split '{data.train}'"
            + (f" of dataset '{data.dataset}'" if data.dataset else "")
            + f". Splits are {', '.join(source.splits)}; set data.train."
        )
    return Facts(rows, _val_rows(source, config), manifest_hash(source))


def _val_rows(source: DataSet, config: TrainConfig) -> int:
    if config.data.val not in source.splits:
        return 0
    return pose_rows(source, split=config.data.val, dataset=config.data.dataset)


def prepare(config: TrainConfig, *, resume: bool = False, overwrite: bool = False) -> Facts:
    """Check data and output folder, settle what stands there, and write config.yaml.

    Args:
        config: the whole config.
        resume: go on from the last checkpoint; without one the training starts.
        overwrite: remove the training that stands in `output.root` first.

    Raises:
        ValueError: the data cannot be trained on; a training stands in `output.root` and neither resume nor
            overwrite was asked for; or what stands there is another training than the one to be resumed.
    """
    facts = check(config)
    out = place(config.output.root)
    if out.exists("manifest.json"):
        raise ValueError(f"output.root {out.uri}: is a data set. Choose another folder for the training.")
    stands = out.exists("checkpoints", LAST)
    if stands and not (resume or overwrite):
        raise ValueError(
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
            config,
            facts.manifest_hash,
            where=out.uri,
        )
    out.publish(dump_yaml(config.plain()).encode(), "config.yaml")
    return facts


def compare(about: dict[str, Any], config: TrainConfig, manifest: str, *, where: str) -> None:
    """Refuse to resume what is another training. Raises CheckpointError with every difference."""
    if about.get("manifest_hash") != manifest:
        raise CheckpointError(
            f"{where}: was trained on another data set (manifest {str(about.get('manifest_hash'))[:12]}; "
            f"{config.data.root} is {manifest[:12]}), whose statistics it holds. Choose another output.root, or "
            "--overwrite."
        )
    old, new = (_fixed(plain) for plain in (about["config"], config.plain()))
    lines = differences(old, new)
    if lines:
        listed = "".join(f"\n  {line}" for line in lines)
        raise CheckpointError(
            f"{where}: cannot be resumed with other settings:{listed}\nSet them back, choose another "
            f"output.root, or --overwrite. These may change: training.{', training.'.join(FREE)}."
        )


def _fixed(plain: dict[str, Any]) -> dict[str, Any]:
    """The settings on which the losses depend."""
    data = {k: v for k, v in plain["data"].items() if k not in ("root", "feed", "memory_share")}
    training = {k: v for k, v in plain["training"].items() if k not in FREE}
    return {"model": plain["model"], "data": data, "training": training}


def run(
    config: TrainConfig,
    *,
    team: Team | None = None,
    listener: Listener | None = None,
    stream: Stream | None = None,
) -> dict[str, Any]:
    """One process of a prepared training; goes on from the last checkpoint where there is one.

    Args:
        config: as `prepare` saw it.
        team: alone on the config's device by default.
        listener: hears of progress in rank 0.
        stream: makes feeds for a data set that is not held in memory.

    Returns:
        The summary, as in summary.json, in every process.

    Raises:
        ValueError: data that cannot be trained on, or a loss that is not finite (`watch.NonFinite`).
    """
    team = team or alone(config)
    heard: list[Listener] = [listener] if listener is not None and team.rank == 0 else []
    out = place(config.output.root)
    feeds = _feeds(config, team, stream)
    trackers = make_trackers(config, out, Listeners(heard).note) if team.rank == 0 else []
    summary = None
    try:
        summary = _run(config, feeds, team, heard, trackers)
        return summary
    finally:
        feeds.close()
        for tracker in trackers:
            tracker.close(summary)


def _run(
    config: TrainConfig, feeds: Feeds, team: Team, heard: list[Listener], trackers: list[Tracker]
) -> dict[str, Any]:
    out = place(config.output.root)
    found = checkpoint.read(out.folder(CHECKPOINTS), LAST) if out.exists("checkpoints", LAST) else None
    if found is not None:
        compare(found["about"], config, feeds.manifest_hash, where=out.uri)
    model = _model(config, feeds, found).to(team.device)
    about = {
        **model.export(),
        "manifest_hash": feeds.manifest_hash,
        "config": config.plain(),
        "rows": feeds.rows,
        "val_rows": feeds.val_rows,
    }
    latest = _Latest()
    checkpoints = None
    if team.rank == 0:
        checkpoints = Checkpoints(out.folder(CHECKPOINTS), about=about)
        heard += [latest, MetricsFile(out), *_tensorboard(config, out), *trackers]
        if feeds.val is None:
            Listeners(heard).note(
                f"There is no split '{config.data.val}': the training loss decides which epoch is the best."
            )
    validate = None if feeds.val is None else validation(model, feeds.val, team, seed=config.training.seed)
    result = fit(
        model,
        feeds.train,
        options=config.training,
        validate=validate,
        checkpoints=checkpoints,
        listener=Listeners(heard),
        resume=None if found is None else found["state"],
        team=team,
    )
    summary = _summary(config, model, feeds, result, latest.report, team)
    if team.rank == 0:
        best = checkpoint.read(out.folder(CHECKPOINTS), checkpoint.BEST if result.best_epoch else LAST)
        export = place(f"{config.output.root}/export")
        checkpoint.export(export, tensors=checkpoint.weights(best["state"]), about=best["about"])
        out.publish((json.dumps(summary, indent=1) + "\n").encode(), "summary.json")
    return summary


def train_locally(
    config: TrainConfig, listener: Listener | None = None, *, resume: bool = False, overwrite: bool = False
) -> dict[str, Any]:
    """The whole training in this process, without Ray; see `prepare` and `run`."""
    prepare(config, resume=resume, overwrite=overwrite)
    return run(config, listener=listener)


def alone(config: TrainConfig) -> Team:
    """A team of one on the device that the config names.

    Raises:
        ValueError: `cuda` without a GPU.
    """
    asked, there = config.training.device, torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise ValueError("training.device cuda: torch sees no GPU here. Use device: auto.")
    return Team(device=torch.device("cuda" if there and asked != "cpu" else "cpu"))


def validation(
    model: Prior, batches: Callable[[], Any], team: Team, *, seed: int
) -> Callable[[], dict[str, float]]:
    """Negative log density of the validation rows, nats and bits per active dimension, over the whole team.

    It is the model's score and not its training loss, which may be warming up; with the same random numbers
    at each call, so that a bound that draws some is compared under equal luck.
    """

    def validate() -> dict[str, float]:
        total, rows = 0.0, 0
        gpus = [team.device] if team.device.type == "cuda" else []
        with torch.random.fork_rng(devices=gpus):
            torch.manual_seed(seed)
            for batch in batches():
                total -= float(model.log_prob(batch).double().sum())
                rows += len(batch)
        sums = team.mean({"total": total, "rows": float(rows)})
        loss = sums["total"] / sums["rows"] / model.coordinates.active
        return {"loss": loss, "bits": loss / math.log(2)}

    return validate


def _feeds(config: TrainConfig, team: Team, stream: Stream | None) -> Feeds:
    """Memory or stream, the same in all processes of a team."""
    kind = config.data.feed
    if kind == "auto":
        size = check(config).size * team.world
        fits = fits_in_memory(size, share=config.data.memory_share)
        kind = "memory" if team.mean({"fits": float(fits)})["fits"] == 1 else "stream"
    if kind == "memory":
        return memory_feeds(config, team)
    if stream is None:
        raise DataSetError(
            f"{config.data.root}: {check(config).size / 1e9:.1f} GB of poses are to be streamed (data.feed "
            f"{config.data.feed}), which needs Ray: use `mocap-ray train`, or set data.feed=memory."
        )
    return stream(config, team)


def _model(config: TrainConfig, feeds: Feeds, found: dict[str, Any] | None) -> Prior:
    """The model on its coordinates, which a resumed training takes from its checkpoint."""
    if found is not None:
        coordinates = Coordinates.from_description(found["about"]["coordinates"])
    else:
        coordinates = priors.fit_coordinates(config.model, feeds.sample, joints=config.data.joints)
    with torch.random.fork_rng():
        torch.manual_seed(config.training.seed)
        model = priors.build(config.model, coordinates)
    if config.training.closed_form and found is None:
        solve: Any = getattr(model, "fit_closed_form", None)
        if solve is None:
            raise ValueError(f"training.closed_form: {config.model.kind} has none. Set it to false.")
        solve(torch.from_numpy(feeds.sample))
    return model


class _Latest(Listener):
    """Keeps the last report, for the summary."""

    report: EpochReport | None = None

    def epoch(self, report: EpochReport, model: nn.Module) -> None:
        self.report = report


def _tensorboard(config: TrainConfig, out: Place) -> list[Listener]:
    """The TensorBoard writer, where it is wanted and the folder is local."""
    if not config.output.tensorboard or out.local is None:
        return []
    from mocap_ray.training.tensorboard import TensorBoardFiles

    return [TensorBoardFiles(out.local / "tensorboard", pictures=config.output.pictures)]


def _summary(
    config: TrainConfig, model: Prior, feeds: Feeds, result: FitResult, last: EpochReport | None, team: Team
) -> dict[str, Any]:
    """What a person wants to know of a finished training, as plain JSON values."""
    judged = math.isfinite(result.best_loss)
    return {
        "kind": config.model.kind,
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "active": model.coordinates.active,
        "degenerate": model.coordinates.degenerate,
        "bound": model.bound,
        "rows": feeds.rows,
        "val_rows": feeds.val_rows,
        "feed": feeds.held,
        "manifest_hash": feeds.manifest_hash,
        "workers": team.world,
        "device": str(team.device),
        **{k: v for k, v in asdict(result).items() if k != "best_loss"},
        "best_loss": result.best_loss if judged else None,
        "best_bits": result.best_loss / math.log(2) if judged else None,
        "train_loss": last.train["loss"] if last else None,
        "samples_per_s": last.samples_per_s if last else None,
        "waiting": last.waiting if last else None,
        "root": config.output.root,
    }
