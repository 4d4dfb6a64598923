"""BVH, and its elder relative ASF/AMC: the motion of jointed rigs, as positions of joints or as poses of SMPL.

BVH (Biovision Hierarchy) is what motion capture programs write and animation programs read. It has neither units nor a
common skeleton: `rigs/` has the maps from the joints of known rigs to the 22 body joints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np

from mocap_ray.archives import files
from mocap_ray.archives.actions import action_of
from mocap_ray.archives.archive import Archive
from mocap_ray.archives.layouts import JOINTS, Unusable
from mocap_ray.archives.orientation import to_y_up
from mocap_ray.archives.rigs import asf_text, bvh_text, transfer
from mocap_ray.archives.rigs.rig import Rig, detect
from mocap_ray.archives.rigs.take import MOST_BYTES, Take
from mocap_ray.motion.bounds import LEAST_FPS, MOST_FPS, in_range
from mocap_ray.motion.clip import JointMotion, Motion, Reason
from mocap_ray.records import Recording, Rejection
from mocap_ray.storage import Place
from mocap_ray.wording import counted

REGISTER = (
    "export .bvh files from your program, or take CMU's .amc files with their .asf from mocap.cs.cmu.edu"
)
_WHAT = f".bvh files, or .amc files with their .asf; {REGISTER}"


def discover(place: Place, *, dataset: str | None = None) -> list[Recording]:
    """List all .bvh and .amc files below `place` without opening them, sorted by name; see `files.recordings`.

    A motion (.amc) counts as changed when its skeleton (.asf) does.
    """
    found, times = files.recordings(place, endings=(".bvh", ".amc"), dataset=dataset, what=_WHAT)
    beside: dict[str, list[str]] = {}
    for path in times:
        if path.lower().endswith(".asf"):
            beside.setdefault(path.rpartition("/")[0], []).append(path)
    return [_with_skeleton(recording, beside, times) for recording in found]


def _with_skeleton(
    recording: Recording, beside: Mapping[str, Sequence[str]], times: Mapping[str, int]
) -> Recording:
    """A recording whose fingerprint also changes with the skeleton that it needs."""
    if not recording.source.lower().endswith(".amc"):
        return recording
    skeleton = skeleton_of(recording.source, beside.get(recording.source.rpartition("/")[0], ()))
    if skeleton is None:
        return recording
    return replace(recording, fingerprint=f"{recording.fingerprint} {times[skeleton]}")


def read(
    place: Place,
    recording: Recording,
    *,
    fps: float | None = None,
    read_as: str = "joints",
    rig: Rig | None = None,
    family: str = "smplh",
    scale: float | None = None,
    axes: str = "x y z",
) -> Motion | JointMotion | Rejection[Recording]:
    """Read one recording. Numbers that are not finite are kept: the quality checks find them.

    Args:
        place: the place that was passed to `discover`.
        recording: a recording that `discover` returned.
        fps: overrides the frame rate of the file.
        read_as: `joints` gives a JointMotion, `poses` a Motion of SMPL's mean body.
        rig: the map of its joints; None takes the one of ours whose joints the file has.
        family: of a Motion: smpl, smplh or smplx.
        scale: metres in a unit of the file; None takes what the file or the map says.
        axes: which axes of the file become x, y and z of the data set, where y points up.

    Raises:
        OSError: the file cannot be read, or its size has changed since it was listed.
        UserError: `fps` or `axes` is invalid.
    """
    files.require_rate(fps)
    try:
        take = _take(place, recording)
        rig = rig or detect(take.skeleton)
        frames = len(take.values)
        take = replace(take, values=take.values[rig.skip :])
        if not len(take.values):
            raise Unusable(
                Reason.TOO_SHORT,
                f"it has {counted(frames, 'frame')}, and the map of its rig skips {rig.skip}. Expected more",
            )
        found = transfer.mapped(take, rig, scale=scale, world=to_y_up(axes))
        rate = fps or _rate(take.fps or rig.fps)
        if read_as == "joints":
            return JointMotion(
                recording=recording,
                gender="unknown",
                fps=rate,
                source_fps=rate,
                joints=transfer.joints(found),
                R_yup_source=np.eye(3),
                first_frame=rig.skip,
                action=action_of(recording.name),
            )
        poses, trans = transfer.poses(found, joints=JOINTS[family])
        return Motion(
            recording=recording,
            family=family,
            gender="unknown",
            fps=rate,
            source_fps=rate,
            poses=poses,
            trans=trans,
            betas=np.zeros(0),
            R_yup_source=np.eye(3),
            first_frame=rig.skip,
            action=action_of(recording.name),
        )
    except Unusable as error:
        return files.rejected(recording, error.reason, error.detail)


def skeleton_of(source: str, beside: Sequence[str]) -> str | None:
    """The skeleton (.asf) of a motion (.amc): of its own name, of its subject, or the only one in its folder.

    Args:
        source: path of the motion: `02/02_01.amc`.
        beside: paths of the skeletons in the same folder.

    >>> skeleton_of("02/02_01.amc", ["02/02.asf", "02/other.asf"])
    '02/02.asf'
    """
    stems = {PurePosixPath(path).stem: path for path in beside}
    own = PurePosixPath(source).stem
    for stem in (own, own.split("_")[0]):
        if stem in stems:
            return stems[stem]
    return beside[0] if len(beside) == 1 else None


def _take(place: Place, recording: Recording) -> Take:
    """The rig and the motion in a file. Raises Unusable or OSError."""
    if not recording.source.lower().endswith(".amc"):
        return bvh_text.parse(files.content(place, recording, most=MOST_BYTES))
    folder, slash, _ = recording.source.rpartition("/")
    names = place.folder(folder).names() if slash else place.names()
    beside = [f"{folder}{slash}{name}" for name in names if name.lower().endswith(".asf")]
    skeleton = skeleton_of(recording.source, beside)
    if skeleton is None:
        subject = PurePosixPath(recording.source).stem.split("_")[0]
        raise Unusable(
            Reason.MISSING_KEYS,
            f"its skeleton is missing. Expected {subject}.asf, or one .asf, in the same folder",
        )
    text = place.read(skeleton)
    try:
        if len(text) > asf_text.MOST_SKELETON:
            raise Unusable(Reason.BAD_SHAPE, "more than a megabyte. Expected a skeleton (.asf)")
        bones = asf_text.parse_skeleton(text)
    except Unusable as error:
        raise Unusable(error.reason, f"its skeleton {skeleton}: {error.detail}") from error
    return asf_text.parse_motion(files.content(place, recording, most=asf_text.MOST_BYTES), bones)


def _rate(fps: float | None) -> float:
    """The frame rate of a file. Raises Unusable if it says none, or one out of bounds."""
    if fps is None:
        raise Unusable(
            Reason.MISSING_KEYS,
            "no frame rate in the file or the map of its rig. Pass source.fps in the config",
        )
    if not in_range(fps):
        raise Unusable(
            Reason.BAD_VALUE,
            f"its frame rate is {fps:g}. Expected {LEAST_FPS:g} to {MOST_FPS:,.0f} frames per second; pass source.fps "
            "in the config to override",
        )
    return files.whole_rate(fps)


ARCHIVE = Archive(
    name="bvh",
    title="BVH or ASF/AMC files",
    discover=discover,
    read=read,
    url="https://research.cs.wisc.edu/graphics/Courses/cs-838-1999/Jeff/BVH.html",
    licence="BVH is a format: the terms are those of the files. CMU's takes are free for all uses.",
    citation=(
        "Cite where the files come from. For CMU's: the data used in this project was obtained from mocap.cs.cmu.edu; "
        "the database was created with funding from NSF EIA-0196217."
    ),
    register=REGISTER,
    joints_alone=True,
    options=("read_as", "rig", "family", "scale", "axes"),
)
