"""Write motion as files that other programs play: AMASS npz, BVH, GIF and MP4.

Each export takes a data set, or files of features or joints (`motions.py`), and writes one file for each motion, in
folders as the names say. It resumes as the other exports do. Where a data set has the poses themselves, they are
written; elsewhere they are fitted to the joints (`body.fitting`), many clips at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from typing import Any, Literal

import numpy as np

from mocap_ray.archives.amass_files import SUFFIX, amass_bytes
from mocap_ray.archives.rigs.bvh_writer import bvh_bytes
from mocap_ray.body.bodies import POLICIES, Bodies
from mocap_ray.body.fitting import FitOptions, Fitted, Regulariser, betas_of, fit, onto, own_body
from mocap_ray.body.fitting.shape import bone_lengths
from mocap_ray.body.model import BodyModel, ShapedBody
from mocap_ray.dataset.export import Job, safe
from mocap_ray.dataset.motions import Motions, SourceMotion, open_motions
from mocap_ray.errors import UserError
from mocap_ray.motion.clip import Motion
from mocap_ray.records import Recording
from mocap_ray.skeleton import FAMILIES, JOINT_NAMES, TO_SMPLX
from mocap_ray.storage import place

Progress = Callable[[int, int], None]
"""Called with the number of clips or files done, and the total."""
Shape = Literal["mean", "bones"]
"""Of a person whose shape is unknown: the mean body, or one with bones as long as the person's."""

_FRAMES = 32_768
"""Frames that are read before they are fitted together."""
_BONES_MM = 10.0
"""Bones of joints differ by less from those of the body that they were made with."""


@dataclass(frozen=True, slots=True)
class MotionExport:
    """The result of an export.

    Attributes:
        folder: the folder that was written.
        written: number of files that this run wrote.
        kept: number of files that an earlier run had already completed.
        stored: motions of this run whose poses the data set had.
        fitted: motions of this run whose poses were fitted.
        error_mm: mean distance over frames between fitted joints and those that they were fitted to; 0 without any.
        worst: the fitted motion with the largest mean distance, and this distance in mm.
    """

    folder: str
    written: int
    kept: int
    stored: int = 0
    fitted: int = 0
    error_mm: float = 0.0
    worst: tuple[str, float] = ("", 0.0)


@dataclass(frozen=True, slots=True)
class Fitting:
    """How poses are fitted where a source has none.

    Attributes:
        prior: makes them plausible where joints say nothing.
        prior_name: which prior it is, so that an export is not resumed with another.
        options: of the solver.
        device: where it runs.
    """

    prior: Regulariser | None = None
    prior_name: str = ""
    options: FitOptions | None = None
    device: str = "cpu"


_PLAIN = Fitting()


@dataclass(slots=True)
class _Tally:
    stored: int = 0
    fitted: int = 0
    frames: int = 0
    total_mm: float = 0.0
    worst: tuple[str, float] = ("", 0.0)

    def add(self, name: str, fitted: Fitted) -> None:
        self.fitted += 1
        self.frames += len(fitted.poses)
        self.total_mm += fitted.error_mm * len(fitted.poses)
        self.worst = max(self.worst, (name, fitted.error_mm), key=lambda item: item[1])

    def result(self, job: Job) -> MotionExport:
        mean = self.total_mm / max(self.frames, 1)
        return MotionExport(job.out.uri, job.written, job.kept, self.stored, self.fitted, mean, self.worst)


