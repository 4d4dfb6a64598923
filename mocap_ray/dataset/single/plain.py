"""Plain arrays of poses: .npz files such as train_poses.npz and val_poses.npz.

Either one array [N, J, 3] or [N, 3 J], axis-angle in rad, called `poses` or alone in the file:

| joints | order |
|---|---|
| 55 | root, 21 body, jaw, 2 eyes, 15 left hand, 15 right hand (SMPL-X) |
| 53 | the same without the eyes |
| 52 | root, 21 body, 15 left hand, 15 right hand (SMPL+H) |
| 22, 21 | root and body, or the body alone |

or the parts as arrays of their own: `body_pose`, and at will `global_orient`, `jaw_pose`, `leye_pose`, `reye_pose`,
`lhand_pose` and `rhand_pose` (also `left_hand_pose` and `right_hand_pose`). Hands count from the flat hand, unless the
config says otherwise. `subject` or `sequence` (a text for each pose), `gender` and `betas` may be there too.
"""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

from mocap_ray.archives import layouts
from mocap_ray.archives.layouts import MOST_BETAS, Unusable, numbers
from mocap_ray.dataset.single import hands
from mocap_ray.dataset.single.hands import HandModel
from mocap_ray.dataset.single.humandata import FAMILIES
from mocap_ray.dataset.single.instances import PARTS, Instances, PoseFile, assembled, columns, texts
from mocap_ray.motion.clip import Reason
from mocap_ray.npz import NpzFile, open_npz
from mocap_ray.storage import Place

SUBJECT_KEYS = ("subject", "sequence")
JOINTS: MappingProxyType[int, tuple[str, ...]] = MappingProxyType(
    {
        55: tuple(PARTS),
        53: ("root", "body", "jaw", "left_hand", "right_hand"),
        52: ("root", "body", "left_hand", "right_hand"),
        22: ("root", "body"),
        21: ("body",),
    }
)
"""Number of joints -> the parts in their order."""
KEYS: MappingProxyType[str, tuple[str, ...]] = MappingProxyType(
    {
        "root": ("global_orient",),
        "jaw": ("jaw_pose",),
        "left_hand": ("lhand_pose", "left_hand_pose"),
        "right_hand": ("rhand_pose", "right_hand_pose"),
    }
)
_OTHERS = frozenset(("betas", "gender", "trans", "transl", *SUBJECT_KEYS))


def read(
    place: Place, file: PoseFile, *, flat_hand_mean: bool | None, hand_model: HandModel | None
) -> Instances:
    """The poses of a file; arguments and errors as those of `humandata.read`."""
    with open_npz(place, file.source, size=file.size) as npz:
        parts, count = _from_parts(npz) if "body_pose" in npz and "poses" not in npz else _from_one(npz)
        family = _family(parts)
        gender, betas = layouts.gender(npz), _betas(npz, count)
        subjects = next((texts(npz.read(key), key, count) for key in SUBJECT_KEYS if key in npz), None)
    for side in hands.SIDES:
        stored = parts.get(f"{side}_hand")
        if stored is not None:
            flat = True if flat_hand_mean is None else flat_hand_mean
            key = f"{side} hand"
            parts[f"{side}_hand"] = hands.from_flat(stored, key, side=side, flat=flat, model=hand_model)
    poses, given = assembled(parts, count)
    return Instances(poses, given, family, [gender] * count, betas, subjects)


def _from_one(npz: NpzFile) -> tuple[dict[str, np.ndarray | None], int]:
    """The parts of the one array of poses, and the number of poses."""
    key = _key(npz)
    array = numbers(npz, key)
    rows = len(array) if array.ndim else 0
    if array.ndim == 3 and array.shape[2] == 3:
        array = array.reshape(rows, 3 * array.shape[1])
    names = JOINTS.get(array.shape[1] // 3) if array.ndim == 2 and array.shape[1] % 3 == 0 else None
    if names is None or not rows:
        raise Unusable(
            Reason.BAD_SHAPE,
            f"'{key}' is {npz.describe(key).shape}. Expected (N, J, 3) or (N, 3 J), axis-angle in rad, with J of "
            f"{', '.join(map(str, JOINTS))}",
        )
    parts: dict[str, np.ndarray | None] = {}
    start = 0
    for name in names:
        joints = PARTS[name]
        width = 3 * (joints.stop - joints.start)
        parts[name] = array[:, start : start + width]
        start += width
    return parts, rows


def _key(npz: NpzFile) -> str:
    """The name of the array of poses."""
    if "poses" in npz:
        return "poses"
    for family in FAMILIES:
        if family in npz:
            raise Unusable(
                Reason.MISSING_KEYS,
                f"it has '{family}' as a HumanData file does. Read it with `mocap-ray extract humandata`",
            )
    others = [name for name in npz.members if name not in _OTHERS]
    if len(others) != 1:
        raise Unusable(
            Reason.MISSING_KEYS,
            f"no 'poses' and no 'body_pose' (keys: {npz.keys}). Expected one of them, or a single array of poses",
        )
    return others[0]


def _from_parts(npz: NpzFile) -> tuple[dict[str, np.ndarray | None], int]:
    """The parts as arrays of their own, and the number of poses."""
    body = columns(numbers(npz, "body_pose"), "body_pose", None, 21)
    parts: dict[str, np.ndarray | None] = {"body": body}
    for name, keys in KEYS.items():
        key = next((key for key in keys if key in npz), None)
        if key is not None:
            array = numbers(npz, key)
            joints = PARTS[name].stop - PARTS[name].start
            # Hands may be principal components, which `hands` expands or refuses.
            if "hand" in name and array.ndim == 2 and len(array) == len(body):
                parts[name] = array
            else:
                parts[name] = columns(array, key, len(body), joints)
    eyes = ("leye_pose", "reye_pose")
    if all(key in npz for key in eyes):
        parts["eyes"] = np.hstack([columns(numbers(npz, key), key, len(body), 1) for key in eyes])
    if not len(body):
        raise Unusable(Reason.BAD_SHAPE, "it has 0 poses. Expected at least one")
    return parts, len(body)


def _family(parts: dict[str, np.ndarray | None]) -> str:
    """The family that has these parts; joints of the body alone may be of any."""
    if "jaw" in parts or "eyes" in parts:
        return "smplx"
    return "smplh" if "left_hand" in parts or "right_hand" in parts else "unknown"


def _betas(npz: NpzFile, count: int) -> np.ndarray:
    if "betas" not in npz:
        return np.zeros((count, 0), np.float32)
    betas = numbers(npz, "betas")
    if betas.ndim == 1:
        betas = np.broadcast_to(betas, (count, len(betas)))
    if betas.ndim != 2 or len(betas) != count:
        raise Unusable(Reason.BAD_SHAPE, f"'betas' is {betas.shape}. Expected ({count:,}, B) or (B,)")
    return betas[:, :MOST_BETAS].astype(np.float32)
