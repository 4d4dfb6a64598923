"""Joints without meshes: equal to `smplx`, with the same bits at every position in a batch."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mocap_ray.body.files import GENDERS, find
from mocap_ray.body.model import BodyModel, load_body
from mocap_ray.demo.standin import standin_arrays
from mocap_ray.skeleton import BODY_PARENTS, FAMILIES, PARENTS
from tests.body.oracle import JOINTS, random_motion, smplx_forward


def made_up(seed: int = 0, *, family: str = "smplh", columns: int = 16) -> BodyModel:
    """A body of random bones, for laws that need no file."""
    rng = np.random.default_rng(seed)
    joints = JOINTS[family]
    return BodyModel(
        family=family,
        gender="neutral",
        rest_joints=rng.normal(size=(joints, 3)),
        shape_directions=0.01 * rng.normal(size=(joints, 3, columns)),
        parents=np.array(PARENTS[family], dtype=np.int64),
        sha256="",
        standin=False,
        source="",
    )


def naive(rest: np.ndarray, poses: np.ndarray, trans: np.ndarray) -> np.ndarray:
    """Forward kinematics with scipy's rotations, joint by joint."""
    out = np.zeros((len(poses), len(BODY_PARENTS), 3))
    turns: list[Rotation] = []
    for j, parent in enumerate(BODY_PARENTS):
        local = Rotation.from_rotvec(poses[:, j])
        if parent < 0:
            out[:, j] = rest[0] + trans
            turns.append(local)
        else:
            out[:, j] = out[:, parent] + turns[parent].apply(rest[j] - rest[parent])
            turns.append(turns[parent] * local)
    return out


