"""The original SMPL pickles, checked against numpy alone, without chumpy or the reader's own writer."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from mocap_ray.body.convert import convert
from mocap_ray.body.files import find
from mocap_ray.body.model import load_body
from mocap_ray.pickles import UnsafePickle
from mocap_ray.skeleton import FAMILIES, SMPL_PARENTS
from tests.body.oracle import random_motion, smplx_forward
from tests.body.original_pickle import array, dictionary, original_model

V = 6890


class Numbers:
    """What the file is made from."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.template = rng.normal(size=(V, 3))
        self.directions = rng.normal(size=(V, 3, 15))
        self.pose_directions = np.zeros((V, 3, 207), np.float32)
        self.pose_directions[::50] = 1e-3
        self.weights = np.eye(24)[rng.integers(0, 24, V)]
        self.parents = np.array(SMPL_PARENTS)
        self.faces = rng.integers(0, V, (13776, 3))
        # A sparse regressor, column by column: vertex v moves joint v % 24 alone.
        self.data = rng.random(V)
        self.regressor = np.zeros((24, V))
        self.regressor[np.arange(V) % 24, np.arange(V)] = self.data

    def file(self) -> bytes:
        return original_model(
            template=self.template,
            all_directions=self.directions,
            kept=10,
            pose_directions=self.pose_directions,
            weights=self.weights,
            regressor=(self.data, np.arange(V) % 24, np.arange(V + 1)),
            parents=self.parents,
            faces=self.faces,
        )


@pytest.fixture(scope="module")
def numbers() -> Numbers:
    return Numbers()


@pytest.fixture(scope="module")
def original(numbers: Numbers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("original") / "basicModel_f_lbs_10_207_0_v1.0.0.pkl"
    path.write_bytes(numbers.file())
    return path


def test_joints_of_an_original_file_are_those_of_its_numbers(original: Path, numbers: Numbers) -> None:
    assert importlib.util.find_spec("chumpy") is None, "the test is about reading without chumpy"
    model = load_body(find(original.parent)["smpl", "female"], family="smpl", gender="female")
    np.testing.assert_allclose(model.rest_joints, numbers.regressor @ numbers.template, atol=1e-10)
    expected = np.tensordot(numbers.regressor, numbers.directions[:, :, :10], axes=1)
    np.testing.assert_allclose(model.shape_directions, expected, atol=1e-10)
    np.testing.assert_array_equal(model.parents, SMPL_PARENTS)
    assert not model.standin


def test_conversion_keeps_every_array_and_the_joints(
    original: Path, numbers: Numbers, tmp_path: Path
) -> None:
    written = convert(original, tmp_path)
    assert written == tmp_path / f"{original.stem}.npz"
    assert find(tmp_path)["smpl", "female"] == written
    with np.load(written, allow_pickle=False) as members:
        np.testing.assert_array_equal(members["v_template"], numbers.template)
        np.testing.assert_array_equal(members["shapedirs"], numbers.directions[:, :, :10])
        np.testing.assert_array_equal(members["posedirs"], numbers.pose_directions)
        np.testing.assert_array_equal(members["J_regressor"], numbers.regressor)
        np.testing.assert_array_equal(members["weights"], numbers.weights)
        np.testing.assert_array_equal(members["f"], numbers.faces)
        assert str(members["bs_type"]) == "lrotmin"
        arrays = dict(members)
    old = load_body(original, family="smpl", gender="female")
    new = load_body(written, family="smpl", gender="female")
    np.testing.assert_array_equal(new.rest_joints, old.rest_joints)
    np.testing.assert_array_equal(new.shape_directions, old.shape_directions)
    assert _smplx_reads(arrays)


def _smplx_reads(arrays: dict[str, np.ndarray]) -> bool:
    """Whether `smplx` builds its model of these arrays and gives the joints of the rest pose."""
    import smplx
    from smplx.utils import Struct

    model = smplx.SMPL("unused", data_struct=Struct(**arrays))
    joints = model().joints.detach().numpy()[0, :24]
    return bool(np.allclose(joints, arrays["J_regressor"] @ arrays["v_template"], atol=1e-2))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_converted_standin_keeps_its_mark_and_serves_smplx(
    standins: Path, tmp_path: Path, family: str
) -> None:
    (tmp_path / family).mkdir()
    written = convert(find(standins)[family, "male"], tmp_path / family / f"{family.upper()}_MALE.npz")
    assert load_body(written, family=family, gender="male").standin
    if family == "smpl":
        with np.load(written) as members:
            assert _smplx_reads(dict(members))
        return
    poses, trans, betas = random_motion(np.random.default_rng(0), family=family, frames=2)
    given = {"family": family, "gender": "male", "poses": poses, "trans": trans, "betas": betas}
    for ours, theirs in zip(smplx_forward(tmp_path, **given), smplx_forward(standins, **given), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_conversion_twice_gives_the_same_bytes(original: Path, tmp_path: Path) -> None:
    first = convert(original, tmp_path / "a.npz").read_bytes()
    assert convert(original, tmp_path / "b.npz").read_bytes() == first


def test_conversion_refuses_what_is_no_body(original: Path, tmp_path: Path) -> None:
    small = tmp_path / "other.pkl"
    small.write_bytes(b"\x80\x02" + dictionary(poses=array(np.zeros((3, 72)))) + b".")
    with pytest.raises(ValueError, match=r"other\.pkl: 'kintree_table' has shape None.*24 joints"):
        convert(small, tmp_path)
    with pytest.raises(ValueError, match=r"ends in .npz"):
        convert(original, tmp_path / "model.pkl")
    listed = tmp_path / "list.pkl"
    listed.write_bytes(b"\x80\x02]K\x01a.")
    with pytest.raises(ValueError, match=r"holds a list. Expected the dictionary"):
        convert(listed, tmp_path)
    evil = tmp_path / "evil.pkl"
    evil.write_bytes(b"cos\nsystem\n(S'touch SENTINEL'\ntR.")
    with pytest.raises(UnsafePickle, match=r"evil\.pkl: the pickle names os\.system"):
        convert(evil, tmp_path)


def test_conversion_never_replaces_its_own_source(original: Path, tmp_path: Path) -> None:
    written = convert(original, tmp_path)
    before = written.read_bytes()
    with pytest.raises(ValueError, match="is the file to convert itself"):
        convert(written, tmp_path)
    assert written.read_bytes() == before
