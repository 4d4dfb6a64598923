"""The poses on which a prior of one fold is judged: those of the subjects that were held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import JsonValue

from mocap_ray.dataset.poses import PoseRows, Poses, Source, poses_of


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The subjects that a training held out.

    Attributes:
        fold: number of the fold, from 0.
        subjects: held out.
        splits: splits that the folds divide.
    """

    fold: int
    subjects: tuple[str, ...]
    splits: tuple[str, ...]

    @property
    def name(self) -> str:
        """The fold in place of the name of a split."""
        return f"fold {self.fold} of {', '.join(self.splits)}"

    def read(
        self,
        source: Source,
        *,
        dataset: str | None,
        parts: tuple[str, ...] | None = None,
        trained: bool = False,
    ) -> Poses:
        """The poses of the held-out subjects, or of all others. Raises DataSetError.

        Args:
            source: the data set.
            dataset: only this sub-dataset.
            parts: as in `PoseRows`.
            trained: whether to read the others.
        """
        splits = tuple(split for split in self.splits if split in source.splits) or self.splits
        mine = frozenset(self.subjects)
        rows = PoseRows(source.place.uri, splits, dataset, subjects=mine, opened=source, parts=parts)
        if trained:
            rows = replace(rows, subjects=frozenset(rows.by_subject().keys() - mine))
        return poses_of(rows)


def held_out(about: Mapping[str, JsonValue]) -> HeldOut | None:
    """The fold in the description of a prior; None if it was not trained with one."""
    config, subjects = about.get("config"), about.get("held_out")
    data = config.get("data") if isinstance(config, dict) else None
    if not isinstance(data, dict) or not isinstance(subjects, list) or not isinstance(data.get("fold"), int):
        return None
    splits = data.get("fold_splits") or [data.get("train", "train"), data.get("val", "val")]
    fold = data["fold"]
    assert isinstance(fold, int)
    return HeldOut(
        fold, tuple(map(str, subjects)), tuple(map(str, splits if isinstance(splits, list) else []))
    )


def fold_notes(
    names: Sequence[str], abouts: Sequence[Mapping[str, JsonValue]], *, fold: HeldOut | None, split: str
) -> list[str]:
    """Which priors were trained on the subjects that they are judged on, and what chose their best epoch."""
    trained = []
    for name, about in zip(names, abouts, strict=True):
        own = held_out(about)
        if fold is None:
            seen = own is not None and split in own.splits
        else:
            seen = own is None or not set(fold.subjects) <= set(own.subjects)
        trained += [name] if seen else []
    notes = []
    if trained:
        notes.append(
            f"Trained on subjects of {split}: {', '.join(trained)}. Their figures are not those of held-out people. "
            "A prior of a fold is judged on its own fold without --split, or on the test split."
        )
    if fold is not None:
        notes.append(
            f"{fold.name.capitalize()} helped to choose the best epoch, so its figures are slightly optimistic."
        )
    return notes
