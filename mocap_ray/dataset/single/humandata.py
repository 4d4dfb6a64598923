"""HumanData, the annotation files of MMHuman3D, SMPLer-X and SMPLest-X: one .npz with the instances of many images.

| key | content |
|---|---|
| `smplx`, else `smpl`, else `smplh` | a dictionary of arrays [N, ...], see below |
| `meta` | a dictionary: `gender`, and marks of invalid instances (`_left_out`) |
| `misc` | a dictionary: `flat_hand_mean` |
| `image_path` | [N] paths; the folder of an image is its sequence |

The arrays are `global_orient`, `body_pose`, `left_hand_pose`, `right_hand_pose`, `jaw_pose`, `leye_pose`, `reye_pose`,
`expression`, `betas`, and at times `betas_neutral` and `betas_extra`. The dictionaries are pickles, which are read
without running their code. Source: the behaviour of the loader of SMPLest-X; docs/how-to/poses.md has the rules.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mocap_ray.archives import pickled
from mocap_ray.archives.layouts import MOST_BETAS, Unusable, gender_of
from mocap_ray.archives.pickled import Values, unusable_pickle
from mocap_ray.dataset.single import hands
from mocap_ray.dataset.single.hands import HandModel
from mocap_ray.dataset.single.instances import (
    Instances,
    PoseFile,
    PoseReason,
    assembled,
    columns,
    sequence_of,
    texts,
)
from mocap_ray.errors import UserError
from mocap_ray.motion.clip import Reason
from mocap_ray.npz import NpzFile, open_npz
from mocap_ray.pickles import load, shown_keys
from mocap_ray.storage import Place

FAMILIES = ("smplx", "smpl", "smplh")
"""In the order in which the published loader looks for them."""
SUBJECT_KEYS = ("image_path",)
BODY_COLUMNS = 63


def read(
    place: Place, file: PoseFile, *, flat_hand_mean: bool | None, hand_model: HandModel | None
) -> Instances:
    """The instances of an annotation file. Memory: about six times its dictionary of poses.

    Args:
        place: the folder of the files.
        file: the file.
        flat_hand_mean: overrides what the file says.
        hand_model: the hands of the body model.

    Raises:
        NpzError, Unusable: its content cannot be used.
        UnknownHands: its hands cannot.
        OSError: it cannot be read.
    """
    with open_npz(place, file.source, size=file.size) as npz:
        family = next((name for name in FAMILIES if name in npz), None)
        if family is None:
            raise Unusable(
                Reason.MISSING_KEYS,
                f"no 'smplx', 'smpl' or 'smplh' (keys: {npz.keys}). Expected a HumanData file; `mocap-ray extract "
                "poses` reads plain arrays of poses",
            )
        values = _dictionary(npz, family)
        meta = _dictionary(npz, "meta") if "meta" in npz else {}
        misc = _dictionary(npz, "misc") if "misc" in npz else {}
        body = pickled.numbers(values, "body_pose")
        if family == "smpl" and body.ndim in (2, 3) and len(body):
            # SMPL's last two joints are its hands, which are one joint each.
            body = body.reshape(len(body), -1)
            body = body[:, :BODY_COLUMNS] if body.shape[1] == 69 else body
        body = columns(body, "body_pose", None, 21)
        count = len(body)
        if not count:
            raise Unusable(Reason.BAD_SHAPE, "it has 0 instances. Expected at least one")
        paths = _paths(npz, count)
    parts = {"body": body, **_others(values, family, count)}
    flat = _flat(misc) if flat_hand_mean is None else flat_hand_mean
    parts |= _hands(values, family, count, flat=flat, model=hand_model)
    poses, given = assembled(parts, count)
    if values.get("expression") is None:
        given["jaw"][:] = False  # the published loader then takes the face for invalid
        poses[:, 22] = 0
    return Instances(
        poses,
        given,
        family,
        _genders(meta, count),
        _betas(values, count),
        None if paths is None else [sequence_of(path) for path in paths],
        _left_out(values, meta, count),
    )


def _dictionary(npz: NpzFile, key: str) -> Values:
    """A dictionary of the file."""
    data = npz.pickled(key)
    if data is None:
        raise Unusable(Reason.BAD_SHAPE, f"'{key}' holds numbers. Expected a dictionary, as HumanData has it")
    where = f"'{key}'"
    try:
        value = load(data, where=where)
    except UserError as error:
        found = unusable_pickle(error, where)
        raise Unusable(found.reason, f"{where}: {found.detail}") from error
    if isinstance(value, np.ndarray) and value.dtype.hasobject and value.size == 1:
        value = value.reshape(-1)[0]
    if not isinstance(value, dict):
        raise Unusable(Reason.BAD_SHAPE, f"'{key}' is a {type(value).__name__}. Expected a dictionary")
    return value


def _paths(npz: NpzFile, count: int) -> list[str] | None:
    """The path of each image; None if the file has none."""
    if "image_path" not in npz:
        return None
    data = npz.pickled("image_path")
    if data is None:
        return texts(npz.read("image_path"), "image_path", count)
    try:
        found = load(data, where="'image_path'")
    except UserError as error:
        raise unusable_pickle(error, "'image_path'") from error
    listed = found.tolist() if isinstance(found, np.ndarray) else found
    if not isinstance(listed, list) or len(listed) != count or not all(isinstance(p, str) for p in listed):
        raise Unusable(Reason.BAD_SHAPE, f"'image_path' holds something other than {count:,} texts")
    return listed


def _others(values: Values, family: str, count: int) -> dict[str, np.ndarray | None]:
    """Root, jaw and eyes, as far as the file has them."""
    found: dict[str, np.ndarray | None] = {}
    names = {"root": "global_orient"} | ({"jaw": "jaw_pose"} if family == "smplx" else {})
    for part, key in names.items():
        if values.get(key) is not None:
            found[part] = columns(pickled.numbers(values, key), key, count, 1)
    eyes = ("leye_pose", "reye_pose")
    if family == "smplx" and all(values.get(key) is not None for key in eyes):
        found["eyes"] = np.hstack([columns(pickled.numbers(values, key), key, count, 1) for key in eyes])
    return found


def _flat(misc: Values) -> bool | None:
    """`misc.flat_hand_mean`; None if it is not there."""
    value = misc.get("flat_hand_mean")
    if isinstance(value, np.ndarray | np.generic) and value.size == 1:
        value = np.asarray(value).reshape(-1)[0].item()
    return value if isinstance(value, bool) else None


def _hands(
    values: Values, family: str, count: int, *, flat: bool | None, model: HandModel | None
) -> dict[str, np.ndarray | None]:
    found: dict[str, np.ndarray | None] = {}
    for side in hands.SIDES if family != "smpl" else ():
        key = f"{side}_hand_pose"
        if values.get(key) is None:
            continue
        stored = pickled.numbers(values, key)
        if stored.ndim and len(stored) != count:
            raise Unusable(Reason.BAD_SHAPE, f"'{key}' is {stored.shape}. Expected {count:,} rows")
        found[f"{side}_hand"] = hands.from_flat(stored, key, side=side, flat=flat, model=model)
    return found


def _genders(meta: Values, count: int) -> list[str]:
    value = meta.get("gender")
    if isinstance(value, str):
        return [gender_of(value)] * count
    listed = value.tolist() if isinstance(value, np.ndarray) else value
    if listed is None:
        return ["unknown"] * count
    if not isinstance(listed, list | tuple) or len(listed) != count:
        raise Unusable(Reason.BAD_SHAPE, f"'meta.gender' holds something other than {count:,} texts")
    return [gender_of(text) if isinstance(text, str) else "unknown" for text in listed]


def _betas(values: Values, count: int) -> np.ndarray:
    """Shape coefficients of the neutral body where the file has them, else as they are."""
    key = "betas_neutral" if values.get("betas_neutral") is not None else "betas"
    if values.get(key) is None:
        return np.zeros((count, 0), np.float32)
    betas = pickled.numbers(values, key)
    if betas.ndim != 2 or len(betas) != count:
        raise Unusable(
            Reason.BAD_SHAPE, f"'{key}' is {betas.shape}. Expected ({count:,}, 10) or more columns"
        )
    return betas[:, :MOST_BETAS].astype(np.float32)


def _left_out(values: Values, meta: Values, count: int) -> dict[int, tuple[PoseReason, str]]:
    """The instances that the file marks as invalid, or as children."""
    found: dict[int, tuple[PoseReason, str]] = {}
    # Whether an instance is good if the number is not 0.
    marks = {"annot_valid": True, "valid_label": True, "iscrowd": False, "num_keypoints": True}
    for key, good in marks.items():
        marked = _flags(meta, key, count)
        if marked is None:
            continue
        for row in np.flatnonzero((marked != 0) != good):
            found.setdefault(int(row), (PoseReason.ANNOTATION, f"meta.{key} is {marked[row]:g}"))
    children = _flags(values, "betas_extra", count)
    if children is not None:
        for row in np.flatnonzero(children != 0):
            text = f"betas_extra is {children[row]:g}: the body of a child, which needs another template"
            found.setdefault(int(row), (PoseReason.CHILD, text))
    return found


def _flags(values: Mapping[object, object], key: str, count: int) -> np.ndarray | None:
    """A number for each instance; None if the file has none."""
    value = values.get(key)
    if value is None:
        return None
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        array = np.zeros(0)
    if array.size != count:
        raise Unusable(
            Reason.BAD_SHAPE,
            f"'{key}' holds something other than {count:,} numbers (keys: {shown_keys(values)})",
        )
    return array.reshape(count)
