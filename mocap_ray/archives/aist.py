"""AIST++: 3D dance motion fitted to the videos of the AIST Dance DB, one pickle a sequence.

`motions/gBR_sBM_cAll_d04_mBR0_ch01.pkl`: smpl_poses [T, 72] rad (also [T, 24, 3]), smpl_trans [T, 3] and smpl_scaling,
60 frames per second, Y up. The fit scales SMPL's male body of mean shape to the units of the videos, so joints in
metres are those of the body at smpl_trans / smpl_scaling. Source: google.github.io/aistplusplus_dataset.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType

import numpy as np
from pyarrow import fs as pafs

from mocap_ray.archives import files
from mocap_ray.archives.archive import Archive, PublishedLists
from mocap_ray.archives.layouts import Unusable
from mocap_ray.archives.pickled import Values, number, numbers, read_values
from mocap_ray.archives.splits import read_names
from mocap_ray.errors import UserError
from mocap_ray.motion.clip import Motion, Reason
from mocap_ray.pickles import shown_keys
from mocap_ray.records import Recording, Rejection
from mocap_ray.storage import Place
from mocap_ray.wording import counted

FPS = 60.0
DATASET = "AIST"
MOTIONS = "motions"

GENRES: Mapping[str, str] = MappingProxyType(
    {
        "BR": "break",
        "PO": "pop",
        "LO": "lock",
        "MH": "middle hip-hop",
        "LH": "LA-style hip-hop",
        "HO": "house",
        "WA": "waack",
        "KR": "krump",
        "JS": "street jazz",
        "JB": "ballet jazz",
    }
)
"""The genres in the order of their numbers in models of style, from 1 on; 0 is an unknown style (null)."""

SITUATIONS: Mapping[str, str] = MappingProxyType({"BM": "basic dance", "FM": "advanced dance"})
"""The situations of the AIST Dance DB that AIST++ has."""

_NAME = re.compile(r"g([A-Z]{2})_s([A-Z]{2})_c(All|\d{2})_d(\d{2})_m([A-Z]{2}\d)_ch(\d{2})")
_LARGEST = 256 << 20  # the longest sequence, 48 s, takes 0.9 MB

REGISTER = (
    "download motions.zip, or fullset.zip with the official splits, from google.github.io/aistplusplus_dataset and "
    "unzip it: motions/gBR_sBM_cAll_d04_mBR0_ch01.pkl, with splits/ and ignore_list.txt beside motions/"
)


@dataclass(frozen=True, slots=True)
class Sequence:
    """What the name of a sequence says.

    Attributes:
        genre: two letters, a key of `GENRES`.
        situation: two letters, a key of `SITUATIONS`.
        camera: `All`, or the number of a camera.
        dancer: two digits.
        music: genre and number, `BR0`.
        choreography: two digits.
    """

    genre: str
    situation: str
    camera: str
    dancer: str
    music: str
    choreography: str


def parse_name(name: str) -> Sequence | None:
    """The parts of the name of a sequence; None for any other name.

    >>> parse_name("gBR_sBM_cAll_d04_mBR0_ch01")
    Sequence(genre='BR', situation='BM', camera='All', dancer='04', music='BR0', choreography='01')
    >>> parse_name("walk") is None
    True
    """
    found = _NAME.fullmatch(name.rpartition("/")[2])
    return Sequence(*found.groups()) if found else None


def discover(place: Place, *, dataset: str | None = None) -> list[Recording]:
    """List all sequences without opening them, sorted by name; the dancer is the subject.

    Args:
        place: the folder that holds `motions/`, or that folder itself.
        dataset: name of the sub-dataset; default: AIST.

    Raises:
        UserError: no such folder, no pickle in it, or an invalid `dataset`.
        OSError: the folder cannot be listed.
    """
    files.require_dataset(dataset)
    folder = _motions(place)
    found = []
    for info in folder.files():
        path = folder.relative(info.path)
        if path.endswith(".pkl") and not files.is_hidden(path):
            found.append(_recording(place, folder, info, dataset or DATASET))
    if not found:
        raise UserError(_nothing_found(place, folder))
    return sorted(found, key=lambda r: r.name)


def read(
    place: Place, recording: Recording, *, fps: float | None = None, scaling: float | None = None
) -> Motion | Rejection[Recording]:
    """Read one sequence. Non-finite poses and translations are kept: the quality checks find them.

    Args:
        place: the place that was passed to `discover`.
        recording: a recording that `discover` returned.
        fps: overrides 60 frames per second.
        scaling: the scaling of files that have none.

    Raises:
        OSError: the file cannot be read, or its size has changed since it was listed.
        UserError: `fps` or `scaling` is out of bounds.
    """
    files.require_rate(fps)
    rate = FPS if fps is None else fps
    if scaling is not None and not scaling > 0:
        raise UserError(f"source.scaling {scaling}: expected a number above 0, such as 93.8.")
    try:
        values = read_values(place, recording, most=_LARGEST)
        poses, trans = _arrays(values)
        scale = _scaling(values, scaling)
    except Unusable as error:
        return files.rejected(recording, error.reason, error.detail)
    sequence = parse_name(recording.name)
    return Motion(
        recording=recording,
        family="smpl",
        gender="male",
        fps=rate,
        source_fps=rate,
        poses=poses,
        trans=np.asarray(trans, np.float64) / scale,
        betas=np.zeros(0),
        R_yup_source=np.eye(3),
        action="dance",
        style=sequence.genre if sequence and sequence.genre in GENRES else None,
    )


def _arrays(values: Values) -> tuple[np.ndarray, np.ndarray]:
    """Poses [T, 24, 3] and translation [T, 3] in the units of the file. Raises Unusable."""
    if "smpl_poses" not in values and any(key in values for key in ("keypoints2d", "keypoints3d")):
        raise Unusable(Reason.NOT_MOTION, f"keypoints, no motion (keys: {shown_keys(values)}). Nothing to do")
    poses, trans = numbers(values, "smpl_poses"), numbers(values, "smpl_trans")
    if poses.ndim == 2 and poses.shape[1] == 72:
        poses = poses.reshape(len(poses), 24, 3)
    if poses.ndim != 3 or poses.shape[1:] != (24, 3):
        raise Unusable(
            Reason.BAD_SHAPE, f"'smpl_poses' is {poses.shape}. Expected (frames, 72) or (frames, 24, 3)"
        )
    if trans.shape != (len(poses), 3):
        raise Unusable(Reason.BAD_SHAPE, f"'smpl_trans' is {trans.shape}. Expected ({len(poses)}, 3)")
    if not len(poses):
        raise Unusable(Reason.TOO_SHORT, "it has 0 frames. Expected at least one")
    return poses, trans


def _scaling(values: Values, given: float | None) -> float:
    """What the translation is divided by. Raises Unusable."""
    if "smpl_scaling" not in values:
        if given is not None:
            return given
        raise Unusable(
            Reason.MISSING_KEYS,
            f"no 'smpl_scaling' (keys: {shown_keys(values)}), so its translation has no known unit. Expected a file of "
            "AIST++; pass source.scaling in the config, which is 1 if it is in metres",
        )
    scale = number(values, "smpl_scaling")
    if not 1e-6 < scale < 1e6:
        shown = f"{scale:g}" if numbers(values, "smpl_scaling").size == 1 else "not one number"
        raise Unusable(
            Reason.BAD_VALUE, f"'smpl_scaling' is {shown}. Expected a number above 0, such as 93.8"
        )
    return scale


def short_title(name: str) -> str:
    """Genre, dancer and choreography.

    >>> short_title("gBR_sBM_cAll_d04_mBR0_ch01")
    'BR d04 ch01'
    """
    sequence = parse_name(name)
    if sequence is None:
        return name.rpartition("/")[2]
    return f"{sequence.genre} d{sequence.dancer} ch{sequence.choreography}"


def _motions(place: Place) -> Place:
    """The folder of the pickles: `motions/` below the place, or the place itself. Raises UserError."""
    kind = place.fs.get_file_info(place.path).type
    if kind != pafs.FileType.Directory and not (kind == pafs.FileType.NotFound and place.names()):
        what = "is a file" if kind == pafs.FileType.File else "no such folder"
        raise UserError(
            f"{place.uri}: {what}. Expected the folder that holds motions/ (source.root); {REGISTER}."
        )
    names = place.names()
    if MOTIONS in names:
        return place.folder(MOTIONS)
    for name in names:
        if not name.startswith(".") and place.exists(name, MOTIONS):
            raise UserError(
                f"{place.uri}: motions/ is one folder further down. Use {place.folder(name).uri} as source.root."
            )
    return place


def _recording(place: Place, folder: Place, info: pafs.FileInfo, dataset: str) -> Recording:
    name = folder.relative(info.path).removesuffix(".pkl")
    sequence = parse_name(name)
    return Recording(
        dataset=dataset,
        name=name,
        subject=f"{dataset}/{'d' + sequence.dancer if sequence else name}",
        source=place.relative(info.path),
        size=info.size,
        fingerprint=str(info.mtime_ns),
    )


def _nothing_found(place: Place, folder: Place) -> str:
    """The message for a folder without pickles."""
    packed = [name for name in place.names() if name.endswith(".zip")]
    if packed:
        many = counted(len(packed), "packed archive")
        return f"{place.uri}: no .pkl file, but {many}. Unpack first: unzip {packed[0]}"
    endings = sorted({PurePosixPath(i.path).suffix or "no ending" for i in folder.files()})
    return f"{folder.uri}: no .pkl file (found: {', '.join(endings[:5]) or 'nothing'}). Expected AIST++; {REGISTER}."


def _home(place: Place) -> Place:
    """The folder that holds `motions/`, `splits/` and `ignore_list.txt`."""
    if PurePosixPath(place.path).name != MOTIONS or MOTIONS in place.names():
        return place
    return Place(
        place.fs, str(PurePosixPath(place.path).parent), place.uri.rstrip("/").rpartition("/")[0] or "."
    )


def official_lists(place: Place, name: str) -> dict[str, list[str]]:
    """The official lists `splits/<name>_{train,val,test}.txt`, where `name` is pose or crossmodal.

    Raises:
        UserError: one of them is missing, or not UTF-8.
    """
    home, lists = _home(place), {}
    for split in ("train", "val", "test"):
        path = f"splits/{name}_{split}.txt"
        if not home.exists(path):
            raise UserError(
                f"{home.folder(path).uri}: no such file. source.split {name} needs the official lists of AIST++, which "
                "fullset.zip has. Unpack its splits/ beside motions/, or use source.split=subject, which keeps every "
                "dancer in one split."
            )
        lists[split] = read_names(home, path)
    return lists


def ignored(place: Place) -> frozenset[str] | None:
    """The names in `ignore_list.txt` beside `motions/`, or in `splits/`; None if there is no such file."""
    home = _home(place)
    for path in ("ignore_list.txt", "splits/ignore_list.txt"):
        if home.exists(path):
            return frozenset(read_names(home, path))
    return None


ARCHIVE = Archive(
    name="aist",
    title="AIST++",
    discover=discover,
    read=read,
    url="https://google.github.io/aistplusplus_dataset",
    licence=(
        "The annotations are licensed by Google LLC under CC BY 4.0. The videos and the music are not part of them; "
        "these have the terms of use of the AIST Dance Video Database (aistdancedb.ongaaccel.jp/terms_of_use)."
    ),
    citation=(
        "R. Li, S. Yang, D. A. Ross, A. Kanazawa: AI Choreographer: Music Conditioned 3D Dance Generation with AIST++. "
        "ICCV 2021, pp. 13401-13412. S. Tsuchida, S. Fukayama, M. Hamasaki, M. Goto: AIST Dance Video Database. "
        "ISMIR 2019, pp. 501-510."
    ),
    register=REGISTER,
    lists=PublishedLists(("pose", "crossmodal"), official_lists),
    ignored=ignored,
    options=("scaling",),
    short_title=short_title,
)
