"""Find body model files below one root, in all layouts in which they are commonly unpacked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mocap_ray.errors import UserError
from mocap_ray.skeleton import FAMILIES
from mocap_ray.storage import expand

GENDERS: tuple[str, ...] = ("neutral", "male", "female")

_SITES = {
    "smpl": (
        "https://smpl.is.tue.mpg.de",
        "the SMPL model for Python, version 1.1.0 (SMPL_python_v.1.1.0.zip)",
    ),
    "smplh": ("https://mano.is.tue.mpg.de", "the extended SMPL+H model used in AMASS (smplh.tar.xz)"),
    "smplx": ("https://smpl-x.is.tue.mpg.de", "SMPL-X v1.1 with NPZ and PKL files (models_smplx_v1_1.zip)"),
}
_ORIGINAL = re.compile(r"basicmodel_(neutral|male|female|n|m|f)_lbs_[\w.]+\.(npz|pkl)", re.IGNORECASE)
_LETTERS = {"n": "neutral", "m": "male", "f": "female"}


def find(root: str | Path) -> dict[tuple[str, str], Path]:
    """The model file of each family and gender below `root`; missing ones are left out.

    Searches `root`, `root/<family>` and their `models` folders, ignoring case, for names such as
    `SMPLX_NEUTRAL.npz`, `<gender>/model.npz` below a family's folder, and for SMPL the original
    `basicModel_f_lbs_10_207_0_v1.0.0.pkl`. NPZ comes before PKL, then the family's own folder before the
    root, then the names in this order, then the newest version.

    Raises:
        UserError: `root` is not a folder, or cannot be one.
    """
    root = expand(root)
    if not root.is_dir():
        raise UserError(
            f"{root}: no such folder. Expected the folder that holds the body models "
            "(for example smplx/SMPLX_NEUTRAL.npz below it); `mocap-ray body standin` writes licence-free ones."
        )
    found: dict[tuple[str, str], Path] = {}
    for family in FAMILIES:
        candidates = sorted(_candidates(root, family), key=lambda c: c[:2])
        for ending in ("npz", "pkl"):
            for _, _, gender, path in candidates:
                if path.suffix.lower() == f".{ending}":
                    found.setdefault((family, gender), path)
    return {(f, g): found[f, g] for f in FAMILIES for g in GENDERS if (f, g) in found}


def _candidates(root: Path, family: str) -> Iterator[tuple[int, int, str, Path]]:
    """(rank of the folder, rank of the name, gender, path) of all files that may belong to a family."""
    named = re.compile(rf"{family}_({'|'.join(GENDERS)})\.(npz|pkl)", re.IGNORECASE)
    folders = _folders(root, family)
    for rank, (folder, own) in enumerate(folders):
        files = [p for p in _entries(folder) if p.is_file()]
        for path in files:
            if match := named.fullmatch(path.name):
                yield rank, 0, match[1].lower(), path
        for sub in _entries(folder):
            if own and sub.name.lower() in GENDERS and sub.is_dir():
                for path in _entries(sub):
                    if path.name.lower() in ("model.npz", "model.pkl") and path.is_file():
                        yield rank, 1, sub.name.lower(), path
        if family == "smpl":
            originals = [(m, p) for p in files if (m := _ORIGINAL.fullmatch(p.name))]
            # Names end in the version, so the last in order is the newest.
            for age, (match, path) in enumerate(reversed(originals)):
                gender = match[1].lower()
                yield rank, 2 + age, _LETTERS.get(gender, gender), path


def _folders(root: Path, family: str) -> list[tuple[Path, bool]]:
    """Folders to search, and whether each belongs to the family alone."""
    own = [p for p in _entries(root) if p.name.lower() == family and p.is_dir()]
    own += [p for p in _entries(root / "models") if p.name.lower() == family and p.is_dir()]
    own += [p / "models" for p in own]
    at_root = root.name.lower() == family
    return [(p, True) for p in own] + [(root, at_root), (root / "models", at_root)]


def _entries(folder: Path) -> list[Path]:
    """The entries of a folder, sorted by lower-case name; empty if it is not a folder."""
    return sorted(folder.iterdir(), key=lambda p: (p.name.lower(), p.name)) if folder.is_dir() else []


def expected(family: str, gender: str) -> str:
    """The recommended path of a file, relative to the root."""
    if family == "smplh":
        return f"smplh/{gender}/model.npz"
    return f"{family}/{family.upper()}_{gender.upper()}.{'npz' if family == 'smplx' else 'pkl'}"


def missing(family: str, gender: str, *, root: str | Path) -> str:
    """The error message for a missing model: where to register, which file to download, where to put it."""
    site, file = _SITES[family]
    return (
        f"{root}: no {gender} model of the family {family}. Register at {site}, download {file} and put the "
        f"{gender} model at {Path(root) / expected(family, gender)}; then check with `mocap-ray body check {root}`. "
        f"For a trial without a licence, `mocap-ray body standin FOLDER` writes stand-ins."
    )
