"""Parameters of the SMPL family in .npz files, recognised by keys and shapes.

| columns of `poses` | family | order |
|---|---|---|
| 156 | smplh, 52 joints | root, 21 body, 15 left hand, 15 right hand |
| 165 | smplx, 55 joints | root, 21 body, jaw, 2 eyes, 15 left hand, 15 right hand |
| 162 | smplx, 54 joints | root, 21 body, then 96 columns without a reliable published description |
| 72 | smpl, 24 joints | root, 21 body, 2 hands |

Stage-II files also hold the same angles as separate arrays: root_orient, pose_body, pose_jaw, pose_eye, pose_hand.

On 162 columns: the only public program that names the layout (gestura-ai/stick-gen) reads the first 66 columns as
root and body and the next 90 as hands, but its description adds up to 169; 54 joints could also be SMPL-X without
the jaw, or without the root. So if the file has the separate arrays, these are used; otherwise only the 22 body
joints are, and jaw, eyes and hands stay at rest rather than being wrong.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from mocap_ray.motion.bounds import LEAST_FPS, MOST_FPS, in_range
from mocap_ray.motion.clip import Reason
from mocap_ray.npz import INFLATED_LIMIT, NpzError, NpzFile

COLUMNS: dict[int, str] = {156: "smplh", 165: "smplx", 162: "smplx", 72: "smpl"}
JOINTS: dict[str, int] = {"smpl": 24, "smplh": 52, "smplx": 55}
RATE_KEYS = ("mocap_framerate", "mocap_frame_rate", "fps")
PARTS: dict[str, tuple[str, ...]] = {
    "smpl": ("root_orient", "pose_body"),
    "smplh": ("root_orient", "pose_body", "pose_hand"),
    "smplx": ("root_orient", "pose_body", "pose_jaw", "pose_eye", "pose_hand"),
}
PART_COLUMNS: dict[str, int] = {
    "root_orient": 3,
    "pose_body": 63,
    "pose_jaw": 3,
    "pose_eye": 6,
    "pose_hand": 90,
}
MOST_BETAS = 300
"""The largest number of shape coefficients of SMPL and SMPL-X; further columns are expression."""

_EXPECTED = "Expected 156 columns (SMPL+H), 165 or 162 (SMPL-X) or 72 (SMPL)"
_GENDERS = {
    "m": "male",
    "male": "male",
    "f": "female",
    "female": "female",
    "n": "neutral",
    "neutral": "neutral",
}


class Unusable(Exception):
    """The file is valid, but holds no motion that can be read; becomes a Rejection."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def has_parts(file: NpzFile) -> bool:
    """Whether the file holds the angles of root and body as separate arrays."""
    return "root_orient" in file and "pose_body" in file


def wanted(file: NpzFile) -> list[str]:
    """The members that a reader needs, judging by the directory."""
    names = ["trans", "betas", "num_betas", "gender", *RATE_KEYS]
    if "poses" in file:
        names.append("poses")
        if has_parts(file):
            # `poses` is 54 times as long as the root's three columns: 162 columns, so the parts are needed.
            sizes = [file.members[name].size - 128 for name in ("poses", "root_orient")]
            if sizes[0] != 54 * sizes[1]:
                return names
    return [*names, *PARTS["smplx"], "surface_model_type"]


