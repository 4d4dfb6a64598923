"""Inspect one file: what it is, its quality figures, and whether a run would use it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import PurePosixPath

from pyarrow import fs as pafs

from mocap_ray.archives import Archive
from mocap_ray.body.bodies import Bodies
from mocap_ray.dataset.options import BodyOptions, MotionOptions
from mocap_ray.dataset.person import Person, left_out, person_of
from mocap_ray.dataset.process import Plan, process, source_frames
from mocap_ray.errors import UserError
from mocap_ray.motion import bounds
from mocap_ray.motion.clip import Clip, JointMotion, Motion
from mocap_ray.motion.quality import Quality, measure
from mocap_ray.motion.stretches import stretches
from mocap_ray.records import Recording, Rejection
from mocap_ray.storage import Place, place, require_readable_name
from mocap_ray.wording import counted


@dataclass(frozen=True, slots=True)
class Inspection:
    """The result of inspecting a file.

    Attributes:
        recording: the file as a run would list it, below its own folder.
        motion: the motion that was read, or why it could not be read.
        quality: exact figures at the source's rate; None if the file could not be read or used.
        clips, rejections: what a run with these options would make from the file; without body models, only the
            checks that need none are made and `clips` is empty.
        complete: whether every check of a run was made: body models were given, or none are needed.
        frames_kept: number of source frames that pass the checks at the source's rate.
    """

    recording: Recording
    motion: Motion | JointMotion | Rejection[Recording]
    quality: Quality | None
    clips: tuple[Clip, ...]
    rejections: tuple[Rejection[Recording], ...]
    complete: bool
    frames_kept: int

    @property
    def usable(self) -> bool:
        """Whether a run would make at least one clip from the file, as far as was checked."""
        return bool(self.clips) if self.complete else self.frames_kept > 0


def inspect(
    file: str | os.PathLike[str],
    archive: Archive,
    *,
    motion: MotionOptions | None = None,
    body: BodyOptions | None = None,
    fps: float | None = None,
) -> Inspection:
    """Read and check one file as a run would, without Ray.

    Args:
        file: the recording: a path, or an address such as s3://bucket/CMU/01/01_01_poses.npz.
        archive: how to read it.
        motion: motion section of a config; None means the defaults.
        body: body section of a config; without it, no joints and features are computed.
        fps: overrides the frame rate of the file.

    Raises:
        UserError: no such file; a missing body model.
        OSError: the file cannot be read.
    """
    options = motion or MotionOptions()
    where, recording = _located(str(file), archive)
    bodies = Bodies.load(body.root, gender=body.gender, families=body.families) if body else None
    found = archive.read(where, recording, fps=fps)
    if bodies is None and isinstance(found, JointMotion):
        body, bodies = BodyOptions(root=""), Bodies("", "recorded", {}, {})  # none is needed
    if isinstance(found, Rejection):
        return Inspection(recording, found, None, (), (found,), complete=True, frames_kept=0)
    person = _person(found, bodies, body)
    if isinstance(person, Rejection):
        return Inspection(recording, found, None, (), (person,), complete=True, frames_kept=0)
    shaped = None if person is None else person.shaped
    quality = measure(found, options.quality.limits(), body=shaped, exact=True)
    least = source_frames(options.min_frames, found.source_fps, options)
    parts = stretches(found, quality, cut=options.quality.cut, min_frames=least)
    kept = sum(p.stop - p.start for p in parts if isinstance(p, slice))
    if body is None or bodies is None:
        left = tuple(p for p in parts if isinstance(p, Rejection))
        return Inspection(recording, found, quality, (), left, complete=kept == 0, frames_kept=kept)
    made = process(recording, Plan(archive, where, bodies, body, options, ("features", "joints"), fps))
    return Inspection(
        recording,
        found,
        quality,
        tuple(c for c in made if isinstance(c, Clip)),
        tuple(r for r in made if isinstance(r, Rejection)),
        complete=True,
        frames_kept=kept,
    )


def _person(
    motion: Motion | JointMotion, bodies: Bodies | None, options: BodyOptions | None
) -> Person | Rejection[Recording] | None:
    """The body of the person, None without body models, or why a run leaves the recording out."""
    wrong = bounds.out_of_bounds(motion)
    if wrong is not None or isinstance(motion, JointMotion) or bodies is None or options is None:
        return wrong
    return left_out(motion, options) or person_of(motion, bodies, options)


def _located(file: str, archive: Archive) -> tuple[Place, Recording]:
    """The folder of a file, and the file as a recording directly in it; a folder if that is what a recording is."""
    require_readable_name(file)
    if archive.of_folders:
        found = archive.discover(where := place(file))
        if len(found) == 1:
            return where, found[0]
        raise UserError(
            f"{file}: {counted(len(found), 'recording')} of {archive.title}, such as {found[0].source}. Expected the "
            "folder of one; for all of them, use `mocap-ray extract CONFIG --override source.root=FOLDER --dry-run`."
        )
    if "://" in file:
        address, question, query = file.partition("?")
        folder, _, name = address.rstrip("/").rpartition("/")
        where = place(f"{folder}{question}{query}")
    else:
        path = os.path.abspath(os.path.expanduser(file))
        folder, name = os.path.split(path)
        where = place(folder)
    info = where.fs.get_file_info(where.join(name)) if name else None
    if info is None or info.type != pafs.FileType.File:
        kind = pafs.FileType.Directory if info is None else info.type
        what = {
            pafs.FileType.NotFound: "no such file",
            pafs.FileType.Directory: "a folder",
        }.get(kind, "neither a file nor a folder")
        shown = f"{where.uri}/{name}" if "://" in file else file
        raise UserError(
            f"{shown}: {what}. Expected one recording of {archive.title}; for all recordings below a folder, use "
            "`mocap-ray extract CONFIG --override source.root=FOLDER --dry-run`."
        )
    stem = PurePosixPath(name).stem
    return where, Recording("", stem, stem, name, info.size, str(info.mtime_ns))
