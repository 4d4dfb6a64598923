"""Files of motion as a playlist: recordings of an archive, joints and features of a generator or an estimator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from pyarrow import fs as pafs

from mocap_ray.archives.archive import Archive
from mocap_ray.archives.files import is_hidden
from mocap_ray.archives.layouts import said_rate
from mocap_ray.errors import UserError
from mocap_ray.motion.clip import JointMotion, Motion
from mocap_ray.motion.features import UndefinedFeatures, decode, encode
from mocap_ray.motion.resample import interpolate_positions
from mocap_ray.npz import NpzError, npy, open_npz
from mocap_ray.records import Recording, Rejection
from mocap_ray.skeleton import JOINT_NAMES
from mocap_ray.storage import Place
from mocap_ray.viewing import figures
from mocap_ray.viewing.figures import Figure, Shelf
from mocap_ray.viewing.playlist import Playlist
from mocap_ray.viewing.rows import Rows
from mocap_ray.viewing.scene import Group, Scene
from mocap_ray.wording import byte_size, counted

FPS = 20.0
"""Rate of files that do not name theirs, that of HumanML3D."""
FEATURES_FPS = 20.0
ARRAYS = (".npy", ".npz")
JOINT_COUNTS = (22, *(len(names) for names in JOINT_NAMES.values()))
KEYS = ("joints", "features", "motion")
"""Members of an .npz that hold joints or features, in the order of preference."""
MOST = 48
"""People, samples or poses of one file that are shown together."""
EXPECTED = (
    "Expected joints [frames, 22, 3] in metres (or [people, frames, 22, 3]), features [frames, 263], poses [poses, "
    "55, 3], or a recording of an archive"
)

_Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read files.

    Attributes:
        archive: reads everything that is not a plain array.
        shelf: body models, if there are any.
        fps: overrides the rate of all files.
    """

    archive: Archive
    shelf: Shelf | None = None
    fps: float | None = None


class FilePlaylist(Playlist):
    """Files below a folder; each is read when it is shown."""

    def __init__(
        self, place: Place, recordings: Sequence[Recording], reading: Reading, *, title: str
    ) -> None:
        """Name the files; a facet of their folders if there are several.

        Args:
            place: the folder.
            recordings: the files in it.
            reading: how to read them.
            title: the path as it was typed.
        """
        self.place, self.recordings, self.reading, self.title = place, tuple(recordings), reading, title
        folders: list[str | None] = [str(PurePosixPath(r.source).parent) for r in recordings]
        self.rows = Rows([r.name for r in recordings], {"folder": folders} if len(set(folders)) > 1 else {})

    def scene(self, index: int) -> Scene:
        """Read one file, by its content."""
        recording = self.recordings[index]
        name = recording.name
        size = ("file", f"{recording.source}, {byte_size(recording.size)}")
        array, fps = self._array(recording)
        if array is not None:
            return of_array(name, array, fps=fps, shelf=self.reading.shelf, facts=(size,))
        motion = self.reading.archive.read(self.place, recording, fps=self.reading.fps)
        if isinstance(motion, Rejection):
            raise UserError(motion.detail)
        return of_recording(name, motion, shelf=self.reading.shelf, facts=(size,))

    def _array(self, recording: Recording) -> tuple[_Array | None, float]:
        """The array of a file that holds one, and its rate; None for a recording of an archive."""
        source, given = recording.source, self.reading.fps
        try:
            if source.endswith(".npy"):
                content = memoryview(self.place.read(source))
                return npy.array("array", content, npy.header("array", content, len(content))), given or FPS
            if not source.endswith(".npz"):
                return None, FPS
            with open_npz(self.place, source) as file:
                key = next((k for k in KEYS if k in file), None)
                if key is None and "poses" in file and file.describe("poses").shape[1:] == (55, 3):
                    key = "poses"
                if key is None:
                    return None, FPS
                return file.read(key), given or said_rate(file) or FPS
        except NpzError as error:
            remedy = " Save the numbers alone, as a plain array." if error.kind == "unsafe" else ""
            raise UserError(f"{source}: {error}. {EXPECTED}.{remedy}") from error


def listed_files(place: Place, *, endings: Sequence[str] = ARRAYS) -> list[Recording]:
    """The files below a folder that may hold motion, by their endings; without opening them."""
    found = []
    for info in place.files():
        source = place.relative(info.path)
        if source.endswith(tuple(endings)) and not is_hidden(source):
            found.append(as_recording(source, info))
    return found


def as_recording(source: str, info: pafs.FileInfo) -> Recording:
    """A file as a recording; its name is its path without the ending."""
    name = str(PurePosixPath(source).with_suffix(""))
    first = name.split("/")[0]
    return Recording(first, name, first, source, info.size, str(info.mtime_ns))


