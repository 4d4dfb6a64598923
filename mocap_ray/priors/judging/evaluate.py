"""Evaluate trained priors on disk: read them, choose the poses, compute the figures, note their limits."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from pydantic import JsonValue

from mocap_ray.dataset.poses import Poses, manifest_hash, open_source, read_poses
from mocap_ray.errors import UserError
from mocap_ray.priors.forms import parts_of
from mocap_ray.priors.judging.judge import judge
from mocap_ray.priors.judging.judgement import Judgement, JudgeOptions
from mocap_ray.priors.judging.progress import Progress, part, silent
from mocap_ray.priors.load import config_of, prior_of
from mocap_ray.priors.task import WORDS
from mocap_ray.training.trained import read_trained
from mocap_ray.wording import counted

READING = 0.03
"""Share of an evaluation for reading the poses, about."""


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """One prior of an evaluation: its short name, the file it was read from, and its figures."""

    name: str
    where: str
    judgement: Judgement


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """The result of `evaluate`.

    Attributes:
        priors: in the order of the paths.
        root, split, train: the data set, its held-out split and its training split.
        poses, clips: size of the held-out split; `JudgeOptions` says how many poses were drawn.
        notes: caveats about the figures, most serious first.
        real: [S, 55, 3] a few of the held-out poses, to show beside the samples.
    """

    priors: list[Judged]
    root: str
    split: str
    train: str
    poses: int
    clips: int
    notes: list[str]
    real: Float[np.ndarray, "S 55 3"]

    def summary(self) -> dict[str, JsonValue]:
        """All figures without the curves, as plain JSON values."""
        return {
            "data": {"root": self.root, "split": self.split, "train": self.train},
            "poses": self.poses,
            "clips": self.clips,
            "notes": list(self.notes),
            "priors": {p.name: {"where": p.where, **p.judgement.summary()} for p in self.priors},
        }


def evaluate(
    paths: Sequence[str | os.PathLike[str]],
    *,
    root: str | os.PathLike[str] | None = None,
    split: str | None = None,
    dataset: str | None = None,
    options: JudgeOptions | None = None,
    device: str = "cpu",
    progress: Progress = silent,
) -> Evaluation:
    """Judge one or more priors on the same poses.

    Args:
        paths: folders of trainings, checkpoints or exports, as for `mocap_ray.load_prior`.
        root: the data set; None: the one that the first prior was trained on.
        split: the held-out split; None: `test` if the data set has one, else the validation split of the training.
        dataset: only this sub-dataset; None: the one that the first prior was trained on.
        options: how much to compute.
        device: device to compute on.
        progress: is called often; see `judging.progress`.

    Raises:
        CheckpointError: a path without a trained prior.
        DataSetError: no data set, no such split, no poses.
        UserError: no paths, no such device, or a prior that cannot be judged.
    """
    if not paths:
        raise UserError("No priors to judge. Expected folders of trainings, checkpoints or exports.")
    check_device(device)
    loaded = [read_trained(path, WORDS) for path in paths]
    names = short_names([str(path) for path in paths], [config_of(each).kind for each in loaded])
    data = _trained_on(loaded[0].about)
    if root is None and "root" not in data:
        raise UserError(
            f"{loaded[0].where}: does not record the data set it was trained on. Name the data set with --data."
        )
    root = str(root if root is not None else data["root"])
    dataset = dataset if dataset is not None else data.get("dataset")
    source = open_source(root)
    train_split = data.get("train", "train")
    split = split or ("test" if "test" in source.splits else data.get("val", "val"))
    progress(0.0, "reading poses")
    parts = _parts([each.about for each in loaded])
    held_out = read_poses(root, split=split, dataset=dataset, parts=parts)
    train = read_poses(root, split=train_split, dataset=dataset, parts=parts)
    judged = []
    for k, (name, each) in enumerate(zip(names, loaded, strict=True)):
        prior = prior_of(each).to(device)
        judgement = judge(
            prior,
            train=torch.as_tensor(train.rotvecs),
            held_out=torch.as_tensor(held_out.rotvecs),
            clips=torch.as_tensor(held_out.clip_index),
            options=options,
            progress=part(
                progress,
                READING + (1 - READING) * k / len(names),
                READING + (1 - READING) * (k + 1) / len(names),
                name=name,
            ),
        )
        judged.append(Judged(name, each.where, judgement))
    notes = _notes(judged, [each.about for each in loaded], manifest=manifest_hash(source), split=split)
    return Evaluation(
        priors=judged,
        root=root,
        split=split,
        train=train_split,
        poses=len(held_out),
        clips=len(held_out.clip_ids),
        notes=notes,
        real=_spread(held_out, judged[0].judgement.options.seed),
    )


def check_device(device: str) -> None:
    """Raise UserError for a device that torch cannot use on this machine."""
    if device.partition(":")[0] not in ("cpu", "cuda"):
        raise UserError(f"device {device!r}: expected cpu, cuda or cuda:N.")
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).split("\n")[0]
        raise UserError(f"device {device!r}: torch cannot use it here ({first}). Choose cpu.") from error


def _spread(poses: Poses, seed: int, *, count: int = 24) -> Float[np.ndarray, "S 55 3"]:
    """A few poses, from different clips if there are enough."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(poses))
    _, first = np.unique(poses.clip_index[order], return_index=True)
    rest = np.setdiff1d(np.arange(len(order)), first, assume_unique=True)
    picked = np.concatenate([rng.permutation(first), rest])[:count]
    chosen: Float[np.ndarray, "S 55 3"] = poses.rotvecs[order[picked]]
    return chosen


