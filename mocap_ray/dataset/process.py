"""Process one recording into clips, as one plain function without Ray."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mocap_ray.archives import Archive
from mocap_ray.archives.labels import NO_LABELS, Labels
from mocap_ray.archives.segment_texts import mirrored_captions
from mocap_ray.archives.segments import GRID_FPS, Segment, counting, stride, whole_clip
from mocap_ray.body import mesh
from mocap_ray.body.bodies import Bodies, MissingBody
from mocap_ray.body.model import BodyModel
from mocap_ray.dataset.options import BodyOptions, MotionOptions
from mocap_ray.dataset.person import Person, left_out, person_of
from mocap_ray.motion import bounds, quality
from mocap_ray.motion.axes import joints_y_up, poses_smplx, to_y_up
from mocap_ray.motion.clip import Clip, JointMotion, Motion, Reason
from mocap_ray.motion.features import UndefinedFeatures, encode
from mocap_ray.motion.mirror import mirror_joints, mirror_text
from mocap_ray.motion.resample import resample, resample_joints
from mocap_ray.motion.stick import stick
from mocap_ray.motion.stretches import stretches
from mocap_ray.motion.windows import cuts, windows
from mocap_ray.records import Recording, Rejection
from mocap_ray.storage import Place
from mocap_ray.wording import counted


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything needed to turn a recording into clips; small, because it is sent to every worker.

    Attributes:
        archive: how to read a recording.
        place: root of the archive.
        bodies: reduced body models and the gender policy.
        body: options of the body section.
        motion: options of the motion section.
        columns: frame columns to make.
        fps: overrides the frame rate of the files.
        segments: recording name -> the segments to use; recordings that are not listed are not processed.
            None means that all recordings are used whole.
        labels: recording name -> labels from a table, which replace those of the archive.
        ignored: names of recordings that are rejected unread (`source.ignore`).
        device: torch device on which vertices are computed.
        domain: the column `domain`.
    """

    archive: Archive
    place: Place
    bodies: Bodies
    body: BodyOptions
    motion: MotionOptions
    columns: tuple[str, ...]
    fps: float | None = None
    segments: Mapping[str, tuple[Segment, ...]] | None = None
    labels: Mapping[str, Labels] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()
    device: str = "cpu"
    domain: str = ""


def process(recording: Recording, plan: Plan) -> list[Clip | Rejection[Recording]]:
    """Turn one recording into its clips and rejections.

    Returns:
        Clips in order of time, a mirrored twin right after its original; rejections of the recording or
        of pieces of it. Never empty.

    Raises:
        OSError: the file could not be read; this proves nothing about its content.
        MissingBody: there is no body model of the family that the file needs.
    """
    if recording.name in plan.ignored:
        detail = f"{recording.source}: the list of source.ignore names it. To use it: --override source.ignore=none"
        return [Rejection(recording, Reason.IGNORED, detail)]
    motion = plan.archive.read(plan.place, recording, fps=plan.fps)
    if isinstance(motion, Rejection):
        return [motion]
    if (wrong := bounds.out_of_bounds(motion) or left_out(motion, plan.body)) is not None:
        return [wrong]
    body = person_of(motion, plan.bodies, plan.body) if isinstance(motion, Motion) else None
    if isinstance(body, Rejection):
        return [body]
    motion = plan.labels.get(recording.name, NO_LABELS).added_to(motion)
    found: list[Clip | Rejection[Recording]] = []
    for part in _parts(motion, plan):
        if isinstance(part, Rejection):
            found.append(part)
            continue
        for piece in _pieces(part.motion, body, plan):
            found += [piece] if isinstance(piece, Rejection) else _clips(piece, part, body, plan)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """A part of a recording to use.

    Attributes:
        motion: at the source's rate.
        segment: that it is, if it is one.
        short: whether the recording ends before the segment does.
        retimed: whether it was cut by time: see `segments.counting`.
    """

    motion: Motion | JointMotion
    segment: Segment | None = None
    short: bool = False
    retimed: bool = False


