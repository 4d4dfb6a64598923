"""Evaluate trained priors on disk: read them, choose the poses, compute the figures, note their limits."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from pydantic import JsonValue

from mocap_ray.dataset.poses import Poses, Source, manifest_hash, open_source, read_poses
from mocap_ray.dataset.single.reader import PoseSet
from mocap_ray.errors import UserError
from mocap_ray.priors.judging.common_axes import common_joints, still_axes
from mocap_ray.priors.judging.folds import HeldOut, fold_notes
from mocap_ray.priors.judging.folds import held_out as fold_of
from mocap_ray.priors.judging.judge import judge
from mocap_ray.priors.judging.judgement import Judgement, JudgeOptions
from mocap_ray.priors.judging.limits import QUANTILES, Limits, limits_of
from mocap_ray.priors.judging.notes import modelled_parts, notes_of, trained_on
from mocap_ray.priors.judging.progress import Progress, part, silent
from mocap_ray.priors.load import config_of, prior_of
from mocap_ray.priors.task import WORDS
from mocap_ray.training.trained import read_trained

READING = 0.03
"""Share of an evaluation for reading the poses, about."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a pose of a data set comes from: its clip, the number of its frame in the clip, and its sub-dataset."""

    clip: str
    frame: int
    dataset: str

    def __str__(self) -> str:
        return f"frame {self.frame} of {self.clip}"


