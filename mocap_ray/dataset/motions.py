"""Motion that an export reads: the clips of a data set, or files of joints or features that a generator wrote.

| shape in a .npy, or in an .npz under `joints`, `features` or `motion` | what |
|---|---|
| [T, 263], [N, T, 263] | features, unnormalised, of either profile |
| [T, 22, 3], [T, 66], [N, T, 22, 3] | joints, metres, Y up |
| [N, 22, 3, T] | joints as MDM writes them; its results.npy, a dictionary with `motion` and `lengths`, is read too |
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Float
from pyarrow import fs as pafs

from mocap_ray import pickles
from mocap_ray.archives.amass import take_name
from mocap_ray.archives.files import is_hidden
from mocap_ray.archives.layouts import said_rate
from mocap_ray.dataset.reader import DataSet, open
from mocap_ray.dataset.views import ClipView
from mocap_ray.errors import UserError
from mocap_ray.motion.features import decode
from mocap_ray.npz import NpzError, npy, open_npz
from mocap_ray.skeleton import FAMILIES
from mocap_ray.storage import Place, place

ENDINGS = (".npy", ".npz")
KEYS = ("joints", "features", "motion")
FPS = 20.0
"""Of files that do not say: that of HumanML3D."""
EXPECTED = (
    "Expected features [frames, 263], joints [frames, 22, 3] in metres with Y up, several of either with one more axis "
    "in front, or MDM's results.npy"
)

_Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class SourceMotion:
    """One motion to export.

    Attributes:
        name: path below a folder, without an ending.
        fps: frames per second.
        joints: [T, 22, 3] metres, Y up.
        family: smpl, smplh or smplx, of the person's body; None if unknown.
        gender: as in its recording; `unknown` if there is none.
        betas: [B] shape coefficients of the family; empty if unknown.
        measured: whether the joints lie on the bones of the body that family, gender and betas describe. Others are on
            a skeleton of their own, such as that of HumanML3D.
        poses: [T, 55, 3] rotation vectors of SMPL-X's joints, rad, Y up; None if there are none.
        trans: [T, 3] metres, Y up; None if there are no poses.
    """

    name: str
    fps: float
    joints: Float[np.ndarray, "T 22 3"]
    family: str | None = None
    gender: str = "unknown"
    betas: Float[np.ndarray, "B"] = field(default_factory=lambda: np.zeros(0))
    measured: bool = False
    poses: Float[np.ndarray, "T 55 3"] | None = None
    trans: Float[np.ndarray, "T 3"] | None = None


@dataclass(frozen=True)
class Motions:
    """The motions of a data set, a file or a folder of files.

    Attributes:
        where: the path as it was typed.
        data_set: None for files.
        place: of the files.
        files: path -> size and time of change.
        fps: overrides the rate of files.
    """

    where: str
    data_set: DataSet | None
    place: Place
    files: Mapping[str, tuple[int, int]]
    fps: float | None = None

    def __len__(self) -> int:
        """Clips of a data set, or files."""
        return len(self.files) if self.data_set is None else len(self.data_set)

    @property
    def identity(self) -> object:
        """What distinguishes these motions from others, as JSON values."""
        if self.data_set is not None:
            return self.data_set.manifest
        return {"files": {name: list(about) for name, about in self.files.items()}, "fps": self.fps}

    def each(self) -> Iterator[tuple[int, SourceMotion]]:
        """All motions, each with the number of the clip or file that it comes from.

        Raises:
            UserError: a file holds no motion; the message says what was found.
        """
        if self.data_set is not None:
            columns = [c for c in ("features", "joints", "poses", "trans") if c in self.data_set.columns]
            for k, clip in enumerate(self.data_set.clips(columns=columns)):
                yield k, _of_clip(self.data_set, clip)
            return
        for k, source in enumerate(self.files):
            for motion in _of_file(self.place, source, self.fps):
                yield k, motion


def open_motions(source: str | os.PathLike[str], *, fps: float | None = None) -> Motions:
    """Find what a path holds: a data set, a file, or a folder of files.

    Args:
        source: a local path or an address.
        fps: overrides the rate of files; a data set has its own.

    Raises:
        UserError: the path does not exist, or holds none of these.
    """
    text = str(source)
    where = place(text)
    if text.endswith(ENDINGS):
        address, question, query = text.partition("?") if "://" in text else (text, "", "")
        folder, _, name = address.rpartition("/")
        where = place(f"{folder or ('/' if address.startswith('/') else '.')}{question}{query}")
        if not where.exists(name):
            raise UserError(f"{text}: no such file. {EXPECTED}.")
        info = where.fs.get_file_info(where.join(name))
        return Motions(text, None, where, {name: (info.size, info.mtime_ns or 0)}, fps)
    kind = where.fs.get_file_info(where.path).type
    if kind != pafs.FileType.Directory:
        found = "no such folder" if kind == pafs.FileType.NotFound else "a file of another kind"
        raise UserError(
            f"{text}: {found}. Expected a data set, or a .npy or .npz file or a folder of them. {EXPECTED}."
        )
    if where.exists("manifest.json") or where.exists("receipts"):
        if fps is not None:
            raise UserError(f"{text}: a data set, which has a frame rate of its own. Leave --fps out.")
        return Motions(text, open(source), where, {})
    files = {
        path: (info.size, info.mtime_ns or 0)
        for info in sorted(where.files(), key=lambda info: info.path)
        if (path := where.relative(info.path)).endswith(ENDINGS) and not is_hidden(path)
    }
    if not files:
        raise UserError(f"{text}: no data set, and no .npy or .npz file in it. {EXPECTED}.")
    return Motions(text, None, where, files, fps)


def _of_clip(ds: DataSet, clip: ClipView) -> SourceMotion:
    """A clip; its joints are those of its body, unless they are only known on HumanML3D's skeleton."""
    stored = clip.frames.get("joints") is not None
    family = clip.family if clip.family in FAMILIES else None
    poses = clip.poses if clip.frames.get("poses") is not None else None
    trans = clip.trans if clip.frames.get("trans") is not None else None
    recording, _, part = clip.clip_id.rpartition("@")
    return SourceMotion(
        name=f"{take_name(recording)}@{part}" if recording else clip.clip_id,
        fps=clip.fps,
        joints=np.asarray(ds.joints(clip), np.float64),
        family=family,
        gender=clip.gender,
        betas=clip.betas,
        measured=family is not None and (stored or ds.profile == "flowmimic"),
        poses=poses if trans is not None else None,
        trans=trans if poses is not None else None,
    )


