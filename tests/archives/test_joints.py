"""The archive of plain joints: arrays in stated axes, units and rates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mocap_ray.archives import joints
from mocap_ray.errors import UserError
from mocap_ray.motion.clip import JointMotion, Reason
from mocap_ray.records import Rejection
from mocap_ray.skeleton import REST_JOINTS
from mocap_ray.storage import place


def _walk(frames: int = 50) -> np.ndarray:
    """[T, 22, 3] metres, Y up: a person who slides along X."""
    made = np.tile(REST_JOINTS + np.array([0.0, 1.0, 0.0]), (frames, 1, 1))
    made[:, :, 0] += 0.01 * np.arange(frames)[:, None]
    return made


def _read(root: Path, name: str, **options: object) -> JointMotion | Rejection:
    recording = next(r for r in joints.discover(place(root)) if r.source == name)
    return joints.read(place(root), recording, **options)  # type: ignore[arg-type]


def test_arrays_are_read_in_their_axes_and_units(tmp_path: Path) -> None:
    walk = _walk()
    np.save(tmp_path / "plain.npy", walk)
    np.save(tmp_path / "flat.npy", walk.reshape(50, 66).astype(np.float32))
    np.save(tmp_path / "z_up.npy", np.round(1000 * walk[..., [0, 2, 1]] * [1, -1, 1]).astype(np.int64))
    np.savez(tmp_path / "keys.npz", joints=walk, fps=25.0, gender="f")
    np.savez_compressed(tmp_path / "one.npz", walk)
    found = _read(tmp_path, "plain.npy", fps=30.0)
    assert isinstance(found, JointMotion)
    np.testing.assert_array_equal(found.joints, walk)
    assert (found.fps, found.gender) == (30.0, "unknown")
    for name, options in (
        ("flat.npy", {"fps": 30.0}),
        ("z_up.npy", {"fps": 30.0, "scale": 0.001, "axes": "x z -y"}),
        ("one.npz", {"fps": 30.0}),
    ):
        found = _read(tmp_path, name, **options)
        assert isinstance(found, JointMotion), found
        np.testing.assert_allclose(found.joints, walk, atol=6e-4)
    found = _read(tmp_path, "keys.npz")
    assert isinstance(found, JointMotion)
    assert (found.fps, found.gender) == (25.0, "female")
    assert _read(tmp_path, "keys.npz", fps=30.0).fps == 30.0  # type: ignore[union-attr]


def test_an_array_without_a_rate_needs_one_from_the_config(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", _walk())
    np.savez(tmp_path / "b.npz", joints=_walk())
    with pytest.raises(UserError, match=r"a\.npy: an \.npy file has no frame rate\. Set source\.fps"):
        _read(tmp_path, "a.npy")
    found = _read(tmp_path, "b.npz")
    assert isinstance(found, Rejection)
    assert found.detail == "b.npz: no 'fps' (keys: joints). Set source.fps, or write it into the file."


class _Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("code of the file ran",))


def test_damaged_and_unsafe_files_are_rejected(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    walk = _walk()
    np.save(tmp_path / "hands.npy", np.zeros((9, 52, 3)))
    np.save(tmp_path / "empty.npy", walk[:0])
    np.save(tmp_path / "text.npy", np.array(["a"]))
    np.save(tmp_path / "object.npy", np.array([_Bomb()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "keys.npz", poses=walk, trans=walk)
    (tmp_path / "no.npy").write_text("no array")
    (tmp_path / "none.npz").write_text("no archive")
    whole = tmp_path / "whole.npy"
    np.save(whole, walk)
    (tmp_path / "cut.npy").write_bytes(whole.read_bytes()[:-8])
    shape, larger = b"(50, 22, 3), }      ", b"(99999999, 22, 3), }"
    assert whole.read_bytes().count(shape) == 1
    (tmp_path / "huge.npy").write_bytes(whole.read_bytes().replace(shape, larger))
    (tmp_path / "header.npy").write_bytes(whole.read_bytes().replace(b"3), }", b"3),  "))
    np.save(tmp_path / "mm.npy", 1000 * walk)
    np.save(tmp_path / "point.npy", 0 * walk)
    expected = {
        "hands.npy": (
            Reason.BAD_SHAPE,
            "the joints are (9, 52, 3). Expected (frames, 22, 3), in the order of",
        ),
        "empty.npy": (Reason.TOO_SHORT, "it has 0 frames"),
        "text.npy": (Reason.BAD_SHAPE, "'joints' is of type <U1"),
        "object.npy": (Reason.UNSAFE, "pickled objects, which are not loaded"),
        "keys.npz": (Reason.MISSING_KEYS, "no 'joints' (keys: poses, trans). Expected joints and fps"),
        "no.npy": (Reason.UNREADABLE, "'joints' is not a .npy array"),
        "none.npz": (Reason.UNREADABLE, ""),
        "cut.npy": (Reason.BAD_SHAPE, "declares (50, 22, 3) of float64 but holds"),
        "huge.npy": (Reason.BAD_SHAPE, "declares (99999999, 22, 3) of float64 but holds"),
        "header.npy": (Reason.UNREADABLE, "header"),
        "mm.npy": (Reason.BAD_VALUE, "Set source.scale to 0.001 (millimetres)"),
        "point.npy": (Reason.BAD_VALUE, "a person of 0 m from the ankles"),
    }
    for name, (reason, said) in expected.items():
        found = _read(tmp_path, name, fps=30.0)
        assert isinstance(found, Rejection), name
        assert found.detail.startswith(f"{name}: "), name
        assert said in found.detail, (name, found.detail)
        assert found.reason == reason, (name, found.detail)
    assert "ran" not in capfd.readouterr().out


def test_frames_that_are_not_finite_are_left_to_the_quality_checks(tmp_path: Path) -> None:
    walk = _walk()
    walk[3] = np.nan
    np.save(tmp_path / "a.npy", walk)
    found = _read(tmp_path, "a.npy", fps=30.0)
    assert isinstance(found, JointMotion)
    np.testing.assert_array_equal(found.joints, walk)
