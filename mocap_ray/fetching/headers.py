"""What an AMASS file is, from its headers: the arrays of motion are not read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import PurePosixPath

from mocap_ray.archives import layouts
from mocap_ray.npz import NpzError, NpzFile, open_npz
from mocap_ray.records import Recording
from mocap_ray.storage import Place

PARTS = "parts"
"""The format of a stage-II file without `poses`."""
TITLES = {"smplh": "SMPL+H", "smplx": "SMPL-X", "smpl": "SMPL"}


@dataclass(frozen=True, slots=True)
class Header:
    """A file of an archive.

    Attributes:
        name: of the recording.
        dataset: the folder of its sub-dataset.
        family: of its body model; empty if it holds no motion.
        format: columns of `poses` in text (`156`), `parts`, or what the file is instead of motion.
        frames: number of frames; 0 without motion.
        fps: frame rate; NaN if the file has none.
        gender: male, female, neutral or unknown.
        damage: what is wrong with the file; empty if nothing is.
    """

    name: str
    dataset: str
    family: str = ""
    format: str = ""
    frames: int = 0
    fps: float = math.nan
    gender: str = "unknown"
    damage: str = ""


def read_header(place: Place, recording: Recording, *, full: bool = False) -> Header:
    """Read the headers of a file; a damaged one is a `Header` with `damage`.

    Args:
        place: the root of the archive.
        recording: as listed.
        full: whether to read all bytes and compare their checksums.

    Raises:
        OSError: the file cannot be read.
    """
    own = (recording.name, recording.dataset)
    stem = PurePosixPath(recording.source).stem
    try:
        with open_npz(place, recording.source, size=recording.size) as file:
            if full:
                for name in file.members:
                    _read(file, name)
            if stem == "shape":
                return Header(*own, format="shape")
            if stem.endswith("_stagei"):
                return Header(*own, format="stage I")
            return _motion(own, file)
    except NpzError as error:
        return Header(*own, damage=f"{recording.source}: {error.message}")
    except layouts.Unusable as error:
        return Header(*own, damage=f"{recording.source}: {error.detail}")


def _motion(own: tuple[str, str], file: NpzFile) -> Header:
    if "poses" in file:
        shape, kind = file.describe("poses").shape, file.describe("poses").dtype.kind
        columns = math.prod(shape[1:])
        family = layouts.COLUMNS.get(columns, "") if len(shape) in (2, 3) and kind in "iuf" else ""
        if not family:
            return Header(*own, format=f"other ({columns} columns)" if kind in "iuf" else "other")
        form, frames = str(columns), shape[0]
    elif layouts.has_parts(file):
        model = (layouts.text(file, "surface_model_type") or "smplx").lower()
        family = next((name for name in ("smplx", "smplh", "smpl") if model.startswith(name)), "smplx")
        form, frames = PARTS, (*file.describe("root_orient").shape, 0)[0]
    else:
        return Header(*own, format=_other(file))
    if "trans" not in file:
        return Header(*own, format="DMPL" if "dmpls" in file else "other")
    trans = file.describe("trans").shape
    damage = "" if trans == (frames, 3) else f"'trans' is {trans} where the poses have {frames} frames"
    try:
        fps = layouts.frame_rate(file)
    except layouts.Unusable as error:
        fps, damage = math.nan, damage or error.detail
    return Header(
        *own, family, form, frames, fps, layouts.gender(file), damage and f"{own[0]}: {damage.rstrip('.')}"
    )


def _other(file: NpzFile) -> str:
    """What a file without poses is."""
    if "v_template" in file or "eigvec" in file:
        return "body model"
    if "dmpls" in file:
        return "DMPL"
    if "markers_latent" in file:
        return "stage I"
    return "shape" if "betas" in file else "other"


def _read(file: NpzFile, name: str) -> None:
    try:
        file.read(name)
    except NpzError as error:
        if error.kind != "unsafe":  # labels may be pickled objects, which are not loaded
            raise