def motion_arrays(file: NpzFile) -> tuple[str, np.ndarray, np.ndarray]:
    """Family, poses [T, J, 3] rad and trans [T, 3] m; views of the file if its layout allows.

    Raises:
        Unusable: missing or inconsistent arrays, or no frames.
        NpzError: damaged members.
    """
    poses = None
    if "poses" in file:
        poses = numbers(file, "poses")
        if poses.ndim == 3 and poses.shape[2] == 3:
            poses = poses.reshape(len(poses), math.prod(poses.shape[1:]))
        if poses.ndim != 2 or poses.shape[1] not in COLUMNS:
            raise Unusable(Reason.BAD_SHAPE, f"'poses' is {_shape(poses)}. {_EXPECTED}")
    elif not has_parts(file):
        raise Unusable(
            Reason.MISSING_KEYS,
            f"no 'poses' (keys: {file.keys}). Expected an AMASS SMPL+H, SMPL-X or SMPL file",
        )
    if "trans" not in file:
        raise Unusable(Reason.MISSING_KEYS, f"no 'trans' (keys: {file.keys}). Expected an AMASS SMPL+H file")
    trans = numbers(file, "trans")
    frames = len(poses) if poses is not None else len(trans) if trans.ndim else 0
    if trans.shape != (frames, 3):
        raise Unusable(
            Reason.BAD_SHAPE,
            f"'trans' is {_shape(trans)} where the poses have {frames} frames. Expected ({frames}, 3)",
        )
    if frames == 0:
        raise Unusable(Reason.TOO_SHORT, "it has 0 frames. Expected at least one")
    if poses is None or (poses.shape[1] == 162 and has_parts(file)):
        family, poses = _from_parts(file, frames)
    else:
        family = COLUMNS[poses.shape[1]]
        if poses.shape[1] == 162:
            body, poses = poses[:, :66], np.zeros((frames, 165), poses.dtype)
            poses[:, :66] = body
    return family, poses.reshape(frames, JOINTS[family], 3), trans


def _from_parts(file: NpzFile, frames: int) -> tuple[str, np.ndarray]:
    """Family and poses [T, 3J] from the separate arrays of a stage-II file; missing parts stay at rest."""
    model = (text(file, "surface_model_type") or "smplx").lower()
    family = next((name for name in ("smplx", "smplh", "smpl") if model.startswith(name)), "smplx")
    parts = {name: numbers(file, name) for name in PARTS[family] if name in file}
    for name, part in parts.items():
        if part.shape != (frames, PART_COLUMNS[name]):
            what = f"'{name}' is {_shape(part)}. Expected ({frames}, {PART_COLUMNS[name]})"
            raise Unusable(Reason.BAD_SHAPE, what)
    _require_room(f"{frames:,} frames", frames * 3 * JOINTS[family])
    poses, column = np.zeros((frames, 3 * JOINTS[family])), 0
    for name in PARTS[family]:
        if name in parts:
            poses[:, column : column + PART_COLUMNS[name]] = parts[name]
        column += PART_COLUMNS[name]
    return family, poses


def frame_rate(file: NpzFile) -> float:
    """Frames per second of the file, rounded if it is nearly a whole number (120.0000458, but not 59.94).

    Raises:
        Unusable: there is no frame rate, or it is not a number within `motion.bounds`.
    """
    key = next((key for key in RATE_KEYS if key in file), None)
    if key is None:
        raise Unusable(
            Reason.MISSING_KEYS,
            f"no 'mocap_framerate' (keys: {file.keys}). Expected an AMASS SMPL+H file; "
            "pass source.fps in the config to override.",
        )
    array = file.read(key)
    value = float(array.reshape(-1)[0]) if array.size == 1 and array.dtype.kind in "iuf" else math.nan
    if not in_range(value):
        shown = (
            value if array.size == 1 and array.dtype.kind in "iuf" else f"{_shape(array)} of {array.dtype}"
        )
        raise Unusable(
            Reason.BAD_VALUE,
            f"'{key}' is {shown}. Expected {LEAST_FPS:g} to {MOST_FPS:,.0f} frames per second; pass source.fps in the "
            "config to override.",
        )
    whole = round(value)
    return float(whole) if abs(value - whole) <= 1e-4 * value else value


def said_rate(file: NpzFile) -> float | None:
    """Frames per second of a file of any program; None if it says none, or none that may be meant."""
    key = next((k for k in reversed(RATE_KEYS) if k in file), None)
    rate = None if key is None else float(np.asarray(file.read(key)).reshape(-1)[0])
    return rate if rate is not None and 0 < rate <= 10_000 else None


