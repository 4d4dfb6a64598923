"""One file looked at closely: what it is, its quality figures, and whether a run would take it (floor 3)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mocap_ray.archives import Archive
from mocap_ray.body.bodies import Bodies
from mocap_ray.dataset.options import BodyOptions, MotionOptions
from mocap_ray.dataset.process import Plan, process
from mocap_ray.motion.clip import Clip, Motion, Recording, Rejection
from mocap_ray.motion.quality import Quality, measure, stretches
from mocap_ray.storage import place


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a file is.

    Attributes:
        motion: what was read, or why nothing could be.
        quality: figures at the source's rate; None where nothing could be read.
        clips, rejections: what a run with these options would make of it; without body models only the
            checks that need none were made and `clips` stays empty.
        complete: body models were given, so every check was made.
    """

    recording: Recording
    motion: Motion | Rejection
    quality: Quality | None
    clips: tuple[Clip, ...]
    rejections: tuple[Rejection, ...]
    complete: bool

    @property
    def taken(self) -> bool:
        """Whether a run would make at least one clip of it, as far as was checked."""
        return (
            bool(self.clips)
            if self.complete
            else not isinstance(self.motion, Rejection) and not self.rejections
        )


def inspect(
    file: Path, archive: Archive, *, body_root: str | None = None, options: MotionOptions | None = None
) -> Inspection:
    """Read and check one local file as a run would, without Ray.

    Args:
        file: the recording.
        archive: how to read it.
        body_root: folder of body models; without it, no joints and features are made.
        options: motion section of a config; its defaults where None.

    Raises:
        ValueError: no such file; a missing body model.
    """
    if not file.is_file():
        raise ValueError(f"{file}: no such file. Expected a recording of {archive.title}.")
    options = options or MotionOptions()
    here = place(file.absolute().parent)
    info = file.stat()
    stem = file.name.removesuffix(file.suffix)
    recording = Recording("", stem, stem, file.name, info.st_size, str(info.st_mtime_ns))
    motion = archive.read(here, recording)
    if isinstance(motion, Rejection):
        return Inspection(recording, motion, None, (), (motion,), complete=True)
    body = BodyOptions(root=body_root or "")
    limits = options.quality.limits()
    bodies = Bodies.load(body_root, gender=body.gender) if body_root else None
    if bodies is None:
        quality = measure(motion, limits, exact=True)
        parts = stretches(motion, quality, cut=options.quality.cut, min_frames=2)
        rejections = tuple(p for p in parts if isinstance(p, Rejection))
        return Inspection(recording, motion, quality, (), rejections, complete=False)
    plan = Plan(archive, here, bodies, body, options, ("features", "joints"))
    found = process(recording, plan)
    return Inspection(
        recording,
        motion,
        measure(motion, limits, exact=True),
        tuple(c for c in found if isinstance(c, Clip)),
        tuple(r for r in found if isinstance(r, Rejection)),
        complete=True,
    )