def _of_file(where: Place, source: str, fps: float | None) -> Iterator[SourceMotion]:
    """The motions of a file, several of them numbered."""
    try:
        array, lengths, own = _read(where, source)
    except (NpzError, pickles.UnsafePickle) as error:
        raise UserError(f"{source}: {error}. {EXPECTED}.") from error
    clips = _clips(source, array)
    stem = str(PurePosixPath(source).with_suffix(""))
    for k, joints in enumerate(clips):
        if lengths is not None and k < len(lengths):
            joints = joints[: max(1, int(lengths[k]))]
        name = stem if len(clips) == 1 else f"{stem}_{k:03d}"
        broken = np.argwhere(~np.isfinite(joints).all(axis=(1, 2)))
        if len(broken):
            raise UserError(
                f"{source}: frame {int(broken[0, 0]):,} of {PurePosixPath(name).name} holds values that are not "
                "finite. Expected metres in every frame; cut the motion there, or correct the program that wrote it."
            )
        yield SourceMotion(name=name, fps=fps or own or FPS, joints=joints)


def _read(where: Place, source: str) -> tuple[_Array, _Array | None, float | None]:
    """The array of a file, the lengths of its clips and its frame rate, the last two if it says them."""
    if source.endswith(".npz"):
        with open_npz(where, source) as file:
            key = next((k for k in KEYS if k in file), None)
            if key is None and len(file.members) == 1:
                key = next(iter(file.members))
            if key is None:
                raise UserError(
                    f"{source}: none of the keys {', '.join(KEYS)} (keys: {file.keys}). {EXPECTED}."
                )
            return file.read(key), None, said_rate(file)
    content = where.read(source)
    head = npy.header("array", memoryview(content), len(content))
    if not head.dtype.hasobject:
        return npy.array("array", memoryview(content), head), None, None
    found = pickles.load(content[head.start :], where=source)
    found = found.item() if isinstance(found, np.ndarray) and found.shape == () else found
    motion = found.get("motion") if isinstance(found, dict) else None
    if not isinstance(motion, np.ndarray):
        raise UserError(f"{source}: pickled objects without an array 'motion'. {EXPECTED}.")
    assert isinstance(found, dict)
    lengths = found.get("lengths")
    fits = (
        isinstance(lengths, np.ndarray) and lengths.shape == motion.shape[:1] and lengths.dtype.kind in "iu"
    )
    return motion, lengths if fits else None, None


def _clips(source: str, array: _Array) -> list[_Array]:
    """Joints [T, 22, 3] of each clip in an array."""
    shape = array.shape
    if array.dtype.kind not in "fiu" or 0 in shape:
        raise UserError(f"{source}: {array.dtype} of shape {shape}. {EXPECTED}.")
    if shape[-1] == 263 and array.ndim in (2, 3):
        return [np.asarray(decode(clip)) for clip in array.reshape(-1, *shape[-2:])]
    numbers = np.asarray(array, np.float64)
    if shape[-1] == 66 and array.ndim == 2:
        return [numbers.reshape(-1, 22, 3)]
    if array.ndim == 3 and shape[1:] == (22, 3):
        return [numbers]
    if array.ndim == 4 and shape[2:] == (22, 3):
        return list(numbers)
    if array.ndim == 4 and shape[1:3] == (22, 3):
        return list(np.moveaxis(numbers, 3, 1))
    raise UserError(f"{source}: {array.dtype} of shape {shape}. {EXPECTED}.")
