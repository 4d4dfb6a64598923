"""Maps from the joints of a rig to the 22 body joints, as YAML files: ours in `maps/`, or the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float64
from pydantic import Field, ValidationError, field_validator, model_validator

from mocap_ray.archives.layouts import Unusable
from mocap_ray.archives.rigs.take import Skeleton
from mocap_ray.archives.tables import read_file
from mocap_ray.config import parse_yaml
from mocap_ray.errors import UserError
from mocap_ray.motion.bounds import LEAST_FPS, MOST_FPS
from mocap_ray.motion.clip import Reason
from mocap_ray.options import Positive, Section, digest
from mocap_ray.skeleton import BODY_JOINTS
from mocap_ray.wording import listed

MAPS = Path(__file__).parent / "maps"
"""The maps of this package."""

_DIRECTIONS = {
    "left": (1.0, 0.0, 0.0),
    "right": (-1.0, 0.0, 0.0),
    "up": (0.0, 1.0, 0.0),
    "down": (0.0, -1.0, 0.0),
    "forward": (0.0, 0.0, 1.0),
    "backward": (0.0, 0.0, -1.0),
}
"""Of a person in a T pose, with Y up, X to its left."""

Names = tuple[str, ...]


class _Source(Section):
    """Where a body joint comes from, if its rotation and its position are of different joints."""

    turns: Annotated[Names, Field(min_length=1, max_length=2)]
    """The joint that it turns with; of two, half way between them."""
    at: Annotated[Names, Field(min_length=1, max_length=2)]
    """The joint at which it lies; of two, in the middle. `name.end` is the end of a bone."""

    @field_validator("turns", "at", mode="before")
    @classmethod
    def _one_or_two(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class Rig(Section):
    """A map from a rig's joints to the 22 body joints."""

    title: str = ""
    """The rig, for readers."""
    metre: Positive | None = None
    """Metres in a unit of the file."""
    fps: Annotated[float, Field(ge=LEAST_FPS, le=MOST_FPS)] | None = None
    """Frames per second of files that do not say: motions in .amc."""
    skip: Annotated[int, Field(ge=0)] = 0
    """Frames at the beginning that are no motion, such as a T pose."""
    joints: dict[str, _Source]
    """Body joint -> joint of the rig."""
    axes: dict[str, tuple[str, str, str]] = Field(default_factory=dict)
    """Joint of the rig -> where its X, Y and Z point in a T pose, if they are not those of the world."""

    @field_validator("joints", mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        plain = {k: {"turns": v, "at": v} if isinstance(v, str | list) else v for k, v in value.items()}
        missing = [name for name in BODY_JOINTS if name not in plain]
        unknown = [str(name) for name in plain if name not in BODY_JOINTS]
        if missing or unknown:
            what = (
                f"no {listed(missing, most=5)}" if missing else f"{listed(unknown, most=5)} is no body joint"
            )
            raise UserError(f"{what}; expected each of the 22 body joints once: {', '.join(BODY_JOINTS)}")
        return plain

    @model_validator(mode="after")
    def _rotations(self) -> Rig:
        for name, words in self.axes.items():
            R = np.array([_direction(text) for text in words]).T
            if not np.allclose(R.T @ R, np.eye(3), atol=1e-6) or np.linalg.det(R) < 0:
                raise UserError(
                    f"axes.{name} is {list(words)}; expected three directions at right angles, of which the third "
                    "follows from the first two by the right-hand rule, such as [left, up, forward]"
                )
        return self

    def identity(self, name: str) -> str:
        """What it is in the recipe of a data set: its name if it is ours, else a hash of its content."""
        return name if name in known() else digest(self.model_dump(mode="json", exclude={"title"}))

    def rest_axes(self, name: str) -> Float64[np.ndarray, "3 3"] | None:
        """[3, 3] rotation from the axes of a joint to the world in a T pose; None if the map does not say."""
        words = self.axes.get(name)
        return None if words is None else np.array([_direction(text) for text in words]).T

    def places(self, skeleton: Skeleton) -> Places:
        """Where the rig's joints are in a skeleton.

        Raises:
            Unusable: a joint is missing.
        """
        index = indices(skeleton)
        for body, source in self.joints.items():
            for name in (*source.turns, *source.at):
                if name not in index:
                    shown = listed(list(index), most=12)
                    raise Unusable(
                        Reason.MISSING_KEYS,
                        f"no joint {name!r}, which its map needs for {body} (joints: {shown}). Name a map for this "
                        "rig: source.rig",
                    )
        sources = [self.joints[name] for name in BODY_JOINTS]
        turns = tuple(tuple(index[name] for name in source.turns) for source in sources)
        at = tuple(tuple(index[name] for name in source.at) for source in sources)
        return Places(turns, at)


@dataclass(frozen=True, slots=True)
class Places:
    """The joints of a skeleton for the 22 body joints, in their order: one, or two to take the middle of.

    Attributes:
        turns: that they turn with.
        at: at which they lie.
    """

    turns: tuple[tuple[int, ...], ...]
    at: tuple[tuple[int, ...], ...]

    @property
    def joints(self) -> list[int]:
        """All of them."""
        return sorted({joint for joints in (*self.turns, *self.at) for joint in joints})


def indices(skeleton: Skeleton) -> dict[str, int]:
    """Name -> index of the first joint of this name, without a prefix such as `mixamorig:`."""
    found: dict[str, int] = {}
    for k, name in enumerate(skeleton.names):
        found.setdefault(name.rpartition(":")[2], k)
    return found


@cache
def known() -> dict[str, Rig]:
    """The maps of this package by name."""
    return {path.stem: _parsed(path.read_bytes(), str(path)) for path in sorted(MAPS.glob("*.yaml"))}


def find_rig(name: str) -> Rig:
    """A map of this package by its name, or one of the user by its address.

    Raises:
        UserError: there is none, or it is invalid; the message says where.
    """
    if name in known():
        return known()[name]
    where, data = read_file(
        name, expected=f"a rig ({', '.join(known())}) or the YAML map of one (docs/how-to/bvh.md)"
    )
    return _parsed(data, where)


def detect(skeleton: Skeleton) -> Rig:
    """The map of this package whose joints the skeleton has, all of them.

    Raises:
        Unusable: there is none; the detail names the nearest, and what it lacks.
    """
    index = indices(skeleton)
    missing: dict[str, list[str]] = {}
    for name, rig in known().items():
        needed = dict.fromkeys(n for source in rig.joints.values() for n in (*source.turns, *source.at))
        missing[name] = [n for n in needed if n not in index]
        if not missing[name]:
            return rig
    nearest = min(missing, key=lambda name: len(missing[name]))
    raise Unusable(
        Reason.MISSING_KEYS,
        f"no known rig has its joints ({listed(list(index), most=12)}); the nearest, {nearest}, also has "
        f"{listed(missing[nearest], most=3)}. Write a map of its joints and name it in source.rig (docs/how-to/bvh.md)",
    )


def _direction(text: str) -> np.ndarray:
    words = text.split()
    if not words or any(word not in _DIRECTIONS for word in words):
        raise UserError(
            f"axes: {text!r}; expected {listed(list(_DIRECTIONS))}, or two of them, as in 'down forward'"
        )
    total = np.sum([_DIRECTIONS[word] for word in words], axis=0)
    return np.asarray(total / max(float(np.linalg.norm(total)), 1e-12))


def _parsed(data: bytes, where: str) -> Rig:
    values = parse_yaml(data, where=where)
    if not isinstance(values, dict):
        raise UserError(f"{where}: no map of a rig. Expected keys such as joints: (docs/how-to/bvh.md).")
    try:
        return Rig.model_validate(values)
    except ValidationError as error:
        problems = [f"\n  {'.'.join(map(str, e['loc']))}: {_message(e)}" for e in error.errors()]
        raise UserError(f"{where}: no valid map of a rig (docs/how-to/bvh.md):{''.join(problems)}") from error


def _message(error: Any) -> str:
    cause = error.get("ctx", {}).get("error")
    return str(cause) if isinstance(cause, UserError) else f"{error['msg']}, found {str(error['input'])[:60]}"


def rest_rotations(rig: Rig, skeleton: Skeleton, joints: Sequence[int]) -> dict[int, np.ndarray]:
    """[3, 3] rotations from the axes of joints, parents first, to the world in the rig's T pose."""
    found: dict[int, np.ndarray] = {}
    for joint in joints:
        parent = skeleton.parents[joint]
        above = np.eye(3) if parent < 0 else found[parent]
        turn = np.eye(3) if skeleton.turns is None else skeleton.turns[joint]
        own = rig.rest_axes(skeleton.names[joint].rpartition(":")[2])
        found[joint] = above @ turn if own is None else own
    return found
