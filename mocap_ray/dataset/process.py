"""One recording's whole way, as one plain function: recording -> clips, without Ray."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from mocap_ray.archives import Archive
from mocap_ray.archives.segments import GRID_FPS, Segment
from mocap_ray.body import mesh
from mocap_ray.body.bodies import Bodies, MissingBody
from mocap_ray.body.model import BodyModel
from mocap_ray.dataset.options import BodyOptions, MotionOptions
from mocap_ray.motion import quality
from mocap_ray.motion.axes import poses_smplx, to_y_up
from mocap_ray.motion.clip import Clip, Motion, Reason
from mocap_ray.motion.features import UndefinedFeatures, encode
from mocap_ray.motion.mirror import mirror_joints, mirror_text
from mocap_ray.motion.resample import resample
from mocap_ray.motion.stick import stick
from mocap_ray.motion.windows import windows
from mocap_ray.records import Recording, Rejection
from mocap_ray.storage import Place


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that turns a recording into clips; small, so that it travels to every worker.

    Attributes:
        archive: how to read.
        place: root of the archive.
        bodies: reduced body models and the gender policy.
        body: options of the body section.
        motion: options of the motion section.
        columns: frame columns to make; `name` where there are segments.
        fps: overrides the frame rate of the files.
        segments: what to take of each recording, by its name; recordings that are not in it are not processed.
            None takes all.
        device: where vertices are computed, as torch names it.
    """

    archive: Archive
    place: Place
    bodies: Bodies
    body: BodyOptions
    motion: MotionOptions
    columns: tuple[str, ...]
    fps: float | None = None
    segments: Mapping[str, tuple[Segment, ...]] | None = None
    device: str = "cpu"


def process(recording: Recording, plan: Plan) -> list[Clip | Rejection[Recording]]:
    """Turn one recording into its clips and rejections.

    Returns:
        Clips in order of time, a mirrored twin right after its original; rejections of the recording or
        of the pieces that were cut from it. Never empty.

    Raises:
        OSError: the file could not be read just now; its bytes prove nothing.
        MissingBody: no body model of the family that the file needs.
    """
    motion = plan.archive.read(plan.place, recording, fps=plan.fps)
    if isinstance(motion, Rejection):
        return [motion]
    choice = plan.bodies.choose(motion.family, motion.gender)
    found: list[Clip | Rejection[Recording]] = []
    for part, name in _parts(motion, plan):
        if isinstance(part, Rejection):
            found.append(part)
            continue
        for piece in _pieces(part, plan):
            found += [piece] if isinstance(piece, Rejection) else _clips(piece, name, choice.model, plan)
    return found


def _parts(motion: Motion, plan: Plan) -> Iterator[tuple[Motion | Rejection[Recording], str | None]]:
    """What is to be taken of a recording, and its name: all of it, or its segments, at the source's rate."""
    if plan.segments is None:
        yield motion, None
        return
    frames, fps = len(motion.trans), motion.fps
    for segment in plan.segments[motion.recording.name]:
        part = segment.source_frames(frames, fps)
        if part.stop > part.start:
            cut = replace(motion, poses=motion.poses[part], trans=motion.trans[part], texts=segment.texts)
            yield replace(cut, first_frame=part.start), segment.name
        else:
            what = (
                f"{motion.recording.source}: segment {segment.name} begins at frame {segment.start} of "
                f"{GRID_FPS:g} a second, behind the end of {frames} frames at {fps:g} fps. Is it another release?"
            )
            yield Rejection(motion.recording, Reason.TOO_SHORT, what, frames), None


def _pieces(motion: Motion, plan: Plan) -> Iterator[Motion | Rejection[Recording]]:
    """The stretches of a motion that pass the quality checks, at the source's rate."""
    options = plan.motion
    measured = quality.measure(motion, options.quality.limits())
    least = source_frames(options.min_frames, motion.source_fps, options)
    for part in quality.stretches(motion, measured, cut=options.quality.cut, min_frames=least):
        if isinstance(part, Rejection):
            yield part
        elif part == slice(0, len(motion.trans)):
            yield motion
        else:
            first = motion.first_frame + part.start
            yield replace(motion, poses=motion.poses[part], trans=motion.trans[part], first_frame=first)