def short_names(paths: Sequence[str], kinds: Sequence[str]) -> list[str]:
    """A unique name for each path: the training's folder, with the checkpoint or a number if needed.

    >>> short_names(["runs/flow", "runs/flow/checkpoints/last.pt", "x/export"], ["joint_flow"] * 3)
    ['flow', 'flow last', 'x']
    """
    names: list[str] = []
    for path, kind in zip(paths, kinds, strict=True):
        parts = [p for p in path.rstrip("/").split("/") if p not in (".", "..", "")]
        parts = [p for p in parts if p not in ("checkpoints", "export", "prior.json", "model.safetensors")]
        file = parts.pop().removesuffix(".pt") if parts and parts[-1].endswith(".pt") else "best"
        name = (parts[-1] if parts else kind) + ("" if file == "best" else f" {file}")
        same = sum(n == name or n.startswith(f"{name} (") for n in names)
        names.append(f"{name} ({same + 1})" if same else name)
    return names


def _notes(
    judged: Sequence[Judged], abouts: Sequence[Mapping[str, JsonValue]], *, manifest: str, split: str
) -> list[str]:
    notes = []
    unbounded = {joint: reason for p in judged for joint, reason in p.judgement.unbounded.items()}
    if unbounded:
        listed = "; ".join(f"{joint.replace('_', ' ')}: {reason}" for joint, reason in unbounded.items())
        notes.append(
            "The likelihood is unbounded on some joints, so NLLs of flows mean little here. "
            f"{listed}. Train without them (data.joints with a list of names) to compare NLLs."
        )
    if len({p.judgement.index for p in judged}) > 1:
        text = ", ".join(f"{p.name} {p.judgement.likelihood.active}" for p in judged)
        notes.append(
            f"The priors are densities over different axes ({text}), so their NLLs and averages over joints are "
            "not comparable. Train them with the same data.joints."
        )
    if any(p.judgement.likelihood.bound for p in judged):
        samples = counted(judged[0].judgement.options.importance, "importance sample")
        notes.append(
            f"The NLL of a VAE is an upper bound, from {samples} per pose; its energy, used for all other figures, "
            "is the ELBO with one sample."
        )
    others = [p.name for p, a in zip(judged, abouts, strict=True) if a.get("manifest_hash") != manifest]
    if others:
        notes.append(
            f"Trained on another data set, or on another version of it: {', '.join(others)}. Subjects of this split "
            "may have been in the training data."
        )
    chosen = [p.name for p, a in zip(judged, abouts, strict=True) if _trained_on(a).get("val") == split]
    if chosen:
        notes.append(
            f"The split {split} chose the best epoch of {', '.join(chosen)}, so its figures are slightly optimistic."
        )
    broken = [f"{p.name} {p.judgement.samples.broken}" for p in judged if p.judgement.samples.broken]
    if broken:
        notes.append(f"Samples with non-finite values, excluded from all figures: {', '.join(broken)}.")
    return notes


def _trained_on(about: Mapping[str, JsonValue]) -> dict[str, str]:
    """The string values of the `data` section in the description of a prior; empty if it has no such section."""
    config = about.get("config")
    data = config.get("data") if isinstance(config, dict) else None
    return {k: v for k, v in data.items() if isinstance(v, str)} if isinstance(data, dict) else {}


def _parts(abouts: Sequence[Mapping[str, JsonValue]]) -> tuple[str, ...] | None:
    """The parts of a pose that these priors model together; None, all of them, if one does not say."""
    found: dict[str, None] = {}
    for about in abouts:
        config = about.get("config")
        data = config.get("data") if isinstance(config, dict) else None
        joints = data.get("joints") if isinstance(data, dict) else None
        if not isinstance(joints, str | list):
            return None
        try:
            found |= dict.fromkeys(parts_of(joints if isinstance(joints, str) else [str(j) for j in joints]))  # type: ignore[arg-type]
        except UserError:
            return None
    return tuple(found)
