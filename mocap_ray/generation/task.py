"""The training task of models of windows of motion: the second implementation of `training.task`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mocap_ray.dataset.poses import manifest_hash
from mocap_ray.dataset.reader import DataSet, open
from mocap_ray.dataset.views import DataSetError
from mocap_ray.generation.batch import unpack
from mocap_ray.generation.description import MotionFacts, statistics_of
from mocap_ray.generation.evaluator import MotionEvaluator
from mocap_ray.generation.labels import Labels
from mocap_ray.generation.motion_vae import MotionVAE
from mocap_ray.generation.options import WindowData
from mocap_ray.generation.pictures import reconstructions
from mocap_ray.generation.slots import Draw
from mocap_ray.generation.windows import WindowRows
from mocap_ray.motion.features import WIDTH
from mocap_ray.training.options import ModelOptions
from mocap_ray.training.task import Facts, Role, TaskKind, TaskWords, TrainingTask
from mocap_ray.training.team import Team

WORDS = TaskWords(
    row="window",
    item="clip",
    result="motion model",
    description="motion_model.json",
    more_rows="extract more recordings",
    leave_out="`mocap-ray dataset exclude`",
    group="subject",
    steadier=("raise model.dropout (0.1 to 0.3)", "train on more subjects"),
    commands=("evaluate",),
)

MotionModel = MotionVAE | MotionEvaluator
MakeModel = Callable[[Any, MotionFacts], Any]
"""Builds a model from the section `model` and the facts about its data; the class of a model is such a function."""


class WindowTask(TrainingTask[Any]):
    """A model of windows of the features of a data set."""

    words = WORDS

    def __init__(self, model: ModelOptions, data: WindowData, *, make: MakeModel) -> None:
        """Take the sections `model` and `data` of a config, and the function that builds the model."""
        self.config, self.data, self.make = model, data, make

    @cached_property
    def source(self) -> DataSet:
        """The data set, whose index is read once. Raises DataSetError."""
        return open(self.data.root)

    @cached_property
    def labels(self) -> Labels:
        """Domains of the data set, and styles of its training split."""
        return Labels.of(self.source, split=self.data.train)

    def check(self) -> Facts:
        """Read sizes from the index. Raises DataSetError."""
        source, data = self.source, self.data
        if data.train not in source.splits:
            raise DataSetError(
                f"{data.root}: no split '{data.train}'. Splits are {', '.join(source.splits)}; set data.train."
            )
        statistics_of(source)
        train, val = self._rows(data.train), self.rows("val")
        rows = sum(train.drawn(seed=0, epoch=0).counts.values())
        if not rows:
            raise train.empty()
        val_rows = sum(val.counts.values()) if val else 0
        # Each frame is stored once.
        held = sum(int(r.slots.frames[r.slots.part == 0].sum()) for r in (train, val) if r)
        row_bytes = -(-held * WIDTH * 4 // (rows + val_rows))
        return Facts(rows, val_rows, row_bytes, manifest_hash(source))

    def rows(self, role: Role) -> WindowRows | None:
        """The windows of a split."""
        if role == "val" and self.data.val not in self.source.splits:
            return None
        return self._rows(self.data.train if role == "train" else self.data.val)

    def _rows(self, *splits: str, subjects: Collection[str] | None = None) -> WindowRows:
        draw = Draw(self.data.length, self._weights())
        return WindowRows.of(self.source, self.labels, splits=splits, draw=draw, subjects=subjects)

    def _weights(self) -> dict[int, float] | None:
        """The weight of each domain by its number. Raises DataSetError for a domain that does not exist."""
        chosen, known = self.data.domains, self.labels.domains
        if chosen == "all":
            return None
        if chosen == "equal":
            return dict.fromkeys(range(len(known)), 1.0)
        assert isinstance(chosen, dict)
        for name in chosen:
            if name not in known:
                raise DataSetError(
                    f"{self.data.root}: no domain '{name}'. Its domains are {', '.join(known)}; set data.domains."
                )
        return {known.index(name): weight for name, weight in chosen.items() if weight > 0}

    def groups(self) -> Mapping[str, int]:
        """The subjects of the splits for folds, with their number of windows."""
        slots = self._folded(None).slots
        who = np.asarray(self.source.index["subject"].to_pylist())[slots.clip]
        names, counts = np.unique(who, return_counts=True)
        return dict(zip(names.tolist(), counts.tolist(), strict=True))

    def rows_of(self, groups: Collection[str]) -> WindowRows:
        """The windows of some subjects."""
        return self._folded(groups)

    def _folded(self, subjects: Collection[str] | None) -> WindowRows:
        splits = self.data.fold_splits or tuple(
            s for s in (self.data.train, self.data.val) if s in self.source.splits
        )
        return self._rows(*splits, subjects=subjects)

    def model(self, sample: Float[np.ndarray, "N R 263"]) -> Any:
        """A new model that normalises with the statistics of the data set."""
        source = self.source
        fps = sorted(set(source.index["fps"].to_pylist()))
        if len(fps) > 1:
            raise DataSetError(
                f"{self.data.root}: clips of {', '.join(f'{rate:g}' for rate in fps)} fps. A model of motion needs one "
                "frame rate; extract again with motion.resample: interpolate."
            )
        model = self.make(self.config, MotionFacts(self.labels, fps[0], source.profile, self.data.length))
        mean, std = statistics_of(source)
        with torch.no_grad():
            model.mean.copy_(mean)
            model.std.copy_(std)
        if isinstance(model, MotionVAE):
            model.start_from(torch.from_numpy(sample))
        return model

    def restored(self, description: Mapping[str, Any]) -> Any:
        """The model of a description."""
        return self.make(self.config, MotionFacts.of(description))

    def describe(self, model: Any) -> dict[str, Any]:
        """The facts about its training data."""
        facts: MotionFacts = model.facts
        return facts.describe()

    def validate(self, model: Any, batches: Iterable[Tensor], team: Team) -> dict[str, float]:
        """The loss and its terms, as means over all windows."""
        sums: dict[str, float] = {"rows": 0.0}
        for batch in batches:
            loss, terms = model.loss(batch)
            for name, value in {"loss": loss, **terms}.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) * len(batch)
            sums["rows"] += len(batch)
        total = team.mean(sums)
        rows = total.pop("rows")
        return {name: value / rows for name, value in total.items()}

    def summary(self, model: Any) -> dict[str, Any]:
        """The number of domains and styles."""
        labels: Labels = model.facts.labels
        return {"domains": list(labels.domains), "styles": list(labels.styles)}

    def picture(self, model: Any, *, count: int) -> UInt8[np.ndarray, "H W 3"] | None:
        """Frames of validation windows above their reconstructions."""
        if not isinstance(model, MotionVAE) or not len(self._shown):
            return None
        device = model.mean.device
        return reconstructions(model, unpack(torch.from_numpy(self._shown[:count]).to(device)))

    @cached_property
    def _shown(self) -> Float[np.ndarray, "n R 263"]:
        """A few windows for the picture, of one shard."""
        rows = self.rows("val") or self._rows(self.data.train)
        empty = np.zeros((0, *rows.shape), np.float32)
        for shard in rows.counts:
            return np.concatenate([empty, *(block.rows[:1] for block in rows.blocks(shard))])[:64]
        return empty


def motion_kind(section: type[ModelOptions], make: MakeModel) -> TaskKind:
    """The object that `model.kind: package.module:NAME` names for a model of windows of your own.

    Args:
        section: type of the section `model`, with a `kind` of its own.
        make: the class of the model: built from its config and `description.MotionFacts`, with buffers `mean` and
            `std` [263] and a `loss` that takes rows of `batch.unpack`.
    """
    return TaskKind(section, WindowData, partial(WindowTask, make=make))
