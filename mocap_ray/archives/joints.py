"""Plain joints: .npy or .npz files with the positions of the 22 body joints, as other tools write them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from mocap_ray.archives import files, layouts
from mocap_ray.archives.actions import action_of
from mocap_ray.archives.archive import Archive
from mocap_ray.archives.layouts import Unusable
from mocap_ray.archives.orientation import to_y_up
from mocap_ray.archives.rigs.transfer import require_stature, stature
from mocap_ray.errors import UserError
from mocap_ray.motion.clip import JointMotion, Reason
from mocap_ray.npz import NpzError, NpzFile, npy, open_npz
from mocap_ray.records import Recording, Rejection
from mocap_ray.storage import Place

KEY = "joints"
MOST_BYTES = 1 << 30
"""Of an .npy file: 2 million frames as float64."""

REGISTER = (
    "write .npy files [T, 22, 3] with numpy.save, or .npz files with the keys joints and fps with numpy.savez"
)
_EXPECTED = "Expected (frames, 22, 3), in the order of skeleton.BODY_JOINTS"
_SAMPLE = 64


def discover(place: Place, *, dataset: str | None = None) -> list[Recording]:
    """List all .npy and .npz files below `place` without opening them, sorted by name; see `files.recordings`."""
    what = f"arrays of joints; {REGISTER}"
    return files.recordings(place, endings=(".npy", ".npz"), dataset=dataset, what=what)[0]


def read(
    place: Place,
    recording: Recording,
    *,
    fps: float | None = None,
    scale: float = 1.0,
    axes: str = "x y z",
) -> JointMotion | Rejection[Recording]:
    """Read one recording. Numbers that are not finite are kept: the quality checks find them.

    An .npz has the key `joints`, or one array alone, and may have `fps` (also `mocap_framerate`) and `gender`.

    Args:
        place: the place that was passed to `discover`.
        recording: a recording that `discover` returned.
        fps: the frame rate; overrides that of the file.
        scale: metres in a unit of the file.
        axes: which axes of the file become x, y and z of the data set, where y points up.

    Raises:
        OSError: the file cannot be read, or its size has changed since it was listed.
        UserError: `fps` or `axes` is invalid, or `fps` is missing for an .npy file.
    """
    files.require_rate(fps)
    world = to_y_up(axes) * scale
    try:
        if recording.source.lower().endswith(".npy"):
            if fps is None:
                raise UserError(
                    f"{recording.source}: an .npy file has no frame rate. Set source.fps, or write .npz files with fps."
                )
            joints, rate, gender = _array(files.content(place, recording, most=MOST_BYTES)), fps, "unknown"
        else:
            with open_npz(place, recording.source, size=recording.size) as file:
                joints = layouts.numbers(file, _key(file))
                rate = fps or _rate(file)
                gender = layouts.gender(file)
        joints = _shaped(joints)
        if not np.array_equal(world, np.eye(3)):
            joints = joints @ world.T
        _require_person(joints, scale)
    except NpzError as error:
        return files.rejected(recording, Reason(error.kind), error.message)
    except Unusable as error:
        return files.rejected(recording, error.reason, error.detail)
    return JointMotion(
        recording=recording,
        gender=gender,
        fps=rate,
        source_fps=rate,
        joints=joints,
        R_yup_source=np.eye(3),
        action=action_of(recording.name),
    )


def _array(data: bytes) -> np.ndarray:
    """The array of an .npy file, a view of its bytes."""
    view = memoryview(data)
    array = npy.array(KEY, view, npy.header(KEY, view, len(data)))
    return layouts.as_numbers(KEY, array)


def _key(file: NpzFile) -> str:
    """The name of the joints: `joints`, or that of the only array."""
    if KEY in file or len(file.members) != 1:
        if KEY not in file:
            raise Unusable(Reason.MISSING_KEYS, f"no 'joints' (keys: {file.keys}). Expected joints and fps")
        return KEY
    return next(iter(file.members))


def _rate(file: NpzFile) -> float:
    if not any(key in file for key in layouts.RATE_KEYS):
        raise Unusable(
            Reason.MISSING_KEYS, f"no 'fps' (keys: {file.keys}). Set source.fps, or write it into the file"
        )
    return layouts.frame_rate(file)


def _shaped(joints: np.ndarray) -> Float[np.ndarray, "T 22 3"]:
    """Joints as [T, 22, 3], also if the file has them as [T, 66]."""
    if joints.ndim == 2 and joints.shape[1] == 66:
        joints = joints.reshape(len(joints), 22, 3)
    if joints.ndim != 3 or joints.shape[1:] != (22, 3):
        first = (
            " Cut the first 22 of them out" if joints.ndim == 3 and joints.shape[1] in (24, 52, 55) else ""
        )
        raise Unusable(Reason.BAD_SHAPE, f"the joints are {joints.shape}. {_EXPECTED}.{first}")
    if not len(joints):
        raise Unusable(Reason.TOO_SHORT, "it has 0 frames. Expected at least one")
    return joints


def _require_person(joints: Float[np.ndarray, "T 22 3"], scale: float) -> None:
    """Raise Unusable if most of some frames have no person's size."""
    some = np.asarray(joints[:: max(1, len(joints) // _SAMPLE)], dtype=np.float64)
    some = some[np.isfinite(some).all(axis=(1, 2))]
    if len(some):
        sizes = [stature(body) for body in some]
        require_stature(some[np.argsort(sizes)[len(sizes) // 2]], scale)


ARCHIVE = Archive(
    name="joints",
    title="Arrays of joints",
    discover=discover,
    read=read,
    url="https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html",
    licence="The format has none: the terms are those of the files.",
    citation="Cite where the files come from.",
    register=REGISTER,
    joints_alone=True,
    options=("scale", "axes"),
)
