"""MVHumanNet: people filmed by many cameras, with SMPL fitted to every fifth frame of the videos.

`<part>/<outfit>/smpl_param/000075.pkl`, one pickle of torch tensors a frame, 5 frames per second. `joints` [1, 45, 3]
are the joints of the fit in metres; the first 22 are the body joints. The rotations beside them are matrices and
`transl` is None, so joints are what this archive reads. Source: github.com/GAP-LAB-CUHK-SZ/MVHumanNet.

A recording is a folder: it is listed in one pass and read in one go, however many files it has.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import PurePosixPath
from typing import NamedTuple, TypeVar

import numpy as np
from pyarrow import fs as pafs

from mocap_ray.archives import files
from mocap_ray.archives.archive import Archive
from mocap_ray.archives.layouts import Unusable
from mocap_ray.archives.pickled import require_size, unusable_pickle
from mocap_ray.errors import UserError
from mocap_ray.motion.clip import JointMotion, Reason
from mocap_ray.pickles import AlikePickles, NoSuchKey
from mocap_ray.records import Recording, Rejection
from mocap_ray.storage import Place
from mocap_ray.wording import counted, listed

FPS = 5.0
FRAMES = "smpl_param"
JOINTS, BODY_JOINTS = 45, 22

R_YUP_SOURCE = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
"""(x, y, z) of MVHumanNet, with -z up, becomes (-y, -z, x), Y up."""
R_YUP_SOURCE.setflags(write=False)

_READ = 4096
"""Bytes of a frame that are read, about; the rest are vertices and faces. They are what a recording's size counts, so
that a shard of 32 MB holds about a hundred outfits and not two."""
_LARGEST = 16 << 20  # a frame has 252 kB, most of it vertices and faces
_THREADS = 16  # requests at a time to an object store

REGISTER = (
    "fill in the form of github.com/GAP-LAB-CUHK-SZ/MVHumanNet, download the parts with its script and unpack them "
    "side by side: MVHumanNet_24_Part_01/100001/smpl_param/000000.pkl"
)

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Frame(NamedTuple):
    """A file of a recording, as listed."""

    name: str
    size: int
    mtime_ns: int


def discover(place: Place, *, dataset: str | None = None) -> list[Recording]:
    """List all folders `smpl_param` below `place`, sorted by name; what lies beside them is not listed.

    The sub-dataset is the first folder, and the subject is the outfit: which two outfits one person wore is not
    published.

    Args:
        place: a folder of parts (`<part>/<outfit>/smpl_param`), of outfits, or of one outfit.
        dataset: name of the sub-dataset if `place` is its folder; becomes the first part of each name.

    Raises:
        UserError: no such folder, no `smpl_param` in it, or an invalid `dataset`.
        OSError: a folder cannot be listed.
    """
    files.require_dataset(dataset)
    files.require_folder(place, what="the parts of MVHumanNet")
    found = sorted(_folders(place))
    if not found:
        raise UserError(_nothing_found(place))
    make = partial(_recording, place, dataset)
    return sorted(_mapped(place, make, found), key=lambda r: r.name)


def read(
    place: Place, recording: Recording, *, fps: float | None = None
) -> JointMotion | Rejection[Recording]:
    """Read all frames of a recording, in the order of their numbers, centred on the pelvis of the first.

    Non-finite joints are kept: the quality checks find them.

    Args:
        place: the place that was passed to `discover`.
        recording: a recording that `discover` returned.
        fps: overrides 5 frames per second.

    Raises:
        OSError: a file cannot be read, or the folder has changed since it was listed.
        UserError: `fps` is out of bounds.
    """
    files.require_rate(fps)
    rate = FPS if fps is None else fps
    frames = _frames(place, recording.source)
    if _fingerprint(frames) != recording.fingerprint:
        raise OSError(f"{recording.source}: its files have changed since they were listed.")
    try:
        frames = _in_order(frames)
        joints = _joints(place, recording.source, frames)
    except _BadFrame as bad:
        at = f"{recording.source}/{bad.name}"
        return files.rejected(recording, bad.why.reason, bad.why.detail, source=at)
    except Unusable as error:
        return files.rejected(recording, error.reason, error.detail)
    pelvis = joints[:, 0]
    whole = np.isfinite(pelvis).all(axis=-1)
    return JointMotion(
        recording=recording,
        gender="unknown",
        fps=rate,
        source_fps=rate,
        joints=joints - pelvis[np.argmax(whole)] if whole.any() else joints,
        R_yup_source=R_YUP_SOURCE,
    )


class _BadFrame(Exception):
    """A file of a recording cannot be used."""

    def __init__(self, name: str, why: Unusable) -> None:
        super().__init__(name, why)
        self.name, self.why = name, why


def _joints(place: Place, folder: str, frames: Sequence[_Frame]) -> np.ndarray:
    """Body joints [T, 22, 3] of all frames, float64. Raises _BadFrame or OSError."""
    alike = _reader()
    joints = np.empty((len(frames), BODY_JOINTS, 3))
    if place.local is not None:
        opened = partial(_read_local, alike, place.join(folder))
        for k, frame in enumerate(frames):
            joints[k] = _usable(frame, opened)
        return joints
    # Requests to a store take their time, so several are made at once; a few hundred frames are in memory at a time.
    for start in range(0, len(frames), 256):
        some = frames[start : start + 256]
        for frame in some:
            _require_small(frame)
        contents = _mapped(place, lambda frame: place.read(folder, frame.name), some)
        for k, (frame, data) in enumerate(zip(some, contents, strict=True), start):
            joints[k] = _usable(frame, partial(_read_bytes, alike, data))
    return joints


@lru_cache(maxsize=1)
def _reader() -> AlikePickles:
    """One for all recordings of a process, because their frames are alike as well; it only saves time."""
    return AlikePickles("joints")


def _usable(frame: _Frame, read: Callable[[_Frame], object]) -> np.ndarray:
    """Body joints [22, 3] of a frame. Raises _BadFrame or OSError."""
    _require_small(frame)
    try:
        joints = read(frame)
    except NoSuchKey as error:
        what = str(error).removeprefix(f"{frame.name}: ")
        raise _BadFrame(frame.name, Unusable(Reason.MISSING_KEYS, what)) from error
    except UserError as error:
        raise _BadFrame(frame.name, unusable_pickle(error, frame.name)) from error
    if not isinstance(joints, np.ndarray) or joints.dtype.kind != "f":
        what = f"of type {joints.dtype}" if isinstance(joints, np.ndarray) else f"a {type(joints).__name__}"
        raise _BadFrame(frame.name, Unusable(Reason.BAD_SHAPE, f"'joints' is {what}. Expected float32"))
    if joints.shape not in ((1, JOINTS, 3), (JOINTS, 3)):
        what = f"'joints' is {joints.shape}. Expected (1, {JOINTS}, 3) or ({JOINTS}, 3)"
        raise _BadFrame(frame.name, Unusable(Reason.BAD_SHAPE, what))
    return joints.reshape(JOINTS, 3)[:BODY_JOINTS]


def _require_small(frame: _Frame) -> None:
    try:
        require_size(frame.size, _LARGEST)
    except Unusable as error:
        raise _BadFrame(frame.name, error) from error


def _read_local(alike: AlikePickles, folder: str, frame: _Frame) -> object:
    """The joints of a file on a local disk; only the parts of it that are needed are read."""
    file = os.open(f"{folder}/{frame.name}", os.O_RDONLY)
    try:
        return alike.read(partial(os.pread, file), frame.size, where=frame.name)
    finally:
        os.close(file)


def _read_bytes(alike: AlikePickles, data: bytes, frame: _Frame) -> object:
    """The joints of a file that was read whole."""
    return alike.read(lambda count, at: data[at : at + count], frame.size, where=frame.name)


def _in_order(frames: Sequence[_Frame]) -> list[_Frame]:
    """The frames by their numbers.

    Raises:
        Unusable: there are none, some are missing, or two have one number.
    """
    numbered = sorted((int(frame.name.removesuffix(".pkl")), frame) for frame in frames)
    if not numbered:
        raise Unusable(Reason.TOO_SHORT, "no frames. Expected files such as 000000.pkl")
    missing = 0
    gaps = list[str]()
    for (number, before), (next_number, after) in pairwise(numbered):
        step = next_number - number
        if step == 1:
            continue
        if step == 0:
            what = f"{before.name} and {after.name} have the same number. Remove one of them"
            raise Unusable(Reason.MISSING_FRAMES, what)
        missing += step - 1
        gaps.append(f"between {before.name} and {after.name}")
    if gaps:
        what = f"{counted(missing, 'frame')} of {missing + len(numbered):,} {'is' if missing == 1 else 'are'} missing"
        remedy = "Unpack the outfit again, or leave it out"
        raise Unusable(Reason.MISSING_FRAMES, f"{what}, {listed(gaps, most=3)}. {remedy}")
    return [frame for _, frame in numbered]


def _frames(place: Place, folder: str) -> list[_Frame]:
    """The frames in a folder, sorted by name: one listing. Files whose name is no number are none."""
    selector = pafs.FileSelector(place.join(folder), recursive=False, allow_not_found=True)
    infos = place.fs.get_file_info(selector)
    names = [(info.base_name, info) for info in infos if info.is_file]
    return sorted(_Frame(name, info.size, info.mtime_ns or 0) for name, info in names if _is_frame(name))


def _is_frame(name: str) -> bool:
    stem = name.removesuffix(".pkl")
    return stem != name and stem.isascii() and stem.isdigit() and len(stem) <= 18


def _fingerprint(frames: Iterable[_Frame]) -> str:
    """Changes when a frame is added, removed or changed."""
    text = "\n".join(f"{name} {size} {mtime}" for name, size, mtime in frames)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _folders(place: Place) -> Iterator[str]:
    """Paths of all folders `smpl_param` below a place. Folders beside one, which hold images, are not listed."""
    level = [""]
    while level:
        below = list[str]()
        for folder, names in zip(level, _mapped(place, partial(_folders_in, place), level), strict=True):
            if FRAMES in names:
                yield f"{folder}{FRAMES}"
            else:
                below += [f"{folder}{name}/" for name in names]
        level = below


def _folders_in(place: Place, folder: str) -> list[str]:
    """Names of the folders in a folder, without hidden ones."""
    path = place.join(folder.rstrip("/")) if folder else place.path
    infos = place.fs.get_file_info(pafs.FileSelector(path, recursive=False, allow_not_found=True))
    names = (info.base_name for info in infos if info.type == pafs.FileType.Directory)
    return sorted(name for name in names if not name.startswith("."))


def _mapped(place: Place, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """The results of all items in their order; in an object store, several at a time."""
    if place.local is not None or len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(_THREADS) as threads:
        return list(threads.map(work, items))


def _recording(place: Place, dataset: str | None, source: str) -> Recording:
    """A recording of all the frames in a folder."""
    folders = source.split("/")[:-1]
    here = PurePosixPath(place.path)
    if dataset is not None:
        folders = [dataset, *(folders or [here.name])]
    elif len(folders) < 2:
        # The folder of a part, or of an outfit: what is above it belongs to the name.
        folders = [*here.parts[-(2 - len(folders)) :], *folders]
    name = "/".join(folders)
    frames = _frames(place, source)
    return Recording(
        dataset=folders[0],
        name=name,
        subject=name,
        source=source,
        size=sum(min(frame.size, _READ) for frame in frames),
        fingerprint=_fingerprint(frames),
    )


def _nothing_found(place: Place) -> str:
    """The message for a folder without recordings."""
    if not place.exists() and not place.names():
        return f"{place.uri}: no such folder. Expected the folder of the parts of MVHumanNet; {REGISTER}."
    if PurePosixPath(place.path).name == FRAMES:
        return f"{place.uri}: the frames of one recording. Use the folder above it as source.root."
    packed = [n for n in place.names() if n.endswith((".tar.gz", ".tgz", ".tar", ".zip"))]
    if packed:
        many = counted(len(packed), "packed archive")
        return f"{place.uri}: no folder {FRAMES}, but {many}. Unpack first: tar -xf {packed[0]}"
    return f"{place.uri}: no folder {FRAMES} in it. Expected MVHumanNet; {REGISTER}."


ARCHIVE = Archive(
    name="mvhumannet",
    title="MVHumanNet",
    discover=discover,
    read=read,
    url="https://github.com/GAP-LAB-CUHK-SZ/MVHumanNet",
    licence=(
        "The data of MVHumanNet is released under the MVHumanNet Terms of Use, to which one agrees in the form of its "
        "repository."
    ),
    citation=(
        "Z. Xiong, C. Li, K. Liu, H. Liao, J. Hu, J. Zhu, S. Ning, L. Qiu, C. Wang, S. Wang, S. Cui, X. Han: "
        "MVHumanNet: A Large-scale Dataset of Multi-view Daily Dressing Human Captures. CVPR 2024, pp. 19801-19811."
    ),
    register=REGISTER,
    joints_alone=True,
    of_folders=True,
)
