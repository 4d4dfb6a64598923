"""HumanAct12's joints, which 1,191 of the 14,616 rows of HumanML3D's index name, beside the recordings of AMASS.

HumanML3D's repository has them as `pose_data/humanact12.zip`: files `humanact12/<name>.npy` [T, 24, 3], metres,
20 fps, Y up. HumanML3D uses the first 22 joints as they are: no cut, and x is not negated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from mocap_ray.archives import files, layouts
from mocap_ray.archives.archive import Archive
from mocap_ray.archives.layouts import Unusable
from mocap_ray.motion.clip import JointMotion, Motion, Reason
from mocap_ray.npz import NpzError, npy
from mocap_ray.records import Recording, Rejection
from mocap_ray.storage import Place, place

DATASET = "humanact12"
FPS = 20.0
MOST_BYTES = 1 << 28

LICENCE = "HumanAct12: free for non-commercial research (github.com/EricGuo5513/action-to-motion)."
CITATION = (
    "C. Guo, X. Zuo, S. Wang, S. Zou, Q. Sun, A. Deng, M. Gong, L. Cheng: Action2Motion: Conditioned Generation of 3D "
    "Human Motions. ACM Multimedia 2020."
)
"""For the data card."""


def with_humanact12(archive: Archive, folder: str) -> Archive:
    """The archive, and the recordings of HumanAct12 as one more sub-dataset.

    Args:
        archive: of the other recordings.
        folder: of the .npy files; an absolute path or an address, because workers read it as well.
    """
    return replace(
        archive,
        title=f"{archive.title} and HumanAct12",
        licence=f"{archive.licence} {LICENCE}",
        citation=f"{archive.citation} {CITATION}",
        discover=partial(_discover, archive, folder),
        read=partial(_read, archive, folder),
        doubt=partial(_doubt, archive) if archive.doubt is not None else None,
    )


def _discover(others: Archive, folder: str, place_: Place, *, dataset: str | None = None) -> list[Recording]:
    """All recordings. Raises UserError if either folder has none."""
    what = "HumanAct12's joints, from humanact12.zip of HumanML3D's repository (source.humanact12)"
    found, _ = files.recordings(place(folder), endings=(".npy",), dataset=DATASET, what=what)
    own = [_named(recording) for recording in found]
    return sorted([*others.discover(place_, dataset=dataset), *own], key=lambda r: r.name)


def _named(recording: Recording) -> Recording:
    """A recording with the name that the index has, whatever its folder; the subject is `P11` of `P11G01R02...`."""
    stem = recording.name.rpartition("/")[2]
    return replace(recording, name=f"{DATASET}/{stem}", subject=f"{DATASET}/{stem[:3]}")


def _doubt(others: Archive, place_: Place, listed: Sequence[Recording]) -> str | None:
    assert others.doubt is not None
    return others.doubt(place_, [r for r in listed if r.dataset != DATASET])


def _read(
    others: Archive, folder: str, place_: Place, recording: Recording, *, fps: float | None = None
) -> Motion | JointMotion | Rejection[Recording]:
    """Read a recording of HumanAct12, or one of the other archive."""
    if recording.dataset != DATASET:
        return others.read(place_, recording, fps=fps)
    try:
        view = memoryview(files.content(place(folder), recording, most=MOST_BYTES))
        joints = layouts.as_numbers(
            "joints", npy.array("joints", view, npy.header("joints", view, len(view)))
        )
        if joints.ndim != 3 or joints.shape[1] < 22 or joints.shape[2] != 3 or not len(joints):
            raise Unusable(Reason.BAD_SHAPE, f"the joints are {joints.shape}. Expected (frames, 24, 3)")
    except NpzError as error:
        return files.rejected(recording, Reason(error.kind), error.message)
    except Unusable as error:
        return files.rejected(recording, error.reason, error.detail)
    return JointMotion(
        recording=recording,
        gender="unknown",
        fps=FPS,
        source_fps=FPS,
        joints=joints[:, :22],
        R_yup_source=np.eye(3),
    )
