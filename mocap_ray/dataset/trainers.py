"""What trainers that read HumanML3D's folder expect: lengths of clips, and statistics.

Facts about MDM (Tevet et al., ICLR 2023) and the trainers that share its loader, which is that of HumanML3D's authors
(Guo et al., CVPR 2022): they skip clips of fewer than 40 and of 200 or more frames without a message, and use the
others in lengths that are multiples of 4, at most 196.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mocap_ray.dataset.views import Statistics
from mocap_ray.errors import UserError
from mocap_ray.npz import npy
from mocap_ray.npz.errors import NpzError
from mocap_ray.shards.recipe import Recipes
from mocap_ray.storage import Place, place
from mocap_ray.wording import counted, listed

LENGTH_STEP = 4
"""These trainers use clips in lengths that are multiples of 4."""

_NPY_LIMIT = 1 << 16
"""Bytes of the largest Mean.npy or Std.npy that is read; 263 numbers take 1 or 2 kB."""


@dataclass(frozen=True, slots=True)
class TrainerLimits:
    """The lengths of clips that a trainer uses, in rows of `features`; it skips all others.

    Attributes:
        skips_under: clips with fewer rows are skipped.
        skips_from: clips with this many rows or more are skipped.

    Raises:
        UserError: no length is left.
    """

    skips_under: int = 40
    skips_from: int = 200

    def __post_init__(self) -> None:
        if self.skips_from <= max(self.skips_under, 1):
            raise UserError(
                f"A trainer that skips clips under {self.skips_under} and from {self.skips_from} frames on uses none. "
                "Expected the second limit above the first."
            )

    @property
    def longest(self) -> int:
        """The longest length that the trainer uses completely."""
        below = self.skips_from - 1
        return below - below % LENGTH_STEP or below


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a data set a trainer sees.

    Attributes:
        limits: of the trainer.
        clips, frames: of the data set.
        seen_clips, seen_frames: those that the trainer uses.
        short, long: number of clips that it skips because they are too short or too long.
        remedies: what would change it, as sentences.
    """

    limits: TrainerLimits
    clips: int
    frames: int
    seen_clips: int
    seen_frames: int
    short: int
    long: int
    remedies: tuple[str, ...] = ()

    def sentences(self) -> list[str]:
        """The figures, and what would change them."""
        limits = self.limits
        who = f"A trainer that skips clips under {limits.skips_under} and from {limits.skips_from} frames on"
        who += ", as MDM does," if limits == TrainerLimits() else ""
        if self.seen_clips == self.clips:
            return [f"{who} sees all {counted(self.clips, 'clip')}."]
        share = 100 * self.seen_frames / max(self.frames, 1)
        skipped = [
            f"{number:,} {'is' if number == 1 else 'are'} too {what}"
            for number, what in ((self.short, "short"), (self.long, "long"))
            if number
        ]
        figures = f"{self.seen_clips:,} of {counted(self.clips, 'clip')}, {share:.1f} % of the frames"
        return [f"{who} sees {figures}: {listed(skipped)}.", *self.remedies]


def coverage(frames: Sequence[int], limits: TrainerLimits, *, recipes: Recipes) -> Coverage:
    """How much of a data set a trainer sees, and what would change it.

    Args:
        frames: rows of each clip.
        limits: of the trainer.
        recipes: of the data set, for the remedies.
    """
    rows = np.asarray(frames, np.int64)
    short, long = rows < limits.skips_under, rows >= limits.skips_from
    seen = ~(short | long)
    return Coverage(
        limits=limits,
        clips=len(rows),
        frames=int(rows.sum()),
        seen_clips=int(seen.sum()),
        seen_frames=int(rows[seen].sum()),
        short=int(short.sum()),
        long=int(long.sum()),
        remedies=_remedies(limits, recipes, short=bool(short.any()), long=bool(long.any())),
    )


def _remedies(limits: TrainerLimits, recipes: Recipes, *, short: bool, long: bool) -> tuple[str, ...]:
    """Which settings of an extraction would change what the trainer sees."""
    if recipes.sources and all("segments" in one.settings for one in recipes.sources.values()):
        return ("The clips are rows of the index that source.segments names, and those are not cut.",)
    motion = recipes.shared.get("motion", {})
    again = "Extract again into another output.root with --override"
    if (window := motion.get("window")) is not None:
        return (f"{again} motion.window={limits.longest}, or without motion.window={window}.",)
    least = motion.get("min_frames", 1)
    # Parts of at least `skips_under` rows, if twice as many fit into the longest one: otherwise some are shorter.
    wanted = min(limits.skips_under, (limits.longest + 1) // 2)
    settings = [f"motion.max_frames={limits.longest}"] if long else []
    if least < wanted or (long and 2 * least - 1 > limits.longest):
        settings.append(f"motion.min_frames={wanted}")
        least = wanted
    if not settings:
        return ()
    effects = [f"cut long clips into parts of {least} to {limits.longest} frames"] if long else []
    effects += ["leave out short clips"] if short else []
    return (f"{again} {' '.join(settings)} to {listed(effects)}.",)


def read_mean_std(folder: str | os.PathLike[str]) -> tuple[Statistics, bytes]:
    """Read the Mean.npy and Std.npy of a folder, such as those of HumanML3D's repository.

    Returns:
        The statistics as float32, and their bytes, which identify them.

    Raises:
        UserError: a file is missing, is not a .npy of 263 numbers, has one that is not finite, or a std of 0 or less.
        OSError: a file cannot be read.
    """
    where = place(folder)
    mean, std = _numbers(where, "Mean.npy"), _numbers(where, "Std.npy")
    if not (std > 0).all():
        column = int(np.flatnonzero(~(std > 0))[0])
        raise UserError(
            f"{where.uri}/Std.npy: {std[column]:g} in column {column}. Expected numbers above 0: trainers divide by "
            "them."
        )
    return Statistics(mean, std), mean.tobytes() + std.tobytes()


def _numbers(where: Place, name: str) -> np.ndarray:
    """263 finite float32 numbers of a .npy file. Raises UserError."""
    expected = "Expected HumanML3D's Mean.npy and Std.npy, each of 263 numbers, in this folder (--mean-std)."
    found = where.fs.get_file_info(where.join(name))
    if not found.is_file:
        raise UserError(f"{where.uri}/{name}: no such file. {expected}")
    if found.size > _NPY_LIMIT:
        raise UserError(f"{where.uri}/{name}: {counted(found.size, 'byte')}. {expected}")
    content = memoryview(where.read(name))
    try:
        array = npy.array(name, content, npy.header(name, content, len(content)))
    except NpzError as error:
        raise UserError(f"{where.uri}: {error}. {expected}") from error
    if array.shape != (263,) or array.dtype.kind != "f":
        raise UserError(f"{where.uri}/{name}: {array.dtype} of shape {array.shape}. {expected}")
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite
        numbers = array.astype(np.float32)
    if not np.isfinite(numbers).all():
        raise UserError(f"{where.uri}/{name}: holds a number that is not finite. {expected}")
    return numbers