@dataclass(frozen=True, slots=True)
class SinglePose(Frame):
    """The same of a single pose: its subject, its number among the held-out poses of the subject, its sub-dataset."""

    def __str__(self) -> str:
        return f"pose {self.frame} of {self.clip}"


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """One prior of an evaluation.

    Attributes:
        name: its short name.
        where: the file it was read from.
        judgement: its figures.
        worst: where the held-out pose with the highest NLL comes from, if known.
    """

    name: str
    where: str
    judgement: Judgement
    worst: Frame | None = None

    @property
    def source(self) -> str:
        """Where the worst pose comes from, for a reader."""
        return str(self.worst) if self.worst is not None else f"held-out pose {self.judgement.worst.row}"

    def summary(self) -> dict[str, JsonValue]:
        """All figures without the curves, as plain JSON values."""
        found = self.judgement.summary()
        if self.worst is not None and isinstance(worst := found["worst_pose"], dict):
            found["worst_pose"] = {**asdict(self.worst), **worst}
        return {"where": self.where, **found}


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """The result of `evaluate`.

    Attributes:
        priors: in the order of the paths.
        root, split, train: the data set, its held-out split and its training split.
        poses, clips: size of the held-out split; `JudgeOptions` says how many poses were drawn.
        notes: caveats about the figures, most serious first.
        real: [S, 55, 3] a few of the held-out poses, to show beside the samples.
        still: axes of the priors that the held-out poses hold still, or at one exact value in many poses -> reason.
    """

    priors: list[Judged]
    root: str
    split: str
    train: str
    poses: int
    clips: int
    notes: list[str]
    real: Float[np.ndarray, "S 55 3"]
    still: Mapping[str, str] = field(default_factory=dict)

    def summary(self) -> dict[str, JsonValue]:
        """All figures without the curves, as plain JSON values."""
        return {
            "data": {"root": self.root, "split": self.split, "train": self.train},
            "poses": self.poses,
            "clips": self.clips,
            "notes": list(self.notes),
            "still_axes": dict(self.still),
            "priors": {p.name: p.summary() for p in self.priors},
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
        split: the held-out split; None: the subjects that the first prior held out, if it was trained with folds; else
            `test` if the data set has one, else the validation split of the training.
        dataset: only this sub-dataset; None: the one that the first prior was trained on, if the data set has it.
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
    data = trained_on(loaded[0].about)
    fold = fold_of(loaded[0].about) if root is None and split is None else None
    if root is None and "root" not in data:
        raise UserError(_no_data(loaded[0].where))
    root = str(root if root is not None else data["root"])
    source = open_source(root)
    dataset = _sub_dataset(dataset, data, source)
    train_split = data.get("train", "train")
    split = fold.name if fold else split or ("test" if "test" in source.splits else data.get("val", "val"))
    progress(0.0, "reading poses")
    abouts = [each.about for each in loaded]
    parts = modelled_parts(abouts)
    held_out = (
        fold.read(source, dataset=dataset, parts=parts)
        if fold
        else read_poses(root, split=split, dataset=dataset, parts=parts)
    )
    poses, clips = torch.as_tensor(held_out.rotvecs), torch.as_tensor(held_out.clip_index)
    trained = _training_poses(abouts, source, split=train_split, dataset=dataset, fold=fold, parts=parts)
    loaded_priors = [prior_of(each).to(device) for each in loaded]
    indices = [prior.coordinates.index_list for prior in loaded_priors]
    still = still_axes(poses, sorted(set().union(*indices)))
    common = common_joints(indices, still)
    # Without another prior or still axes, the NLL over the common joints is the NLL.
    shared = common if any(set(common) != {i // 3 for i in index} for index in indices) else ()
    datasets = _datasets(source)
    judged = []
    for k, (name, each, prior, own) in enumerate(zip(names, loaded, loaded_priors, trained, strict=True)):
        judgement = judge(
            prior,
            train=torch.as_tensor(own.rotvecs),
            held_out=poses,
            clips=clips,
            options=options,
            common=shared,
            progress=part(
                progress,
                READING + (1 - READING) * k / len(names),
                READING + (1 - READING) * (k + 1) / len(names),
                name=name,
            ),
        )
        judged.append(
            Judged(name, each.where, judgement, _frame(held_out, judgement.worst.row, source, datasets))
        )
    notes = fold_notes(names, abouts, fold=fold, split=split)
    notes += notes_of(
        {p.name: p.judgement for p in judged},
        abouts,
        coordinates=[prior.coordinates for prior in loaded_priors],
        held_out=poses,
        still=still,
        common=shared,
        manifest=held_out.manifest_hash,
        own_poses=[
            own.manifest_hash == each.about.get("manifest_hash")
            for own, each in zip(trained, loaded, strict=True)
        ],
        split=split,
    )
    return Evaluation(
        priors=judged,
        root=root,
        split=split,
        train=train_split,
        poses=len(held_out),
        clips=len(held_out.clip_ids),
        notes=notes,
        real=_spread(held_out, judged[0].judgement.options.seed),
        still=still,
    )


def learned_limits(
    path: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    dataset: str | None = None,
    quantiles: tuple[float, float] = QUANTILES,
    seed: int = 0,
) -> tuple[str, Limits]:
    """The short name of a prior, and the range of each joint in its training poses and in its samples.

    Args:
        path: folder of a training, a checkpoint or an export.
        root: data set to read if the one that it was trained on is not where it was; None: none.
        dataset: only this sub-dataset of `root`.
        quantiles: ends of the ranges.
        seed: seed of the samples.

    Raises:
        CheckpointError: a path without a trained prior.
        DataSetError: no data set, no such split, no poses.
        UserError: wrong quantiles, or see `limits_of`.
    """
    loaded = read_trained(path, WORDS)
    data = trained_on(loaded.about)
    own = data.get("root")
    if root is None and own is None:
        raise UserError(_no_data(loaded.where))
    source = open_source(str(own if root is None else root))
    train = _training_poses(
        [loaded.about],
        source,
        split=data.get("train", "train"),
        dataset=_sub_dataset(dataset, data, source),
        fold=fold_of(loaded.about) if root is None else None,
        parts=modelled_parts([loaded.about]),
    )[0]
    found = limits_of(prior_of(loaded), torch.as_tensor(train.rotvecs), quantiles=quantiles, seed=seed)
    return short_names([str(path)], [config_of(loaded).kind])[0], found


def _no_data(where: str) -> str:
    return f"{where}: does not record the data set it was trained on. Name the data set with --data."


def _sub_dataset(wanted: str | None, data: Mapping[str, str], source: Source) -> str | None:
    """The wanted sub-dataset; without one that of the training, if the data set has it."""
    if wanted is None and data.get("dataset") in source.datasets:
        return data["dataset"]
    return wanted


def _training_poses(
    abouts: Sequence[Mapping[str, JsonValue]],
    source: Source,
    *,
    split: str,
    dataset: str | None,
    fold: HeldOut | None,
    parts: tuple[str, ...] | None,
) -> list[Poses]:
    """The training poses of each prior: of the data set it was trained on if that is where it was, else of `source`.

    A prior of another data set has its neighbours and its overfitting there, not in the one it is judged on. With a
    fold, all priors are compared with the poses of the subjects that it did not hold out.
    """
    if fold is not None:
        return [fold.read(source, dataset=dataset, parts=parts, trained=True)] * len(abouts)
    read: dict[tuple[str, str, str | None], Poses] = {}
    found = []
    for about in abouts:
        place, data = (source.place.uri, split, dataset), trained_on(about)
        if about.get("manifest_hash") != manifest_hash(source) and _is_at(about, data.get("root")):
            place = (data["root"], data.get("train", "train"), data.get("dataset"))
        if place not in read:
            read[place] = read_poses(place[0], split=place[1], dataset=place[2], parts=parts)
        found.append(read[place])
    return found


def _is_at(about: Mapping[str, JsonValue], root: str | None) -> bool:
    """Whether the data set at `root` is the one that a prior was trained on."""
    if root is None:
        return False
    try:
        return manifest_hash(open_source(root)) == about.get("manifest_hash")
    except (UserError, OSError):
        return False  # moved, or on another machine


def _datasets(source: Source) -> dict[str, str]:
    """Clip, or subject of single poses -> its sub-dataset."""
    table = source.index
    return dict(zip(table[source.item].to_pylist(), table["dataset"].to_pylist(), strict=True))


def _frame(poses: Poses, row: int, source: Source, datasets: Mapping[str, str]) -> Frame:
    """Where a row comes from; the rows of a clip are its frames in their order."""
    clip = int(poses.clip_index[row])
    name, before = poses.clip_ids[clip], int((poses.clip_index[:row] == clip).sum())
    kind = SinglePose if isinstance(source, PoseSet) else Frame
    return kind(name, before, datasets.get(name, ""))


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