def _parts(motion: Motion | JointMotion, plan: Plan) -> Iterator[_Part | Rejection[Recording]]:
    """The parts of a recording to use: all of it, or its segments."""
    if plan.segments is None:
        yield _Part(motion)
        return
    frames, fps = len(motion.root), motion.fps
    segments = plan.segments[motion.recording.name]
    step = counting(segments, frames, fps)
    retimed = step != stride(fps)
    for segment in segments:
        part = segment.source_frames(frames, fps, step)
        if part.stop > part.start:
            short = segment.missing(frames, fps, step) > 0
            cut = replace(motion.part(part), texts=segment.texts or motion.texts)
            yield _Part(cut, segment, short, retimed)
        else:
            what = (
                f"{motion.recording.source}: segment {segment.name} begins at frame {segment.start} at "
                f"{GRID_FPS:g} fps, but the recording has only {counted(frames, 'frame')} at {fps:g} fps. It may be "
                "from another release of the archive."
            )
            yield Rejection(motion.recording, Reason.TOO_SHORT, what, frames)


def _pieces(
    motion: Motion | JointMotion, body: Person | None, plan: Plan
) -> Iterator[Motion | JointMotion | Rejection[Recording]]:
    """The stretches of a motion that pass the quality checks, at the source's rate."""
    options = plan.motion
    shaped = None if body is None else body.shaped
    measured = quality.measure(motion, options.quality.limits(), body=shaped)
    least = source_frames(options.min_frames, motion.source_fps, options)
    for part in stretches(motion, measured, cut=options.quality.cut, min_frames=least):
        if isinstance(part, Rejection):
            yield part
        elif part == slice(0, len(motion.root)):
            yield motion
        else:
            yield motion.part(part)


def source_frames(rows: int, source_fps: float, options: MotionOptions) -> int:
    """The smallest number of source frames that gives this many feature rows."""
    joints = rows + 1 if options.profile == "humanml3d" else rows
    if options.resample == "stride":
        stride = max(1, math.floor(source_fps / options.fps))
        return (joints - 1) * stride + 1
    return math.ceil((joints - 1) * source_fps / options.fps - 1e-9) + 1


@dataclass(frozen=True, slots=True, eq=False)
class _Track:
    """A good stretch at the profile's rate, Y up, from which clips are cut.

    Attributes:
        fps: frames per second of these arrays.
        joints: [T, 22, 3] float64 metres.
        body: the body; None for joints alone.
        motion: its poses; None for joints alone.
        poses: [T, 55, 3] axis-angle, rad, if the column `poses` is requested.
    """

    fps: float
    joints: np.ndarray
    body: Person | None = None
    motion: Motion | None = None
    poses: np.ndarray | None = None


def _of_body(piece: Motion, body: Person, plan: Plan) -> _Track:
    """Joints by forward kinematics on the recording's body."""
    options = plan.motion
    motion = resample(piece, fps=options.fps, method=options.resample)
    motion = to_y_up(motion, body.shaped.rest[0])
    return _Track(
        fps=motion.fps,
        joints=body.shaped.joints(motion.poses, motion.trans),
        body=body,
        motion=motion,
        poses=poses_smplx(motion) if "poses" in plan.columns else None,
    )


def _of_joints(piece: JointMotion, plan: Plan) -> _Track:
    """Joints taken from the source; without a body there are no poses, betas or vertices."""
    options = plan.motion
    motion = joints_y_up(resample_joints(piece, fps=options.fps, method=options.resample))
    joints = np.asarray(motion.joints, dtype=np.float64)
    return _Track(fps=motion.fps, joints=joints)


def _clips(
    piece: Motion | JointMotion, whole: _Part, body: Person | None, plan: Plan
) -> Iterator[Clip | Rejection[Recording]]:
    """Cut a good stretch of a part at the source's rate into clips at the profile's rate."""
    options = plan.motion
    if isinstance(piece, JointMotion):
        track = _of_joints(piece, plan)
    else:
        assert body is not None
        track = _of_body(piece, body, plan)
    rows = len(track.joints) - 1 if options.profile == "humanml3d" else len(track.joints)
    if options.window is not None and rows < options.window:
        detail = (
            f"{piece.recording.source}: {counted(rows, 'row')} from frame {piece.first_frame} on, but motion.window "
            f"needs {options.window}. Lower it to keep them."
        )
        yield Rejection(piece.recording, Reason.TOO_SHORT, detail, piece.first_frame)
    # A row of the index is one clip with one name and its own captions, so it is not cut.
    spans = _spans(rows, options) if whole.segment is None else [(0, rows)]
    starts = [piece.first_frame + round(start * piece.source_fps / track.fps) for start, _ in spans]
    for (start, stop), first, clip_id in zip(spans, starts, _ids(piece.recording.name, starts), strict=True):
        # One joint frame more than rows in the humanml3d profile: velocities need the next frame.
        part = slice(start, stop + (len(track.joints) - rows))
        base = replace(_base(piece, track, part, clip_id=clip_id, whole=whole), domain=plan.domain)
        yield from _clip_and_twin(base, track, part, first, plan, whole.segment)


