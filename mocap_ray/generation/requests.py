"""What one generated motion should be: a `Request`, in which everything is optional.

`prompts` reads files of them. Frames are numbered from 0 at the frame rate of the model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import BeforeValidator, Field, PlainSerializer, field_validator, model_validator

from mocap_ray.errors import UserError
from mocap_ray.motion.features import WIDTH
from mocap_ray.npz import NpzError, npy
from mocap_ray.options import Positive, Section, digest
from mocap_ray.storage import place
from mocap_ray.wording import counted

KEYPOINTS = 25
"""Points of BODY-25, the skeleton of OpenPose."""
LONGEST_SECONDS = 600.0
_NAME = re.compile(r"\w[\w.@+-]*")
MOST_SEED = 2**53
"""Exact in every reader of JSON."""


def _numbers(value: Any, info: Any) -> np.ndarray:
    """Numbers of a list, or of the .npy file that a text names; `info` is pydantic's, whose context has the folder."""
    if isinstance(value, str):
        value = _read(value, (info.context or {}).get("folder"))
    try:
        array = np.array(value, np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError("should be a list of rows of numbers, or the name of a .npy file") from error
    if not np.isfinite(array).all():
        raise ValueError("should hold finite numbers")
    array.flags.writeable = False
    return array


def _read(name: str, folder: str | None) -> np.ndarray:
    """The array of a .npy file. Raises ValueError."""
    path = name if folder is None or name.startswith("/") or "://" in name else f"{folder}/{name}"
    parent, _, base = path.rpartition("/")
    try:
        content = place(parent or ("/" if path.startswith("/") else ".")).read(base)
        head = npy.header(base, memoryview(content), len(content))
        return npy.array(base, memoryview(content), head)
    except FileNotFoundError as error:
        raise ValueError(
            "there is no such file beside the prompts; expected a .npy file of numbers"
        ) from error
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror or error})") from error
    except NpzError as error:
        raise ValueError(f"should be a .npy file of numbers: {error}") from error


Numbers = Annotated[np.ndarray, BeforeValidator(_numbers), PlainSerializer(lambda array: array.tolist())]
FrameNumber = Annotated[int, Field(ge=0, le=100_000)]


class AtFrames(Section):
    """Values at some frames of a motion."""

    model_config: ClassVar[Any] = {**Section.model_config, "arbitrary_types_allowed": True}
    shape: ClassVar[tuple[int, ...]] = ()
    """Shape of the values of one frame."""

    frames: Annotated[tuple[FrameNumber, ...], Field(min_length=1, max_length=10_000)]
    """Numbers of frames, rising."""
    values: Numbers
    """One row for each frame: a list, or the name of a .npy file."""

    @model_validator(mode="after")
    def _match(self) -> AtFrames:
        if list(self.frames) != sorted(set(self.frames)):
            raise ValueError("frames should rise, each once")
        expected = (len(self.frames), *self.shape)
        if self.values.shape != expected:
            raise ValueError(
                f"values should have the shape {list(expected)}, one row for each of "
                f"{counted(len(self.frames), 'frame')}, and have {list(self.values.shape)}"
            )
        return self

    def __eq__(self, other: object) -> bool:
        return (
            type(self) is type(other)
            and isinstance(other, AtFrames)
            and self.frames == other.frames
            and np.array_equal(self.values, other.values)
        )

    __hash__ = None  # type: ignore[assignment]


class Keypoints(AtFrames):
    """2-D keypoints of BODY-25 at some frames: x and y in pixels, y down, and the confidence from 0 to 1."""

    shape: ClassVar[tuple[int, ...]] = (KEYPOINTS, 3)


class GivenFrames(AtFrames):
    """Features of frames that the motion should have: its beginning, its keyframes."""

    shape: ClassVar[tuple[int, ...]] = (WIDTH,)


class RootPath(AtFrames):
    """Where the root is on the ground: x and z, metres, from the start of the motion, which faces +Z."""

    shape: ClassVar[tuple[int, ...]] = (2,)


class Request(Section):
    """One motion to generate; what is left out is free."""

    name: Annotated[str, Field(max_length=200)] | None = None
    """Name of its files and of its clip: letters, digits and . @ + - _; a number by default."""
    seed: Annotated[int, Field(ge=0, le=MOST_SEED)] = 0
    """The noise that it starts from: one seed gives the same motion in any batch."""
    seconds: Annotated[Positive, Field(le=LONGEST_SECONDS)] | None = None
    """Its length; or set frames. By default that of the windows that the model was trained on."""
    frames: Annotated[int, Field(ge=4, le=100_000)] | None = None
    """Its length in frames of the model."""
    domain: str | None = None
    """A domain of the training data."""
    style: str | None = None
    """A style of the training data."""
    action: str | None = None
    """An action of the training data."""
    text: Annotated[str, Field(max_length=10_000)] | None = None
    """What the motion shows, in words."""
    keypoints: Keypoints | None = None
    """2-D keypoints at some frames."""
    given: GivenFrames | None = None
    """Features of some frames."""
    root: RootPath | None = None
    """The path on the ground, at some frames."""

    @field_validator("name")
    @classmethod
    def _plain(cls, name: str | None) -> str | None:
        if name is not None and not _NAME.fullmatch(name):
            raise ValueError(
                "should have letters, digits and . @ + - _ alone, and begin with a letter or digit"
            )
        return name

    @model_validator(mode="after")
    def _one_length(self) -> Request:
        if self.seconds is not None and self.frames is not None:
            raise ValueError("seconds and frames are both set, and are the same thing; leave one out")
        return self

    def length(self, *, fps: float, default: int) -> int:
        """Its number of frames.

        Args:
            fps: frame rate of the model.
            default: number of frames if the request does not say.

        >>> Request(seconds=2.0).length(fps=30.0, default=120), Request().length(fps=30.0, default=120)
        (60, 120)
        """
        if self.frames is not None:
            return self.frames
        return default if self.seconds is None else max(4, round(self.seconds * fps))

    @property
    def fingerprint(self) -> str:
        """sha256 of everything in it."""
        return digest(self.model_dump(mode="json"))


def check_requests(
    requests: Mapping[str, Request],
    *,
    known: Mapping[str, Sequence[str]],
    fps: float,
    default: int,
) -> None:
    """Check that a model can take requests.

    Args:
        requests: by the place that each comes from, for messages.
        known: `domain`, `style` and `action` -> the names that the model knows.
        fps: frame rate of the model.
        default: number of frames of a request that does not say.

    Raises:
        UserError: a name that the model does not know, or values at frames beyond the end.
    """
    for where, request in requests.items():
        for key, names in known.items():
            name = getattr(request, key)
            if name is not None and name not in names:
                expected = f"one of {', '.join(names)}" if names else "none: it was trained without any"
                raise UserError(f"{where}: the model knows no {key} {name!r}. Expected {expected}.")
        frames = request.length(fps=fps, default=default)
        for key in ("keypoints", "given", "root"):
            part: AtFrames | None = getattr(request, key)
            if part is not None and part.frames[-1] >= frames:
                raise UserError(
                    f"{where}: {key}.frames names frame {part.frames[-1]}, but the motion has "
                    f"{counted(frames, 'frame')} ({frames / fps:.3g} s at {fps:g} fps). Expected frames from 0 to "
                    f"{frames - 1}; set seconds or frames."
                )
