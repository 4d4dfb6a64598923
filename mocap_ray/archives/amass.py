"""AMASS: list the recordings below a folder or bucket, and read one.

AMASS (amass.is.tue.mpg.de) unifies optical motion capture as parameters of the SMPL family, one .npz per take,
`<sub-dataset>/<subject>/<take>_poses.npz` or `..._stageii.npz`, in metres and radians, Z up.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from types import MappingProxyType

import numpy as np
from pyarrow import fs as pafs

from mocap_ray.archives import layouts
from mocap_ray.archives.actions import action_of
from mocap_ray.archives.archive import Archive, last_part
from mocap_ray.errors import UserError
from mocap_ray.motion.clip import Motion, Reason
from mocap_ray.npz import BadNpz, NpzFile, open_npz
from mocap_ray.records import Recording, Rejection
from mocap_ray.storage import Place

R_YUP_AMASS = np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
"""(x, y, z) of AMASS, Z up, becomes (-x, z, y), Y up; stage-II files included."""
R_YUP_AMASS.setflags(write=False)

REGISTER = (
    "register at amass.is.tue.mpg.de, download the SMPL+H G (or SMPL-X G) files of the sub-datasets and unpack "
    "them side by side: CMU/01/01_01_poses.npz"
)

PUBLISHED: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("HumanEva", "MPI_HDM05", "HDM05", "SFU", "MPI_mosh", "MPImosh", "MoSh"), "val"),
        **dict.fromkeys(("Transitions_mocap", "Transitions", "SSM_synced", "SSM"), "test"),
    }
)
"""Sub-dataset -> split as the authors of AMASS recommend (theirs calls val `vald`), in both spellings of the
site; everything else trains. Source: nghorbani/amass, its README's `amass_splits`."""

_PACKED = (".tar.bz2", ".tar.xz", ".tar.gz", ".tgz", ".tar", ".zip")
_SUBJECT_IN_FOLDER = {"ACCAD": re.compile(r"(Fem|M)ale\d+")}
"""ACCAD has a folder for each subject and topic (Female1General_c3d, Female1Walking_c3d): one person."""


def discover(
    place: Place, *, include: Sequence[str] = (), exclude: Sequence[str] = (), dataset: str | None = None
) -> list[Recording]:
    """All .npz files below `place`, by listing alone, sorted by name; shape.npz and stage-I files as well.

    Files and folders whose name starts with a dot are ignored. The sub-dataset is the first folder; a file
    directly in `place` belongs to a sub-dataset of the place's own name. The subject is the second
    folder, else the part of the file's name before the first underscore.

    Args:
        place: a folder with sub-datasets (`CMU/01/01_01_poses.npz`), or with one of them.
        include: globs on names (`CMU/*`) or whole folders (`CMU/01`); empty takes all.
        exclude: the same; wins over `include`.
        dataset: name of the sub-dataset whose folder `place` itself is; becomes the first part of each name.

    Raises:
        UserError: no such folder, nothing usable in it, nothing selected, or a bad `dataset`.
        OSError: it cannot be listed.
    """
    shown = re.sub(r"//[^/@]*@", "//", place.uri)  # without credentials
    if dataset is not None and not re.fullmatch(r"[^/.=][^/=]*", dataset):
        raise UserError(f"source.dataset {dataset!r}: expected the plain name of a sub-dataset such as CMU.")
    if place.fs.get_file_info(place.path).type == pafs.FileType.File:
        raise UserError(f"{shown}: a file. Expected the folder that holds AMASS sub-datasets (source.root).")
    infos = place.files()
    found = [_recording(place, info, dataset) for info in infos if _is_npz(place.relative(info.path))]
    if not found:
        raise UserError(_nothing_found(place, shown, [place.relative(info.path) for info in infos]))
    chosen = [
        r
        for r in found
        if (not include or any(_matches(r, glob) for glob in include))
        and not any(_matches(r, glob) for glob in exclude)
    ]
    if not chosen:
        raise UserError(
            f"{shown}: include {list(include)} and exclude {list(exclude)} leave none of {len(found)} recordings. "
            f"Globs are matched with names such as {found[0].name!r}."
        )
    return sorted(chosen, key=lambda r: r.name)


