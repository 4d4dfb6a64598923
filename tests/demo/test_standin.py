"""The stand-ins: made from plain numbers, shaped like a person, the same bytes every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mocap_ray.body.files import GENDERS, find
from mocap_ray.body.model import VERTICES, load_body
from mocap_ray.body.proportions import GENDER_PROPORTIONS
from mocap_ray.demo.mannequin import build
from mocap_ray.demo.standin import standin_arrays, write_standin
from mocap_ray.skeleton import BODY_JOINTS, FAMILIES, JOINT_NAMES, MIRROR_BODY, PARENTS, REST_DIRECTIONS


def test_bytes_are_the_same_every_time(standins: Path, tmp_path: Path) -> None:
    again = write_standin(tmp_path, genders=("female",))
    assert [p.relative_to(tmp_path).as_posix() for p in again] == [
        "smpl/SMPL_FEMALE.pkl",
        "smplh/SMPLH_FEMALE.npz",
        "smplx/SMPLX_FEMALE.npz",
    ]
    for path in again:
        assert path.read_bytes() == (standins / path.relative_to(tmp_path)).read_bytes()


def test_a_real_model_is_never_replaced(tmp_path: Path) -> None:
    write_standin(tmp_path, families=["smplh"], genders=["male"])
    write_standin(tmp_path, families=["smplh"], genders=["male"])
    path = tmp_path / "smplh" / "SMPLH_MALE.npz"
    np.savez(path, v_template=np.zeros(3))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"SMPLH_MALE\.npz: already exists and is not a stand-in"):
        write_standin(tmp_path, families=["smplh"], genders=["male"])
    assert path.read_bytes() == before


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mano/male: no such model"):
        write_standin(tmp_path, families=["mano"], genders=["male"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_the_mesh_is_closed_and_faces_outwards(family: str) -> None:
    mesh = build(GENDER_PROPORTIONS["neutral"], family=family, names=JOINT_NAMES[family])
    assert mesh.vertices.shape == (VERTICES[family], 3)
    edges = np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]])
    forward, backward = {tuple(e) for e in edges}, {tuple(e[::-1]) for e in edges}
    assert len(forward) == len(edges)  # no edge twice in one direction
    assert forward == backward  # each edge between two faces
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    signed = np.einsum("fk,fk->f", a, np.cross(b, c)) / 6.0
    volumes = np.bincount(mesh.part[mesh.faces[:, 0]], weights=signed)
    assert (volumes > 0).all()
    assert 0.04 < volumes.sum() < 0.12  # cubic metres; parts overlap a little
    np.testing.assert_array_equal(np.unique(mesh.faces), np.arange(VERTICES[family]))


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_of_each_vertex_sum_to_one(family: str) -> None:
    arrays = standin_arrays(family=family, gender="male")
    weights = arrays["weights"]
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-6)
    moved = set(np.flatnonzero(weights.max(axis=0) > 0.5))
    assert moved == set(range(len(JOINT_NAMES[family])))
    np.testing.assert_allclose(arrays["J_regressor"].sum(axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize("gender", GENDERS)
def test_body_joints_agree_between_families_and_sides(standins: Path, gender: str) -> None:
    files = find(standins)
    rest = [load_body(files[f, gender], family=f, gender=gender).rest_joints[:22] for f in FAMILIES]
    for other in rest[1:]:
        np.testing.assert_allclose(other, rest[0], atol=1e-6)
    np.testing.assert_allclose(rest[0][list(MIRROR_BODY)] * (-1, 1, 1), rest[0], atol=1e-6)
    assert (
        np.linalg.norm(rest[0][0]) > 0.1
    )  # far enough from the origin to notice an error that confuses the two


def test_genders_differ(standins: Path) -> None:
    files = find(standins)
    rest = {g: load_body(files["smplh", g], family="smplh", gender=g).rest_joints for g in GENDERS}
    across = {g: rest[g][16, 0] - rest[g][17, 0] for g in GENDERS}
    assert across["male"] > across["neutral"] > across["female"]
    hips = {g: (rest[g][1, 0] - rest[g][2, 0]) / np.ptp(rest[g][:, 1]) for g in GENDERS}
    assert hips["female"] > hips["neutral"] > hips["male"]


def test_bones_point_along_their_rest_directions(standins: Path) -> None:
    """Rest directions are those of a person with the arms down, but the stand-ins' arms point sideways (T-pose)."""
    rest = load_body(find(standins)["smpl", "neutral"], family="smpl", gender="neutral").rest_joints
    for j, name in enumerate(BODY_JOINTS[1:], start=1):
        bone = rest[j] - rest[PARENTS["smpl"][j]]
        bone /= np.linalg.norm(bone)
        wanted = REST_DIRECTIONS[j]
        if any(part in name for part in ("shoulder", "elbow", "wrist")):
            wanted = np.array([1.0 if name.startswith("left") else -1.0, 0.0, 0.0])
        # Hips go down and out, collars up and out, the head up and forward: within 65 degrees.
        assert bone @ wanted > 0.4 or name == "head", (name, bone)


def test_shape_coefficients_change_the_joints_a_little(standins: Path) -> None:
    model = load_body(find(standins)["smplh", "neutral"], family="smplh", gender="neutral")
    size = np.abs(model.shape_directions).max(axis=(0, 1))
    assert size[0] > 0.02
    assert size.max() < 0.08
    assert np.linalg.matrix_rank(model.shape_directions.reshape(-1, 16), tol=1e-5) >= 14


def test_expression_used_as_shape_would_be_noticed() -> None:
    arrays = standin_arrays(family="smplx", gender="neutral")
    moved = np.einsum("jv,vkb->jkb", arrays["J_regressor"], arrays["shapedirs"][:, :, 10:])
    assert np.abs(moved).max(axis=(0, 1)).max() > 1e-4
