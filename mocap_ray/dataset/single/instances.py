"""What a file of poses holds: its instances as arrays, which parts of the body they give, and why some are left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Float

from mocap_ray.archives.layouts import Unusable
from mocap_ray.motion.clip import Reason

SHAPE = (55, 3)
PARTS: Mapping[str, slice] = MappingProxyType(
    {
        "root": slice(0, 1),
        "body": slice(1, 22),
        "jaw": slice(22, 23),
        "eyes": slice(23, 25),
        "left_hand": slice(25, 40),
        "right_hand": slice(40, 55),
    }
)
"""Parts of a pose -> their joints among SMPL-X's 55. Every pose gives the body; the others may be missing."""
OPTIONAL_PARTS = tuple(name for name in PARTS if name != "body")


class PoseReason(StrEnum):
    """Why a file, or one of its instances, is left out."""

    UNREADABLE = "unreadable"
    """The file is no .npz, or it is damaged."""
    UNSAFE = "unsafe"
    """A pickle in it names something other than numbers, text and containers; nothing of it was run."""
    MISSING_KEYS = "missing_keys"
    """It has no poses of this layout."""
    BAD_SHAPE = "bad_shape"
    """An array has another shape or type than its layout says."""
    HAND_CONVENTION = "hand_convention"
    """Its hands cannot be brought to angles from the flat hand: the file does not say from where they count, or they
    need numbers of a body model."""
    NOT_FINITE = "not_finite"
    """NaN or infinity in the pose."""
    BAD_VALUE = "bad_value"
    """A joint turns by more than two full turns, as angles in degrees do."""
    CHILD = "child"
    """The shape needs the template of children (`betas_extra`)."""
    ANNOTATION = "annotation"
    """The file itself marks the instance as invalid."""
    OTHER_SPLIT = "other_split"
    """None of its subjects is in this split; the other parts of the file have them."""
    WORKER_DIED = "worker_died"
    """Reading it kills the process."""
    EXCLUDED = "excluded"
    """The user excluded it."""


@dataclass(frozen=True, slots=True)
class PoseFile:
    """A file of poses, or those of its instances that belong to one split, as listed; the file was not read.

    Attributes:
        dataset: name of the sub-dataset.
        name: path below the root without its ending; a part of a divided file ends in `@` and its split.
        source: path below the root with its ending.
        size: bytes of the file.
        fingerprint: changes when the file changes.
        part: the split whose instances belong to it; None: all of them.
    """

    dataset: str
    name: str
    source: str
    size: int
    fingerprint: str
    part: str | None = None

    @property
    def subject(self) -> str:
        """The subject of instances of which the file does not tell one: the file itself."""
        return self.name.removesuffix(f"@{self.part}")


@dataclass(frozen=True, slots=True, eq=False)
class Instances:
    """The instances of a file.

    Attributes:
        poses: axis-angle, rad, SMPL-X joint order; zero where a part is not given. Hands count from the flat hand.
        given: for each of `OPTIONAL_PARTS`, the instances that give it.
        family: of the body model; `unknown` if the file has body joints alone.
        genders: of each instance.
        betas: shape coefficients of each instance; without columns if the file has none.
        subjects: who or what sequence each instance belongs to; None if the file does not tell.
        left_out: number of an instance -> why it is left out, and a sentence.
    """

    poses: Float[np.ndarray, "N 55 3"]
    given: Mapping[str, Bool[np.ndarray, "N"]]
    family: str
    genders: list[str]
    betas: Float[np.ndarray, "N B"]
    subjects: list[str] | None
    left_out: Mapping[int, tuple[PoseReason, str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.poses)


def assembled(
    parts: Mapping[str, np.ndarray | None], count: int
) -> tuple[Float[np.ndarray, "N 55 3"], dict[str, Bool[np.ndarray, "N"]]]:
    """Poses from their parts, and the instances that give each.

    A part of exact zeros is not given: no fit or measurement ends there, and files fill missing parts with them.

    Args:
        parts: name in `PARTS` -> [N, 3 J], or None.
        count: number of instances.
    """
    poses: np.ndarray = np.zeros((count, *SHAPE), np.float32)
    given: dict[str, np.ndarray] = {}
    for name, joints in PARTS.items():
        value = parts.get(name)
        if value is not None:
            with np.errstate(over="ignore"):  # infinity is found later, with the number of the instance
                poses[:, joints] = value.reshape(count, -1, 3)
        if name in OPTIONAL_PARTS:
            given[name] = np.asarray(poses[:, joints].any(axis=(1, 2)))
    return poses, given


def columns(array: np.ndarray, key: str, count: int | None, joints: int) -> Float[np.ndarray, "N C"]:
    """Axis-angle of some joints as [N, 3 J], from [N, J, 3] or [N, 3 J].

    Raises:
        Unusable: another shape.
    """
    rows = len(array) if array.ndim else 0
    wanted = "N" if count is None else f"{count:,}"
    flat = array.reshape(rows, -1) if rows and array.ndim in (2, 3) else array
    # [N, 9] of rotation matrices of three joints never fits: J x 3 x 3 has other columns than J x 3.
    if flat.ndim != 2 or flat.shape[1] != 3 * joints or (count is not None and rows != count):
        raise Unusable(
            Reason.BAD_SHAPE,
            f"'{key}' is {array.shape}. Expected ({wanted}, {joints}, 3) or ({wanted}, {3 * joints}): axis-angle, rad",
        )
    return flat


def texts(array: np.ndarray, key: str, count: int) -> list[str]:
    """A text for each instance. Raises Unusable for anything else."""
    if array.shape != (count,) or array.dtype.kind not in "US":
        raise Unusable(
            Reason.BAD_SHAPE, f"'{key}' is {array.dtype} of shape {array.shape}. Expected {count:,} texts"
        )
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    return [str(text) for text in array.tolist()]


def sequence_of(image: str) -> str:
    """The sequence of an image: its folder; without one, the image itself.

    >>> sequence_of("seq/a.png"), sequence_of("a.png")
    ('seq', 'a')
    """
    path = PurePosixPath(image.replace("\\", "/"))
    return str(path.parent) if len(path.parts) > 1 else path.stem