def read(place: Place, recording: Recording, *, fps: float | None = None) -> Motion | Rejection[Recording]:
    """Read one recording; formats are told apart by keys and shapes (`archives/layouts.py`).

    Non-finite numbers pass: the quality checks find them. Whatever the file's gender says that is not male,
    female or neutral is `unknown`; without `betas` the shape is the mean one (0 coefficients).

    Args:
        place: what `discover` was given.
        recording: what it found.
        fps: frames per second that take the place of the file's own.

    Returns:
        Poses and trans are read-only; for the usual files they are views of the mapped file in its own type,
        aligned to nothing, and change with it if somebody writes into it: use them soon.

    Raises:
        OSError: the file cannot be read now, or its size is not the listed one any more.
        UserError: `fps` is not positive.
    """
    if fps is not None and not 0 < fps <= 10_000:
        raise UserError(f"source.fps {fps}: expected frames per second between 0 and 10,000.")
    stem = PurePosixPath(recording.source).stem
    if stem == "shape" or stem.endswith("_stagei"):
        what = "a body shape" if stem == "shape" else "the placement of markers (stage I)"
        return Rejection(
            recording, Reason.NOT_MOTION, f"{recording.source}: {what}, no motion. Nothing to do."
        )
    try:
        with open_npz(place, recording.source, size=recording.size) as file:
            return _motion(file, recording, fps)
    except BadNpz as error:
        reason, detail = Reason(error.kind), error.message
    except layouts.Unusable as error:
        reason, detail = error.reason, error.detail
    # Names and shapes in it come from the file: no control characters, and no novel.
    detail = "".join(letter if letter.isprintable() else "?" for letter in detail[:600])
    return Rejection(recording, reason, f"{recording.source}: {detail.rstrip('.')}.")


def published(recording: Recording) -> str:
    """The split that the authors recommend: by sub-dataset, `train` for those that they do not name."""
    return PUBLISHED.get(recording.dataset, "train")


def take_name(name: str) -> str:
    """A name without the endings that AMASS gives to each release.

    >>> take_name("CMU/01/01_01_poses"), take_name("CMU/01/01_01_stageii")
    ('CMU/01/01_01', 'CMU/01/01_01')
    """
    return name.removesuffix("_stageii").removesuffix("_poses")


def short_title(name: str) -> str:
    """The take alone.

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
    """Raise Unusable for sound files that are recognised as something else than motion."""
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
    return path.endswith(".npz") and not any(part.startswith(".") for part in path.split("/"))


def _recording(place: Place, info: pafs.FileInfo, dataset: str | None) -> Recording:
    source = place.relative(info.path)
    name = source.removesuffix(".npz")
    if dataset is not None:
        name = f"{dataset}/{name}"
    elif "/" not in name:
        name = f"{PurePosixPath(place.path).name or 'archive'}/{name}"
    first, second, *rest = name.split("/")
    if rest:
        pattern = _SUBJECT_IN_FOLDER.get(first)
        match = pattern.match(second) if pattern else None
        second = match[0] if match else second
    else:
        second = second.split("_")[0] or second
    return Recording(
        dataset=first,
        name=name,
        subject=f"{first}/{second}",
        source=source,
        size=info.size,
        fingerprint=str(info.mtime_ns),
    )


def _matches(recording: Recording, glob: str) -> bool:
    glob = glob.removesuffix(".npz").rstrip("/")
    return fnmatchcase(recording.name, glob) or recording.name.startswith(f"{glob}/")


def _nothing_found(place: Place, shown: str, paths: list[str]) -> str:
    """Why there is no recording, and what to do."""
    if not paths and not place.exists():
        return (
            f"{shown}: there is no such folder. Expected the one that holds AMASS sub-datasets; {REGISTER}."
        )
    packed = [path for path in paths if path.endswith(_PACKED)]
    if packed:
        return (
            f"{shown}: no .npz file, but {len(packed)} packed archives. Unpack them there first: "
            f"tar -xf {packed[0]}"
        )
    kinds = Counter(PurePosixPath(path).suffix or "no ending" for path in paths)
    listing = ", ".join(f"{count} {suffix}" for suffix, count in kinds.most_common(5)) or "it is empty"
    return f"{shown}: no .npz file ({listing}). Expected AMASS files; {REGISTER}."


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
)