def shape_coefficients(file: NpzFile, family: str) -> Float[np.ndarray, "B"]:
    """Shape coefficients [B], float64, without expression; empty if the file has none (the mean shape).

    `num_betas` says how many of `betas` are shape. Without it, exactly 20 in an SMPL-X file are 10 of shape and
    10 of expression. At most 300 are shape. [1, B] is read as [B], and so are rows that are all equal.

    Raises:
        Unusable: `betas` is not a vector, or changes over time.
    """
    if "betas" not in file:
        return np.zeros(0)
    betas = numbers(file, "betas")
    if betas.ndim == 2 and len(betas) and (len(betas) == 1 or bool((betas == betas[0]).all())):
        betas = betas[0]
    if betas.ndim != 1:
        raise Unusable(
            Reason.BAD_SHAPE,
            f"'betas' is {_shape(betas)}. Expected 10 to {MOST_BETAS} coefficients for all frames",
        )
    count = len(betas)
    num_betas = _count(file, "num_betas")
    if num_betas is not None and 0 < num_betas <= count:
        count = num_betas
    elif family == "smplx" and count == 20:
        count = 10
    return np.array(betas[: min(count, MOST_BETAS)], np.float64)


def gender(file: NpzFile) -> str:
    """male, female or neutral; `unknown` for any other value, none, or a pickled object."""
    return gender_of(text(file, "gender") or "")


def gender_of(label: str) -> str:
    """male, female or neutral, for such a label or its first letter; `unknown` for any other."""
    label = label.strip().lower()
    if label.startswith(("b'", 'b"')):  # str() of bytes, written by some converters
        label = label[2:-1]
    return _GENDERS.get(label, "unknown")


def text(file: NpzFile, name: str) -> str | None:
    """A text of up to 64 characters, stored as str or bytes with one element; None if there is none.

    A pickled object is ignored: a missing text is no reason to reject a recording.
    """
    if name not in file:
        return None
    try:
        array = file.read(name)
    except NpzError as error:
        if error.kind == "unsafe":
            return None
        raise
    if array.size != 1 or array.dtype.kind not in "US" or array.dtype.itemsize > 256:
        return None
    try:
        value = array.reshape(-1)[0]
        return value.decode("ascii") if isinstance(value, bytes) else str(value)
    except ValueError:  # bytes that are not ASCII
        return None


def numbers(file: NpzFile, name: str) -> np.ndarray:
    """A member as native float32 or float64; a view of the file if it already has such a dtype.

    Raises:
        Unusable: it does not hold real numbers, or converting them would take more than `INFLATED_LIMIT`.
    """
    return as_numbers(name, file.read(name))


def as_numbers(name: str, array: np.ndarray) -> np.ndarray:
    """An array as native float32 or float64; the same array if it already has such a dtype.

    Raises:
        Unusable: it does not hold real numbers, or converting them would take more than `INFLATED_LIMIT`.
    """
    if array.dtype in (np.float32, np.float64) and array.dtype.isnative:
        return array
    if array.dtype.kind not in "iuf":
        raise Unusable(Reason.BAD_SHAPE, f"'{name}' is of type {array.dtype}. Expected float32 or float64")
    _require_room(f"'{name}' of {_shape(array)}", array.size)
    array = array.astype(np.float32 if array.dtype.kind == "f" and array.dtype.itemsize <= 4 else np.float64)
    array.flags.writeable = False
    return array


def _require_room(what: str, numbers: int) -> None:
    """Raise Unusable before an array of so many float64 is made, if it is larger than any member may be."""
    if 8 * numbers > INFLATED_LIMIT:
        raise Unusable(
            Reason.BAD_SHAPE,
            f"{what}: more than {INFLATED_LIMIT >> 30} GiB as float64. Expected at most two hours at 120 fps; cut the "
            "recording",
        )


def _count(file: NpzFile, name: str) -> int | None:
    if name not in file:
        return None
    try:
        array = file.read(name)
    except NpzError as error:
        if error.kind == "unsafe":
            return None
        raise
    return int(array.reshape(-1)[0]) if array.size == 1 and array.dtype.kind in "iu" else None


def _shape(array: np.ndarray) -> str:
    return str(array.shape) if array.ndim else "a single value"
