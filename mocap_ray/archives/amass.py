"""AMASS: list the recordings below a folder or bucket, and read one.

AMASS (amass.is.tue.mpg.de) unifies optical motion capture as parameters of the SMPL family, one .npz per take,
`<sub-dataset>/<subject>/<take>_poses.npz` or `..._stageii.npz`, in metres and radians, Z up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from types import MappingProxyType

import numpy as np
from pyarrow import fs as pafs

from mocap_ray.archives import files, folders, layouts
from mocap_ray.archives.actions import action_of
from mocap_ray.archives.archive import Archive, last_part
from mocap_ray.archives.foreign_pickles import PICKLES, described_pickle
from mocap_ray.errors import UserError
from mocap_ray.motion.clip import Motion, Reason
from mocap_ray.npz import NotZipError, NpzError, NpzFile, open_npz
from mocap_ray.records import Recording, Rejection
from mocap_ray.storage import Place
from mocap_ray.wording import counted

R_YUP_AMASS = np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
"""(x, y, z) of AMASS, Z up, becomes (-x, z, y), Y up; also for stage-II files."""
R_YUP_AMASS.setflags(write=False)

REGISTER = (
    "register at amass.is.tue.mpg.de, download the SMPL+H G files of the sub-datasets (or SMPL-X G, or SMPL-X N) and "
    "unpack them side by side: CMU/01/01_01_poses.npz"
)

PUBLISHED: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("HumanEva", "MPI_HDM05", "HDM05", "SFU", "MPI_mosh", "MPImosh", "MoSh"), "val"),
        **dict.fromkeys(("Transitions_mocap", "Transitions", "SSM_synced", "SSM"), "test"),
    }
)
"""Sub-dataset -> split as recommended by the authors of AMASS (who call val `vald`), in both spellings of the site;
all others are in train. Source: nghorbani/amass, `amass_splits` in its README."""

_PACKED = (".tar.bz2", ".tar.xz", ".tar.gz", ".tgz", ".tar", ".zip")
_SUBJECT_IN_FOLDER = {"ACCAD": re.compile(r"(Fem|M)ale\d+")}
"""ACCAD has one folder per subject and topic; Female1General_c3d and Female1Walking_c3d are the same person."""


def discover(place: Place, *, dataset: str | None = None) -> list[Recording]:
    """List all .npz files below `place` without opening them, sorted by name, including shape.npz and stage-I files.

    Files and folders whose name starts with a dot are ignored. The sub-dataset is the first folder; a file
    directly in `place` belongs to a sub-dataset with the name of that folder. The subject is the second
    folder, or else the part of the file name before the first underscore.

    Args:
        place: a folder with sub-datasets (`CMU/01/01_01_poses.npz`), or the folder of one sub-dataset.
        dataset: name of the sub-dataset if `place` is its folder; becomes the first part of each name.

    Raises:
        UserError: no such folder, no usable file in it, or an invalid `dataset`.
        OSError: the folder cannot be listed.
    """
    files.require_dataset(dataset)
    files.require_folder(place, what="the AMASS sub-datasets")
    infos = place.files()
    usable = [info for info in infos if _is_npz(place.relative(info.path))]
    if not usable:
        raise UserError(_nothing_found(place, [place.relative(info.path) for info in infos]))
    del infos
    found = []
    while usable:  # a listing of a million files takes 230 MB, which the recordings take over
        found.append(_recording(place, usable.pop(), dataset))
    return sorted(found, key=lambda r: r.name)


def read(place: Place, recording: Recording, *, fps: float | None = None) -> Motion | Rejection[Recording]:
    """Read one recording; its format is recognised by keys and shapes (`archives/layouts.py`).

    Non-finite numbers are kept: the quality checks find them. A gender other than male, female or neutral
    becomes `unknown`; a file without `betas` gets the mean shape (0 coefficients).

    Args:
        place: the place that was passed to `discover`.
        recording: a recording that `discover` returned.
        fps: overrides the frame rate of the file.

    Returns:
        The motion, with read-only poses and trans. Usually they are unaligned views of the memory-mapped file in its
        own dtype; they change if another process writes to the file, so use them soon.

    Raises:
        OSError: the file cannot be read, or its size has changed since it was listed.
        UserError: `fps` is out of bounds.
    """
    files.require_rate(fps)
    stem = PurePosixPath(recording.source).stem
    if stem == "shape" or stem.endswith("_stagei"):
        what = "a body shape" if stem == "shape" else "the placement of markers (stage I)"
        return Rejection(
            recording, Reason.NOT_MOTION, f"{recording.source}: {what}, no motion. Nothing to do."
        )
    try:
        with open_npz(place, recording.source, size=recording.size) as file:
            return _motion(file, recording, fps)
    except NotZipError as error:
        reason, detail = Reason(error.kind), described_pickle(place, recording.source) or error.message
    except NpzError as error:
        reason, detail = Reason(error.kind), error.message
    except layouts.Unusable as error:
        reason, detail = error.reason, error.detail
    return files.rejected(recording, reason, detail)


def published(recording: Recording) -> str:
    """The split recommended by the authors, by sub-dataset; `train` for those that they do not list."""
    return PUBLISHED.get(recording.dataset, "train")


def take_name(name: str) -> str:
    """A name without the suffixes of the AMASS releases.

    >>> take_name("CMU/01/01_01_poses"), take_name("CMU/01/01_01_stageii")
    ('CMU/01/01_01', 'CMU/01/01_01')
    """
    return name.removesuffix("_stageii").removesuffix("_poses")


def short_title(name: str) -> str:
    """The name of the take.

    >>> short_title("CMU/01/01_01_stageii")
    '01_01'
    """
    return take_name(last_part(name))


def _motion(file: NpzFile, recording: Recording, fps: float | None) -> Motion:
    _require_motion(file)
    file.prefetch(layouts.wanted(file))
    family, poses, trans = layouts.motion_arrays(file)
    source_fps = fps if fps is not None else layouts.frame_rate(file)
    return Motion(
        recording=recording,
        family=family,
        gender=layouts.gender(file),
        fps=source_fps,
        source_fps=source_fps,
        poses=poses,
        trans=trans,
        betas=layouts.shape_coefficients(file, family),
        R_yup_source=R_YUP_AMASS,
        action=action_of(recording.name),
    )


def _require_motion(file: NpzFile) -> None:
    """Raise Unusable for a valid file that is recognised as something other than motion."""
    if "poses" in file or layouts.has_parts(file):
        return
    if "v_template" in file or "eigvec" in file:
        what = "a body model; it belongs below body.root"
    elif "dmpls" in file and "trans" not in file:
        what = "soft-tissue coefficients (DMPL) without poses. Download the SMPL+H G files"
    elif "markers_latent" in file and "trans" not in file:
        what = "the placement of markers (stage I), no motion. Nothing to do"
    elif "betas" in file and "trans" not in file:
        what = "a body shape, no motion. Nothing to do"
    else:
        return
    raise layouts.Unusable(Reason.NOT_MOTION, f"{what} (keys: {file.keys})")


def _is_npz(path: str) -> bool:
    return path.endswith(".npz") and not files.is_hidden(path)


def _recording(place: Place, info: pafs.FileInfo, dataset: str | None) -> Recording:
    found = files.named(place, info, dataset)
    if found.dataset not in _SUBJECT_IN_FOLDER:
        return found
    folders_below = found.name.split("/")[1:-1]
    match = _SUBJECT_IN_FOLDER[found.dataset].match(folders_below[0]) if folders_below else None
    return replace(found, subject=f"{found.dataset}/{match[0]}") if match else found


def _nothing_found(place: Place, paths: list[str]) -> str:
    """The message for a folder without recordings: why there are none, and what to do."""
    if not paths and not place.exists():
        return f"{place.uri}: no such folder. Expected the folder of the AMASS sub-datasets; {REGISTER}."
    packed = [path for path in paths if path.endswith(_PACKED)]
    if packed:
        many = counted(len(packed), "packed archive")
        return f"{place.uri}: no .npz file, but {many}. Unpack first: tar -xf {packed[0]}"
    pickles = [path for path in paths if path.endswith(PICKLES)]
    if pickles:
        what = described_pickle(place, pickles[0]) or "not a pickle either"
        return f"{place.uri}: no .npz file, but {counted(len(pickles), 'pickle')}. {pickles[0]}: {what}."
    return f"{place.uri}: no .npz file ({files.kinds(paths)}). Expected AMASS files; {REGISTER}."


ARCHIVE = Archive(
    name="amass",
    title="AMASS",
    discover=discover,
    read=read,
    url="https://amass.is.tue.mpg.de",
    licence=(
        "AMASS is free for non-commercial scientific research after registration and may not be passed on "
        "(amass.is.tue.mpg.de/license.html); each sub-dataset adds terms of its own."
    ),
    citation=(
        "N. Mahmood, N. Ghorbani, N. F. Troje, G. Pons-Moll, M. J. Black: AMASS: Archive of Motion Capture as "
        "Surface Shapes. ICCV 2019, pp. 5442-5451. Cite the sub-datasets used as well."
    ),
    register=REGISTER,
    published=published,
    short_title=short_title,
    doubt=folders.doubt,
)