def source_frames(rows: int, source_fps: float, options: MotionOptions) -> int:
    """Fewest source frames that can give so many feature rows."""
    joints = rows + 1 if options.profile == "humanml3d" else rows
    if options.resample == "stride":
        stride = max(1, math.floor(source_fps / options.fps))
        return (joints - 1) * stride + 1
    return math.ceil((joints - 1) * source_fps / options.fps - 1e-9) + 1


def _clips(
    piece: Motion, name: str | None, model: BodyModel, plan: Plan
) -> Iterator[Clip | Rejection[Recording]]:
    """A good stretch at the source's rate as clips at the profile's."""
    options = plan.motion
    betas = piece.betas[: plan.body.betas]
    body = model.shaped(betas)
    motion = resample(piece, fps=options.fps, method=options.resample)
    motion = to_y_up(motion, body.rest[0])
    joints = body.joints(motion.poses, motion.trans)
    poses = poses_smplx(motion) if "poses" in plan.columns else None
    betas = betas[: model.shape_directions.shape[-1]]
    rows = len(joints) - 1 if options.profile == "humanml3d" else len(joints)
    if options.window is not None and rows < options.window:
        what = f"{piece.recording.source}: {rows} rows from frame {piece.first_frame} on are fewer than motion.window"
        yield Rejection(
            piece.recording, Reason.TOO_SHORT, f"{what}, which is {options.window}.", piece.first_frame
        )
    for start, stop in _spans(rows, options):
        # One joint frame more than rows in the humanml3d profile: velocities need the next frame.
        part = slice(start, stop + (len(joints) - rows))
        first = piece.first_frame + round(start * piece.source_fps / motion.fps)
        base = Clip(
            clip_id=f"{piece.recording.name}@{first}",
            recording=piece.recording,
            gender=piece.gender,
            family=piece.family,
            fps=motion.fps,
            source_fps=piece.source_fps,
            betas=betas,
            features=np.zeros((0, 263), np.float32),
            joints=joints[part],
            body_gender=model.gender,
            action=piece.action,
            style=piece.style,
            texts=piece.texts,
            name=name,
        )
        clip = _encoded(base, first, plan)
        if isinstance(clip, Rejection):
            yield clip
            continue
        yield replace(
            clip,
            poses=None if poses is None else poses[part],
            trans=motion.trans[part].astype(np.float32),
            vertices=_meshes(motion, part, betas, model, plan) if "vertices" in plan.columns else None,
        )
        if options.mirror:
            # The mirrored pose on an asymmetric body would not give the mirrored joints: no poses here.
            twin = replace(
                base,
                clip_id=f"{base.clip_id}~M",
                joints=mirror_joints(base.joints),
                texts=tuple(mirror_text(t) for t in base.texts),
                name=None if name is None else f"M{name}",
            )
            yield _encoded(twin, first, plan)


def _spans(rows: int, options: MotionOptions) -> list[tuple[int, int]]:
    """Row ranges of the clips of a stretch: all of it, or its windows."""
    if options.window is None:
        return [(0, rows)]
    return [
        (s.start, s.stop)
        for s in windows(rows, length=options.window, stride=options.window_stride or options.window)
    ]


def _encoded(clip: Clip, first_frame: int, plan: Plan) -> Clip | Rejection[Recording]:
    """The clip with its features, and its joints as float32 columns."""
    options = plan.motion
    try:
        features = encode(clip.joints, profile=options.profile, yaw=options.yaw)
    except UndefinedFeatures as error:
        return Rejection(clip.recording, Reason(error.reason), str(error), first_frame)
    return replace(
        clip,
        features=features,
        joints=clip.joints.astype(np.float32),
        stick=stick(clip.joints) if "stick" in plan.columns else None,
    )


def _meshes(motion: Motion, part: slice, betas: np.ndarray, model: BodyModel, plan: Plan) -> np.ndarray:
    """Full vertices [T, V, 3] of some frames, by smplx. Raises MissingBody where this machine lacks the file."""
    try:
        body = mesh.load(model.source, family=model.family, device=plan.device)
    except FileNotFoundError as error:
        raise MissingBody(
            f"{model.source}: not on this machine. The column vertices reads the model file on every node: put the "
            "body models at the same path there, or leave vertices out of output.columns."
        ) from error
    return body.vertices(poses=motion.poses[part], trans=motion.trans[part], betas=betas)