def export_amass(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    body: str | os.PathLike[str],
    family: str | None = None,
    gender: str = "neutral",
    shape: Shape = "mean",
    fps: float | None = None,
    fitting: Fitting = _PLAIN,
    progress: Progress | None = None,
) -> MotionExport:
    """Write poses as AMASS files, which `archives.amass` and programs for AMASS read.

    Args:
        source: a data set, a file or a folder of files; see `motions`.
        out: the folder to write.
        body: folder of body models.
        family: smpl, smplh or smplx; None means that of each clip, and smplh where there is none.
        gender: of the body where it is unknown.
        shape: of the body where it is unknown.
        fps: overrides the rate of files.
        fitting: how poses are fitted.
        progress: called from time to time.

    Raises:
        UserError: the source holds no motion, a body model is missing, or `out` holds other files.
        OSError: for example, the disk is full; the same call resumes.
    """
    if family is not None and family not in FAMILIES:
        raise UserError(f"--family {family}: expected one of {', '.join(FAMILIES)}.")
    motions = open_motions(source, fps=fps)
    bodies = _Bodies(str(body), motions, family=family, gender=gender, shape=shape)
    options = {
        "family": str(family),
        "gender": gender,
        "shape": shape,
        "prior": fitting.prior_name,
    }
    job, tally = _job(motions, out, "amass", options), _Tally()

    def file_of(motion: SourceMotion) -> str:
        return f"{safe(motion.name)}{SUFFIX[bodies.family(motion)]}"

    for some in _chunks(motions, job, file_of, progress):
        people = [bodies.person(motion) for motion in some]
        fitted = _fitted([(m, p.shaped) for m, p in zip(some, people, strict=True)], fitting, tally)
        for motion, person, found in zip(some, people, fitted, strict=True):
            poses, trans = found
            every = np.zeros((len(poses), 55, 3), np.float32)
            every[:, : poses.shape[1]] = poses
            kept = np.zeros((len(poses), len(JOINT_NAMES[person.family]), 3), np.float32)
            into = TO_SMPLX[person.family]
            kept[:, : len(into)] = every[:, into]
            name = file_of(motion)
            written = Motion(
                recording=Recording(name.split("/")[0], name, name, name, 0, ""),
                family=person.family,
                gender=person.gender,
                fps=motion.fps,
                source_fps=motion.fps,
                poses=kept,
                trans=trans,
                betas=person.betas,
                R_yup_source=np.eye(3),
            )
            job.write_atomic(amass_bytes(written, person.shaped.rest[0]), name)
    return tally.result(job)


def export_bvh(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    fps: float | None = None,
    fitting: Fitting = _PLAIN,
    progress: Progress | None = None,
) -> MotionExport:
    """Write rotations of the 22 body joints as .bvh files, on each person's own bones; no body model is needed.

    Arguments and errors as those of `export_amass`; conventions as in `archives.rigs.bvh_writer`.
    """
    motions = open_motions(source, fps=fps)
    options = {"prior": fitting.prior_name}
    job, tally = _job(motions, out, "bvh", options), _Tally()

    def file_of(motion: SourceMotion) -> str:
        return f"{safe(motion.name)}.bvh"

    for some in _chunks(motions, job, file_of, progress):
        # The poses of a data set are those of another skeleton.
        bare = [replace(motion, poses=None, trans=None, measured=True) for motion in some]
        bodies = [own_body(motion.joints) for motion in some]
        fitted = _fitted(list(zip(bare, bodies, strict=True)), fitting, tally)
        for motion, body, (poses, trans) in zip(some, bodies, fitted, strict=True):
            data = bvh_bytes(poses, trans + body.rest[0], body.offsets, fps=motion.fps)
            job.write_atomic(data, file_of(motion))
    return tally.result(job)


def export_video(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    kind: str = "mp4",
    fps: float | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
) -> MotionExport:
    """Draw motions as stick figures, one .mp4 or .gif each.

    Args:
        source, out, fps, progress: as those of `export_amass`.
        kind: `mp4` or `gif`.
        limit: only the first so many motions.

    Raises:
        UserError: the source holds no motion, `kind` is another one, or `out` holds other files.
    """
    from mocap_ray.drawing.video import KINDS, video

    if kind not in KINDS:
        raise UserError(f"--format {kind}: expected one of {', '.join(KINDS)}.")
    motions = open_motions(source, fps=fps)
    job = _job(motions, out, "video", {"kind": kind})
    total = len(motions) if limit is None else min(limit, len(motions))
    for number, (k, motion) in enumerate(motions.each()):
        if number == limit:
            break
        name = f"{safe(motion.name)}.{kind}"
        if not job.has(name):
            job.write_atomic(video(motion.joints, fps=motion.fps, kind=kind), name)
        if progress is not None:
            progress(min(k + 1, total), total)
    return MotionExport(job.out.uri, job.written, job.kept)


