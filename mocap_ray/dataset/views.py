"""What a reader returns: clips with their arrays, statistics, and errors."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mocap_ray.dataset import schema
from mocap_ray.documents import Document
from mocap_ray.errors import UserError
from mocap_ray.motion.clip import Caption


class DataSetError(UserError):
    """The folder is not a finished data set, or the data set lacks what was requested."""


def broken_clips(root: str, what: str, names: Sequence[str]) -> DataSetError:
    """The error for clips whose numbers are NaN or infinite, with the command that takes them out.

    Args:
        root: path or address of the data set.
        what: the numbers, such as `poses`.
        names: of the clips.
    """
    command = shlex.join(["mocap-ray", "dataset", "exclude", root, *names[:5]])
    return DataSetError(
        f"{root}: {what} that are not finite in {', '.join(names[:5])}. Take them out: {command} --reason '...'"
    )


REFLOW = "reflow"
"""`product` in the manifest of pairs of noise and latents."""


class _Kind(Document):
    """The key of a manifest that says what its rows are; without it, they are clips."""

    product: str = "clips"


def product_of(manifest: bytes) -> str:
    """What the rows are: `clips`, `poses`, `reflow` or `people`. A damaged manifest counts as one of clips."""
    try:
        return _Kind.model_validate_json(manifest).product
    except ValueError:
        return "clips"


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """Mean and standard deviation of each feature over the train split, by the rule of the profile."""

    mean: Float[np.ndarray, "263"]
    std: Float[np.ndarray, "263"]

    @property
    def divisor(self) -> Float[np.ndarray, "263"]:
        """`std` with 1 in place of 0 (a column that never changes), to avoid division by zero."""
        return np.where(self.std > 0, self.std, np.float32(1)).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class ClipView:
    """One clip of a data set, as plain Python values and copied numpy arrays (safe to keep or change).

    The frame columns are properties. A column that the data set lacks, or that `columns=` leaves out, raises
    `DataSetError`; a column that is null for this clip (`poses` of a mirrored twin) is None.
    """

    clip_id: str
    recording: str
    dataset: str
    split: str
    subject: str
    gender: str
    family: str
    action: str | None
    style: str | None
    texts: tuple[str, ...]
    fps: float
    source_fps: float
    num_frames: int
    betas: Float[np.ndarray, "B"]
    domain: str
    frames: dict[str, np.ndarray | None]
    written: tuple[str, ...]
    name: str | None = None
    captions: tuple[Caption, ...] = ()

    @property
    def features(self) -> Float[np.ndarray, "R 263"]:
        """[R, 263] float32, columns as in `docs/data-format.md`."""
        array = self._frames("features")
        assert array is not None, "schema: features are never null"
        return array

    @property
    def joints(self) -> Float[np.ndarray, "T 22 3"] | None:
        """[T, 22, 3] float32 metres, Y up, as fed to the encoder; see also `DataSet.joints`."""
        array = self._frames("joints")
        return None if array is None else array.reshape(-1, 22, 3)

    @property
    def poses(self) -> Float[np.ndarray, "T 55 3"] | None:
        """[T, 55, 3] float32 axis-angle, rad, SMPL-X joint order, Y up; None where the clip has none."""
        array = self._frames("poses")
        return None if array is None else array.reshape(-1, 55, 3)

    @property
    def trans(self) -> Float[np.ndarray, "T 3"] | None:
        """[T, 3] float32 metres, Y up; None where the clip has no poses."""
        return self._frames("trans")

    @property
    def stick(self) -> Float[np.ndarray, "T 20"] | None:
        """[T, 20] float32, five lines (x1, y1, x2, y2) per frame."""
        return self._frames("stick")

    @property
    def vertices(self) -> Float[np.ndarray, "T V 3"] | None:
        """[T, V, 3] float32 metres, Y up."""
        array = self._frames("vertices")
        return None if array is None else array.reshape(len(array), -1, 3)

    def _frames(self, name: str) -> np.ndarray | None:
        if name in self.frames:
            return self.frames[name]
        raise not_written(self.clip_id, name, self.written)


def not_written(where: str, name: str, written: Sequence[str]) -> DataSetError:
    """The error for a frame column that the data set lacks, or that was not requested."""
    if name in written:
        return DataSetError(f"{where}: '{name}' was not read, because columns= leaves it out. Add it there.")
    if name not in schema.OPTIONAL_COLUMNS:
        known = ", ".join(schema.OPTIONAL_COLUMNS)
        return DataSetError(f"{where}: there is no column '{name}'. Frame columns are {known}.")
    hint = " DataSet.joints(clip) decodes joints from the features." if name == "joints" else ""
    return DataSetError(
        f"{where}: the column '{name}' was not written; this data set has {', '.join(written)}. "
        f"To have it, add {name} to output.columns and extract into another root.{hint}"
    )