@pytest.mark.parametrize("gender", GENDERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_joints_equal_those_of_smplx(standins: Path, family: str, gender: str) -> None:
    seed = FAMILIES.index(family) * 3 + GENDERS.index(gender)
    poses, trans, betas = random_motion(np.random.default_rng(seed), family=family, frames=6)
    _, expected = smplx_forward(
        standins, family=family, gender=gender, poses=poses, trans=trans, betas=betas, double=True
    )
    body = load_body(find(standins)[family, gender], family=family, gender=gender).shaped(betas)
    found = body.joints(poses, trans, count=JOINTS[family])
    np.testing.assert_allclose(found, expected, atol=1e-6, rtol=0)
    np.testing.assert_array_equal(body.joints(poses, trans), found[:, :22])


def test_joints_equal_a_naive_chain_of_rotations() -> None:
    rng = np.random.default_rng(1)
    poses, trans, betas = random_motion(rng, family="smplh", frames=40)
    body = made_up().shaped(betas)
    np.testing.assert_allclose(body.joints(poses, trans), naive(body.rest, poses, trans), atol=1e-13, rtol=0)


@pytest.mark.parametrize("angle", [1e-300, 1e-160, 1e-12, 1e-7, 3.1415926535, 6.2831853, 1e3, 1e5, 9e5, 2e6])
def test_any_size_of_angle_is_accurate(angle: float) -> None:
    rng = np.random.default_rng(2)
    axis = rng.normal(size=(30, 52, 3))
    poses = angle * axis / np.linalg.norm(axis, axis=-1, keepdims=True)
    trans = np.zeros((30, 3))
    body = made_up().shaped(np.zeros(0))
    # A last bit of the angle itself is worth its size times 2e-16.
    tolerance = 1e-13 + 2e-15 * angle
    np.testing.assert_allclose(
        body.joints(poses, trans), naive(body.rest, poses, trans), atol=tolerance, rtol=0
    )


@given(frames=st.integers(1, 70), first=st.integers(0, 69), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_a_frame_alone_has_the_bits_it_has_in_a_batch(frames: int, first: int, seed: int) -> None:
    first = min(first, frames - 1)
    poses, trans, betas = random_motion(np.random.default_rng(seed), family="smplh", frames=frames)
    if seed % 5 == 0:
        poses[frames // 2] *= 1e7  # one absurd neighbour
    body = made_up(seed).shaped(betas)
    whole = body.joints(poses, trans)
    np.testing.assert_array_equal(body.joints(poses[first:], trans[first:]), whole[first:])
    np.testing.assert_array_equal(
        body.joints(poses[first : first + 1], trans[first : first + 1]), whole[first : first + 1]
    )


def test_a_long_take_has_the_bits_of_its_pieces() -> None:
    rng = np.random.default_rng(3)
    poses, trans = rng.normal(size=(2500, 52, 3)), rng.normal(size=(2500, 3))
    body = made_up().shaped(np.ones(16))
    whole = body.joints(poses, trans)
    pieces = [body.joints(poses[a : a + 700], trans[a : a + 700]) for a in range(0, 2500, 700)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_layout_and_writability_of_the_poses_change_nothing() -> None:
    rng = np.random.default_rng(4)
    wide, trans = rng.normal(size=(50, 156)), rng.normal(size=(50, 3))
    wide.flags.writeable = False
    poses = wide.reshape(50, 52, 3)
    body = made_up().shaped(np.zeros(16))
    expected = body.joints(poses, trans)
    for same in (
        np.asfortranarray(poses),
        poses[:, :22],
        np.repeat(poses, 2, axis=0)[::2],
        poses[::-1][::-1],
    ):
        np.testing.assert_array_equal(body.joints(same, np.asfortranarray(trans)), expected)
    single = body.joints(poses.astype(np.float32), trans.astype(np.float32))
    assert single.dtype == np.float64
    np.testing.assert_array_equal(
        single,
        body.joints(poses.astype(np.float32).astype(np.float64), trans.astype(np.float32).astype(np.float64)),
    )


def test_only_the_rotations_asked_for_are_read() -> None:
    rng = np.random.default_rng(5)
    poses, trans = rng.normal(size=(5, 52, 3)), rng.normal(size=(5, 3))
    body = made_up().shaped(np.zeros(16))
    expected = body.joints(poses, trans)
    poses[:, 22:] = np.nan
    poses[:, 20:22] = np.nan  # the wrists turn nothing among the first 22
    np.testing.assert_array_equal(body.joints(poses, trans), expected)


def test_a_non_finite_frame_spoils_itself_alone() -> None:
    poses, trans = np.ones((20, 52, 3)), np.zeros((20, 3))
    body = made_up().shaped(np.zeros(16))
    expected = body.joints(poses, trans)
    poses[7, 0, 1], poses[9, 0, 0] = np.nan, np.inf
    found = body.joints(poses, trans)
    assert np.isnan(found[[7, 9], 1:]).all()
    others = np.delete(np.arange(20), [7, 9])
    np.testing.assert_array_equal(found[others], expected[others])


def test_no_frames_give_no_joints() -> None:
    assert made_up().shaped(np.zeros(3)).joints(np.zeros((0, 52, 3)), np.zeros((0, 3))).shape == (0, 22, 3)


def test_joints_that_are_not_there_are_refused() -> None:
    body = made_up().shaped(np.zeros(16))
    with pytest.raises(ValueError, match="23 joints requested; the poses have 22, the body has 52"):
        body.joints(np.zeros((4, 22, 3)), np.zeros((4, 3)), count=23)


@pytest.mark.parametrize("given_betas", [0, 1, 10, 16, 300])
def test_as_many_coefficients_as_file_and_model_share_are_used(given_betas: int) -> None:
    model = made_up(columns=16)
    betas = np.random.default_rng(6).normal(size=given_betas)
    count = min(given_betas, 16)
    expected = model.rest_joints + model.shape_directions[:, :, :count] @ betas[:count]
    np.testing.assert_allclose(model.shaped(betas).rest, expected, atol=1e-14)


@pytest.mark.parametrize(("columns", "shape"), [(400, 300), (300, 300), (20, 10), (16, 10), (5, 5)])
def test_smplx_columns_of_expression_are_never_shape(tmp_path: Path, columns: int, shape: int) -> None:
    arrays = standin_arrays(family="smplx", gender="neutral")
    rng = np.random.default_rng(7)
    directions = rng.normal(size=(10475, 3, columns)).astype(np.float32)
    np.savez(
        tmp_path / "m.npz",
        **{k: arrays[k] for k in ("J_regressor", "v_template", "kintree_table")},
        shapedirs=directions,
    )
    model = load_body(tmp_path / "m.npz", family="smplx", gender="neutral")
    expected = np.einsum(
        "jv,vkb->jkb", arrays["J_regressor"].astype(float), directions[:, :, :shape].astype(float)
    )
    np.testing.assert_allclose(model.shape_directions, expected, atol=1e-9)


def test_smplh_takes_more_coefficients_than_smplx_the_library(standins: Path) -> None:
    model = load_body(find(standins)["smplh", "male"], family="smplh", gender="male")
    assert model.shape_directions.shape == (52, 3, 16)
    sixteen = np.zeros(16)
    sixteen[15] = 2.0
    assert np.abs(model.shaped(sixteen).rest - model.shaped(sixteen[:10]).rest).max() > 1e-3


def test_a_reduced_model_weighs_kilobytes_and_survives_pickling(standins: Path) -> None:
    model = load_body(find(standins)["smplx", "female"], family="smplx", gender="female")
    data = pickle.dumps(model)
    assert len(data) < 20_000
    back = pickle.loads(data)
    np.testing.assert_array_equal(back.rest_joints, model.rest_joints)
    assert back.sha256 == model.sha256
    assert len(model.sha256) == 64
    assert model.standin


def test_object_members_of_an_npz_are_never_touched(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return open, (str(tmp_path / "SENTINEL"),)

    arrays = standin_arrays(family="smplx", gender="male")
    np.savez(tmp_path / "m.npz", part2num=np.array(Bomb(), dtype=object), **arrays)
    assert load_body(tmp_path / "m.npz", family="smplx", gender="male").rest_joints.shape == (55, 3)


def _save(path: Path, **changes: np.ndarray | None) -> Path:
    arrays = standin_arrays(family="smpl", gender="male")
    kept = ("J_regressor", "v_template", "shapedirs", "kintree_table")
    merged = {key: arrays[key] for key in kept} | changes
    np.savez(path, **{key: value for key, value in merged.items() if value is not None})
    return path


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"shapedirs": None}, "no plain array 'shapedirs'"),
        ({"v_template": np.zeros((778, 3))}, r"'v_template' is float64 of shape \(778, 3\).*6890 x 3"),
        ({"J_regressor": np.zeros((52, 6890))}, "is it of another family"),
        ({"kintree_table": np.zeros((2, 24), dtype=int)}, "not the kinematic tree"),
        ({"shapedirs": np.full((6890, 3, 10), np.nan)}, "not finite"),
        ({"shapedirs": np.zeros((6890, 3, 0))}, "'shapedirs' is float64"),
        ({"J_regressor": np.array([{}], dtype=object)}, "cannot be read as a body model"),
    ],
)
def test_files_that_are_no_such_model_say_why(
    tmp_path: Path, changes: dict[str, np.ndarray | None], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        load_body(_save(tmp_path / "m.npz", **changes), family="smpl", gender="male")
    assert "m.npz" in str(caught.value)


@pytest.mark.parametrize("keep", [0, 10, 5000])
def test_truncated_files_say_so(tmp_path: Path, keep: int) -> None:
    path = _save(tmp_path / "m.npz")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"m\.npz.*(truncated|Expected)"):
        load_body(path, family="smpl", gender="male")