def _ids(name: str, starts: Sequence[int]) -> list[str]:
    """Ids of the clips of a stretch by their first source frames, which never decrease.

    If the source is slower than the profile, several clips may begin in one frame: `@12`, `@12.1`, `@12.2`.

    >>> _ids("a", [0, 12, 12, 13])
    ['a@0', 'a@12', 'a@12.1', 'a@13']
    """
    again = [k - bisect_left(starts, first) for k, first in enumerate(starts)]
    return [f"{name}@{first}.{k}" if k else f"{name}@{first}" for first, k in zip(starts, again, strict=True)]


def _base(piece: Motion | JointMotion, track: _Track, part: slice, *, clip_id: str, whole: _Part) -> Clip:
    """Some frames of a track as a clip, still without features."""
    body = track.body
    return Clip(
        clip_id=clip_id,
        recording=piece.recording,
        gender=piece.gender,
        family=piece.family,
        fps=track.fps,
        source_fps=piece.source_fps,
        betas=np.zeros(0) if body is None else body.betas,
        features=np.zeros((0, 263), np.float32),
        joints=track.joints[part],
        body_gender=piece.gender if body is None else body.choice.model.gender,
        body_missing=body is not None and body.choice.fell_back,
        short=whole.short,
        retimed=whole.retimed,
        action=piece.action,
        style=piece.style,
        texts=piece.texts,
        name=whole.segment.name if whole.segment else None,
        captions=whole.segment.captions if whole.segment else (),
    )


def _clip_and_twin(
    base: Clip, track: _Track, part: slice, first: int, plan: Plan, segment: Segment | None
) -> Iterator[Clip | Rejection[Recording]]:
    """A clip with its features, and its mirrored twin if `motion.mirror` is set."""
    clip = _encoded(base, first, plan)
    if isinstance(clip, Rejection):
        yield clip
        return
    yield _with_poses(clip, track, part, plan)
    if plan.motion.mirror:
        given = segment.mirrored if segment else None
        # The mirrored pose on an asymmetric body would not give the mirrored joints: no poses here.
        twin = replace(
            base,
            clip_id=f"{base.clip_id}~M",
            joints=mirror_joints(base.joints),
            action=None if base.action is None else mirror_text(base.action),
            texts=tuple(mirror_text(t) for t in base.texts) if given is None else whole_clip(given),
            captions=mirrored_captions(base.captions) if given is None else given,
            name=None if base.name is None else f"M{base.name}",
        )
        yield _encoded(twin, first, plan)


def _with_poses(clip: Clip, track: _Track, part: slice, plan: Plan) -> Clip:
    """The clip with the columns that need a body: poses, trans and vertices."""
    if track.motion is None or track.body is None:
        return clip
    motion, body = track.motion, track.body
    return replace(
        clip,
        poses=None if track.poses is None else track.poses[part],
        trans=motion.trans[part].astype(np.float32),
        vertices=_meshes(motion, part, body.betas, body.choice.model, plan)
        if "vertices" in plan.columns
        else None,
    )


def _spans(rows: int, options: MotionOptions) -> list[tuple[int, int]]:
    """Row ranges of the clips of a stretch: all of it, its windows, or its cuts."""
    if options.window is not None:
        stride = options.window_stride or options.window
        return [(s.start, s.stop) for s in windows(rows, length=options.window, stride=stride)]
    if options.max_frames is not None:
        return [(s.start, s.stop) for s in cuts(rows, most=options.max_frames, least=options.min_frames)]
    return [(0, rows)]


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
    """Vertices [T, V, 3], metres, of some frames, by smplx. Raises MissingBody if this machine lacks the model file."""
    try:
        body = mesh.load(model.source, family=model.family, device=plan.device)
    except FileNotFoundError as error:
        raise MissingBody(
            f"{model.source}: not on this machine. The column vertices reads the model file on every node: put the "
            "body models at the same path there, or leave vertices out of output.columns."
        ) from error
    return body.vertices(poses=motion.poses[part], trans=motion.trans[part], betas=betas)
