"""A small synthetic archive in AMASS's layout, free of licences, for `make demo` and the tests."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from mocap_ray.demo import gait
from mocap_ray.errors import UserError

_RATES = (120.0, 60.0, 120.0, 59.94, 120.0, 60.0)
_GENDERS = ("male", "female", "neutral")
_SETS = ("DemoStroll", "DemoPark", "DemoGym")
_KINDS = ("walk", "walk_turn", "run_in_place", "walk_slow", "wave", "walk_fast", "squat", "jump")
SUBJECTS = 12


def write_demo(root: Path | str, *, recordings: int = 24, seed: int = 0, bad: bool = True) -> list[Path]:
    """Write synthetic motion of 12 subjects in three sub-datasets, and some bad files.

    The same arguments give the same bytes on one kind of machine (numbers are rounded to 1e-7).

    Args:
        root: folder, created if needed; files of the same names are replaced.
        recordings: number of good takes, of 3 to 8 seconds and about 0.8 MB each.
        seed: seed for the random speed, direction and body.
        bad: whether to add a truncated take, one that teleports, one without a frame rate, and a shape.npz.

    Returns:
        The files in the order in which they were written.

    Raises:
        UserError: `recordings` is not positive.
        OSError: disk full, no permission.
    """
    if recordings < 1:
        raise UserError(f"recordings {recordings}: expected at least 1.")
    root = Path(root)
    written = [_write(root / _path(k), _members(k, seed)) for k in range(recordings)]
    return written + (_write_bad(root, seed) if bad else [])


def _path(k: int) -> str:
    subject = k % SUBJECTS
    kind = _KINDS[k % len(_KINDS)]
    return f"{_SETS[subject % len(_SETS)]}/s{subject + 1:02d}/{k + 1:03d}_{kind}_poses.npz"


def _members(k: int, seed: int) -> dict[str, Any]:
    """The arrays of take k, which depend only on seed and k."""
    rng = np.random.default_rng((seed, k))
    fps = _RATES[k % len(_RATES)]
    t = np.arange(int(fps * rng.uniform(3, 8))) / fps
    heading = rng.uniform(-np.pi, np.pi)
    kind = _KINDS[k % len(_KINDS)]
    make = {"wave": gait.wave, "squat": gait.squat, "jump": gait.jump}.get(kind, gait.walk)
    poses, trans = make(t, _style(kind, rng, heading))
    shape = np.random.default_rng((seed, 10_000 + k % SUBJECTS))
    return {
        "poses": np.round(poses, 7),
        "gender": np.array(_GENDERS[k % SUBJECTS // len(_SETS) % len(_GENDERS)]),
        "mocap_framerate": np.array(fps),
        "betas": np.round(shape.normal(0, 0.6, 16), 7),
        "dmpls": np.zeros((len(t), 8)),
        "trans": np.round(trans + np.append(rng.uniform(-1, 1, 2), 0), 7),
    }


def _style(kind: str, rng: np.random.Generator, heading: float) -> gait.Style:
    pace = rng.uniform(0.92, 1.08)
    styles = {
        "walk": gait.Style(1.15, 0.0, 0.93),
        "walk_turn": gait.Style(1.0, 0.55, 0.88),
        "walk_slow": gait.Style(0.65, -0.3, 0.7, arms=0.3, bounce=0.012),
        "walk_fast": gait.Style(1.5, 0.1, 1.12, arms=0.6, bounce=0.025),
        "run_in_place": gait.Style(0.0, 0.0, 1.35, arms=0.8, bounce=0.03, lift=0.22),
    }
    s = styles.get(kind, gait.Style(0.0, 0.0, 1.0))
    return gait.Style(s.speed * pace, s.turn, s.cadence * pace, heading, s.arms, s.bounce, s.lift)


def _write_bad(root: Path, seed: int) -> list[Path]:
    """Write bad files as found in real archives; each is rejected for another reason."""
    folder = root / _SETS[0] / "s01"
    teleport = _members(0, seed)
    teleport["trans"][len(teleport["trans"]) // 2 :] += (2.0, 0.0, 0.0)
    without_rate = _members(1, seed)
    del without_rate["mocap_framerate"]
    files = [
        _write(folder / "901_teleport_poses.npz", teleport),
        _write(folder / "902_no_rate_poses.npz", without_rate),
        _write(folder / "shape.npz", {"gender": np.array("male"), "betas": np.zeros(16)}),
    ]
    cut = folder / "903_cut_short_poses.npz"
    cut.write_bytes(files[0].read_bytes()[:100_000])
    return [*files, cut]


def _write(path: Path, members: dict[str, Any]) -> Path:
    """Write an .npz with stored (uncompressed) members, as in AMASS, and fixed timestamps."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, value in members.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.asanyarray(value), version=(1, 0), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, buffer.getvalue())
    return path