def of_recording(
    name: str,
    motion: Motion | JointMotion,
    *,
    shelf: Shelf | None,
    facts: tuple[tuple[str, str], ...] = (),
) -> Scene:
    """A recording of an archive, at its own rate."""
    if not len(motion.root):
        raise UserError(f"{name}: no frames. {EXPECTED}.")
    figure = figures.of_motion("", motion, shelf)
    told = (
        ("recording", ", ".join(filter(None, (motion.family, motion.gender)))),
        ("action", motion.action),
        ("style", motion.style),
        ("length", _length(figure)),
    )
    shown = (*facts, *((key, text) for key, text in told if text))
    return Scene(name, ((figure,),), shown, motion.texts, _decoder(name, figure))


def of_array(
    name: str, array: _Array, *, fps: float, shelf: Shelf | None, facts: tuple[tuple[str, str], ...] = ()
) -> Scene:
    """An array of joints, features or poses as a scene; several people or samples are figures of their own.

    Joints [people, frames, 22, 3] share one space if the people start at different places, otherwise each stands
    beside the other; samples of features always do.

    Raises:
        UserError: no such shape, or no frames.
    """
    what, groups, total = _groups(name, np.asarray(array), fps=fps, shelf=shelf)
    first = groups[0][0]
    told = [*facts, ("content", what), ("length", _length(first))]
    if total > MOST:
        told.append(("shown", f"the first {MOST} of {total:,}"))
    decoder = _decoder(name, first) if total == 1 and not what.startswith("features") else None
    return Scene(name, groups, tuple(told), decoded=decoder)


def _groups(
    name: str, array: _Array, *, fps: float, shelf: Shelf | None
) -> tuple[str, tuple[Group, ...], int]:
    """What an array holds, its first figures in groups, and how many there are."""
    shape = array.shape
    if array.dtype.kind not in "fiu" or 0 in shape:
        raise UserError(f"{name}: {array.dtype} of shape {shape}. {EXPECTED}.")
    if shape[-1] == 263 and array.ndim in (2, 3):
        samples = array.reshape(-1, *shape[-2:])
        shown = [decode(sample) for sample in samples[:MOST]]
        made = [figures.of_joints(_label(k, shown), joints, fps=fps) for k, joints in enumerate(shown)]
        return f"features {list(shape)}", tuple((figure,) for figure in made), len(samples)
    if shape[1:] == (55, 3):
        # Poses without a path: each stands by itself.
        return f"poses {list(shape)}", still(array, shelf=shelf), len(array)
    if shape[-1] == 66 and array.ndim in (2, 3):
        array = array.reshape(*shape[:-1], 22, 3)
    if array.shape[-1] != 3 or array.ndim not in (2, 3, 4) or array.shape[-2] not in JOINT_COUNTS:
        raise UserError(f"{name}: {array.dtype} of shape {shape}. {EXPECTED}.")
    people = np.asarray(array, np.float64).reshape(-1, *((1,) * (3 - array.ndim)), *array.shape[-3:])[:MOST]
    total = shape[0] if array.ndim == 4 else 1
    made = [figures.of_joints(_label(k, people), joints, fps=fps) for k, joints in enumerate(people)]
    together = len(made) > 1 and _apart(people)
    return f"joints {list(shape)}", (tuple(made),) if together else tuple((f,) for f in made), total


def still(poses: _Array, *, shelf: Shelf | None, labels: Sequence[str] | None = None) -> tuple[Group, ...]:
    """Poses that stand by themselves, each a group of one figure with one frame."""
    shown = np.asarray(poses[:MOST], np.float64)
    texts = labels or [_label(k, shown) for k in range(len(shown))]
    return tuple(
        (figures.of_poses(text, pose[None], shelf=shelf),) for text, pose in zip(texts, shown, strict=True)
    )


def _apart(people: _Array) -> bool:
    """Whether people start at places of their own, so that they share one space."""
    starts = people[:, 0, 0][:, [0, 2]]
    distances = np.linalg.norm(starts[:, None] - starts[None], axis=-1)
    return bool(distances[np.triu_indices(len(starts), 1)].min() > 0.2)


def _label(index: int, among: Sequence[Any] | _Array) -> str:
    return str(index + 1) if len(among) > 1 else ""


def _length(figure: Figure) -> str:
    return f"{figure.frames / figure.fps:.1f} s, {counted(figure.frames, 'frame')} at {figure.fps:g} fps"


def _decoder(name: str, figure: Figure) -> Callable[[], Figure] | None:
    """Encodes the joints of a figure as the profile humanml3d does, and decodes them; None for a single frame."""
    return partial(_decoded, name, figure) if figure.frames > 1 else None


def _decoded(name: str, figure: Figure) -> Figure:
    joints = np.asarray(figure.joints[:, :22], np.float64)
    try:
        at_rate = interpolate_positions(joints, figure.fps, FEATURES_FPS)
        features = encode(at_rate, profile="humanml3d")
    except (UndefinedFeatures, ValueError) as error:
        raise UserError(f"{name}: no features ({error})") from error
    return figures.of_joints("decoded from features", decode(features), fps=FEATURES_FPS)
