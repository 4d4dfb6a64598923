"""Videos and folders of images as listed: names, frames and times, without a decoded frame."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.error
import numpy as np
from pyarrow import fs as pafs

from mocap_ray.errors import UserError
from mocap_ray.estimation.boxes import Boxes
from mocap_ray.storage import Place, place, without_secrets
from mocap_ray.wording import counted

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
"""Endings of the images of a folder, in lower case."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True, eq=False)
class Footage:
    """A video, or a folder of images.

    Attributes:
        name: unique in a run, and safe in a path.
        place: its folder; that of the images themselves.
        files: the file of the video, or the images in the order of their numbers.
        images: whether it is a folder of images.
        pts: [N] time stamps of the frames in the order in which they are shown, in units of `unit`.
        unit: seconds in a unit.
        size: bytes of all files.
        fingerprint: changes when a file changes.
        problem: why it cannot be read; empty if it can.
    """

    name: str
    place: Place
    files: tuple[str, ...]
    images: bool
    pts: np.ndarray
    unit: Fraction
    size: int
    fingerprint: str
    problem: str = ""

    @property
    def source(self) -> str:
        """Where it is, for messages."""
        return self.place.uri if self.images else f"{self.place.uri}/{self.files[0]}"


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Consecutive frames of a video or folder; the input of a shard.

    Attributes:
        footage: the name of the video.
        number: of the chunk.
        place, files, images, unit: as in `Footage`; of a folder only the images of these frames.
        first: number of the first frame in the video.
        pts: [N] of these frames.
        zero: time stamp of the first frame of the video.
        boxes: of people in these frames, from a file; None: to be detected.
        size: its share of the bytes.
        fingerprint: of the video and its boxes.
        problem: why the video cannot be read.
    """

    footage: str
    number: int
    place: Place
    files: tuple[str, ...]
    images: bool
    unit: Fraction
    first: int
    pts: np.ndarray
    zero: int
    boxes: Boxes | None
    size: int
    fingerprint: str
    problem: str = ""

    @property
    def name(self) -> str:
        """Unique among the chunks of a run."""
        return f"{self.footage}/{self.number:06d}"

    @property
    def source(self) -> str:
        """Where it is, for messages."""
        where = self.place.uri if self.images else f"{self.place.uri}/{self.files[0]}"
        return f"{where}, frames {self.first} to {self.first + len(self.pts) - 1}"

    def seconds(self, pts: int) -> float:
        """Time of a frame since the first one of the video."""
        return float((pts - self.zero) * self.unit)


def find_footage(addresses: Sequence[str], *, fps: float) -> list[Footage]:
    """The videos and folders of images at these addresses.

    Args:
        addresses: files of videos or images, folders of images, or folders of videos.
        fps: frame rate of images, which have none of their own.

    Raises:
        UserError: there is no such file, or a folder has neither videos nor images.
        OSError: a file cannot be read.
    """
    found: list[Footage] = []
    for address in addresses:
        for footage in _at(address, fps):
            found.append(_renamed(footage, {f.name for f in found}))
    return found


def chunks(
    footage: Footage, *, frames: int, boxes: Boxes | None = None, fingerprint: str = ""
) -> list[Chunk]:
    """Cut a video into chunks.

    Args:
        footage: the video.
        frames: of a chunk; the last one may have fewer.
        boxes: of people in the whole video.
        fingerprint: of the file of boxes.
    """
    total = len(footage.pts)
    made = []
    for number, first in enumerate(range(0, max(total, 1), frames)):
        stop = min(first + frames, total)
        made.append(
            Chunk(
                footage=footage.name,
                number=number,
                place=footage.place,
                files=footage.files[first:stop] if footage.images else footage.files,
                images=footage.images,
                unit=footage.unit,
                first=first,
                pts=footage.pts[first:stop],
                zero=int(footage.pts[0]) if total else 0,
                boxes=None if boxes is None else boxes.between(first, stop),
                size=footage.size * (stop - first) // max(total, 1),
                fingerprint=f"{footage.fingerprint}{fingerprint and '-'}{fingerprint}",
                problem=footage.problem,
            )
        )
    return made


def _at(address: str, fps: float) -> list[Footage]:
    at = place(address)
    info = at.fs.get_file_info(at.path)
    shown = without_secrets(at.uri)
    if info.type == pafs.FileType.NotFound:
        raise UserError(
            f"{shown}: no such file or folder. Expected a video, or a folder of images or videos."
        )
    if info.type == pafs.FileType.File:
        path, _, name = at.path.rpartition("/")
        folder = Place(at.fs, path, at.uri.rpartition("/")[0] or ".")
        return [_of_images(name, folder, [info], fps) if _is_image(name) else _of_video(folder, info)]
    inside = [i for i in at.files() if not at.relative(i.path).startswith((".", "_"))]
    own = [i for i in inside if "/" not in at.relative(i.path)]
    if images := [i for i in own if _is_image(i.path)]:
        return [_of_images(at.path.rpartition("/")[2] or "images", at, images, fps)]
    videos = [i for i in own if i.path.lower().endswith((".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v"))]
    if not videos:
        raise UserError(
            f"{shown}: neither images nor videos in this folder. Expected files that end in {', '.join(IMAGES)}, "
            "or videos (.mp4, .mov, .avi, .mkv, .webm, .m4v)."
        )
    return [_of_video(at, info) for info in videos]


def _is_image(path: str) -> bool:
    return path.lower().endswith(IMAGES)


def _of_images(name: str, at: Place, infos: Sequence[Any], fps: float) -> Footage:
    """A folder of images: the frames are in the order of the numbers in their names."""
    infos = sorted(infos, key=lambda i: natural_order(at.relative(i.path)))
    rate = Fraction(fps).limit_denominator(100_000)
    seen = [(at.relative(i.path), i.size, i.mtime_ns) for i in infos]
    return Footage(
        name=_safe(name),
        place=at,
        files=tuple(file for file, _, _ in seen),
        images=True,
        pts=np.arange(len(seen)),
        unit=1 / rate,
        size=sum(size for _, size, _ in seen),
        fingerprint=hashlib.sha256(repr((seen, str(rate))).encode()).hexdigest()[:16],
    )


def _of_video(at: Place, info: Any) -> Footage:
    file = at.relative(info.path)
    try:
        pts, unit = _time_stamps(at, file)
        problem = "" if len(pts) else "no frame of a video in this file"
    except (av.error.FFmpegError, ValueError) as error:
        if isinstance(error, OSError) and not isinstance(error, av.error.InvalidDataError):
            raise
        pts, unit, problem = np.zeros(0, np.int64), Fraction(1), f"not a video that can be read ({error})"
    return Footage(
        name=_safe(file.rpartition(".")[0] or file),
        place=at,
        files=(file,),
        images=False,
        pts=pts,
        unit=unit,
        size=info.size,
        fingerprint=f"{info.size}-{info.mtime_ns}",
        problem=problem,
    )


def _time_stamps(at: Place, file: str) -> tuple[np.ndarray, Fraction]:
    """Time stamps of all frames, in order, and seconds in a unit; the packets are read, but not decoded."""
    with at.fs.open_input_file(at.join(file)) as data, av.open(data) as container:
        if not container.streams.video:
            raise ValueError("no video stream")
        stream = container.streams.video[0]
        found = []
        try:
            for packet in container.demux(stream):
                if packet.size and packet.pts is not None and not packet.is_discard:
                    found.append(packet.pts)
        except av.error.FFmpegError:
            if not found:  # cut short: what comes before is used
                raise
        return np.unique(np.asarray(found, np.int64)), stream.time_base or Fraction(1)


def natural_order(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts numbers in names by their value.

    >>> sorted(["10.png", "9.png", "a.png"], key=natural_order)
    ['9.png', '10.png', 'a.png']
    """
    return [
        (0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name) if part
    ]


def _safe(name: str) -> str:
    """A name with letters, digits, dots, hyphens and underscores alone."""
    return _UNSAFE.sub("_", name).strip("._") or "video"


def _renamed(footage: Footage, taken: set[str]) -> Footage:
    if footage.name in taken:
        raise UserError(
            f"{without_secrets(footage.source)}: another video or folder has the name {footage.name} too. "
            f"Rename one of them: the {counted(len(taken) + 1, 'result')} would share a folder."
        )
    return footage