def _job(motions: Motions, out: str | os.PathLike[str], kind: str, options: dict[str, str]) -> Job:
    return Job(motions.data_set, place(out), kind=kind, identity=motions.identity, options=options)


def _chunks(
    motions: Motions, job: Job, file_of: Callable[[SourceMotion], str], progress: Progress | None
) -> Iterator[list[SourceMotion]]:
    """Motions whose file is missing, so many at a time as are fitted together."""
    some: list[SourceMotion] = []
    names: set[str] = set()
    for k, motion in motions.each():
        name = file_of(motion)
        if name in names:
            raise UserError(
                f"{motions.where}: two motions would become {name}. Expected names that differ without their endings; "
                "rename one, or export them into folders of their own."
            )
        names.add(name)
        if not job.has(name):
            some.append(motion)
        if sum(len(m.joints) for m in some) >= _FRAMES:
            yield some
            some = []
        if progress is not None and not some:
            progress(k + 1, len(motions))
    if some:
        yield some
    if progress is not None:
        progress(len(motions), len(motions))


def _fitted(
    some: Sequence[tuple[SourceMotion, ShapedBody]], fitting: Fitting, tally: _Tally
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Poses [T, 22 or 55, 3] and translations [T, 3] of motions, stored or fitted."""
    found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for k, (motion, _) in enumerate(some):
        if motion.poses is not None and motion.trans is not None:
            found[k] = motion.poses, motion.trans
            tally.stored += 1
    todo = sorted((k for k in range(len(some)) if k not in found), key=lambda k: some[k][0].fps)
    for fps, group in groupby(todo, key=lambda k: some[k][0].fps):
        numbers = list(group)
        clips = [_on_bones(*some[k]) for k in numbers]
        results = fit(
            clips,
            [some[k][1] for k in numbers],
            fps=fps,
            prior=fitting.prior,
            options=fitting.options,
            device=fitting.device,
        )
        for k, result in zip(numbers, results, strict=True):
            tally.add(some[k][0].name, result)
            found[k] = result.poses, result.trans
    return [found[k] for k in range(len(some))]


def _on_bones(motion: SourceMotion, body: ShapedBody) -> np.ndarray:
    """The joints on the bones of the body: as they are, unless the body is another than they were made with."""
    off = np.abs(bone_lengths(motion.joints) - np.linalg.norm(body.offsets[1:22], axis=-1)).max()
    return motion.joints if motion.measured and off < _BONES_MM / 1000 else onto(motion.joints, body)


@dataclass(frozen=True, slots=True, eq=False)
class _Person:
    family: str
    gender: str
    betas: np.ndarray
    shaped: ShapedBody


class _Bodies:
    """The body of each motion."""

    def __init__(self, root: str, motions: Motions, *, family: str | None, gender: str, shape: Shape) -> None:
        body = _recipe_body(motions)
        self._root, self._family, self._gender, self._shape = root, family, gender, shape
        policy, self._most = body.get("gender"), body.get("betas")
        self._policy = policy if policy in POLICIES else "recorded"
        self._models = cache(self._model)

    def family(self, motion: SourceMotion) -> str:
        """The family of the body that a motion gets."""
        return self._family or motion.family or "smplh"

    def person(self, motion: SourceMotion) -> _Person:
        """The body that the motion was made with, as far as that is known, or the one that was chosen."""
        family = self.family(motion)
        known = motion.family == family
        model = self._models(family, motion.gender if known else self._gender, known)
        betas = np.asarray(motion.betas, np.float64)[: self._most] if known else np.zeros(0)
        if not known and self._shape == "bones":
            betas = betas_of(motion.joints, model)
        return _Person(family, model.gender, betas, model.shaped(betas))

    def _model(self, family: str, gender: str, known: bool) -> BodyModel:
        # A gender that was asked for is that of the file, whatever the policy of the data set.
        policy = self._policy if known else "recorded"
        return Bodies.load(self._root, gender=policy, families=(family,)).choose(family, gender).model


def _recipe_body(motions: Motions) -> dict[str, Any]:
    recipe: Any = motions.data_set.manifest.get("recipe") if motions.data_set is not None else None
    body = recipe.get("body") if isinstance(recipe, dict) else None
    return body if isinstance(body, dict) else {}
