"""An archive of joints alone, as `source.archive: tests.dataset.joints_archive:ARCHIVE`: no rotations, no body.

One .npy a take, `<set>/<subject>_<take>.npy`, [T, 22, 3] millimetres, Z up, 50 frames a second.
"""

from __future__ import annotations

import io

import numpy as np

from mocap_ray.archives.archive import Archive
from mocap_ray.motion.clip import JointMotion, Reason
from mocap_ray.records import Recording, Rejection
from mocap_ray.storage import Place

FPS = 50.0
R_YUP_SOURCE = np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])


def discover(place: Place, *, dataset: str | None = None) -> list[Recording]:
    found = []
    for info in place.files():
        source = place.relative(info.path)
        name = source.removesuffix(".npy")
        home, _, take = name.partition("/")
        subject = f"{home}/{take.partition('_')[0]}"
        found.append(Recording(home, name, subject, source, info.size, str(info.mtime_ns)))
    return found


def read(
    place: Place, recording: Recording, *, fps: float | None = None
) -> JointMotion | Rejection[Recording]:
    data = place.read(recording.source)
    try:
        joints = np.load(io.BytesIO(data), allow_pickle=False)
    except ValueError as error:
        return Rejection(recording, Reason.UNREADABLE, f"{recording.source}: {error}")
    return JointMotion(
        recording=recording,
        gender="female",
        fps=fps or FPS,
        source_fps=fps or FPS,
        joints=joints / 1000,
        R_yup_source=R_YUP_SOURCE,
        action="walk",
        texts=("a person turns left",),
    )


def short_title(name: str) -> str:
    return name.rpartition("_")[2]


def published(recording: Recording) -> str:
    return "test" if recording.subject.endswith("2") else "train"


ARCHIVE = Archive(
    name="joints",
    title="Joints",
    discover=discover,
    read=read,
    url="https://example.org",
    licence="None: made for a test.",
    citation="None.",
    register="nothing to do",
    published=published,
    short_title=short_title,
)
