"""Errors of meshes: the reference's numbers on its own cases, and laws that any such error keeps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import roma
import torch

from mocap_ray.estimation.metrics import BodyParts, aligned, distance, mesh_errors

BROKEN = {"mpjpe_l_hand", "mpjpe_r_hand", "mpjpe_hand"}
"""The reference compares hands relative to the wrist with hands in the camera's frame: metres, not millimetres."""


@pytest.fixture(scope="module")
def cases(shared: Path) -> dict[str, np.ndarray]:
    with np.load(shared / "estimator" / "fixture_eval.npz") as file:
        return {name: file[name] for name in file.files if file[name].dtype.kind in "fi"}


def of_reference(cases: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, BodyParts, np.ndarray]:
    parts = BodyParts(
        joints=cases["x_J_regressor"].astype(np.float64),
        body=cases["x_j14_regressor"],
        hands=(cases["x_hand_reg_l"], cases["x_hand_reg_r"]),
        hand_vertices=(cases["x_lhand_idx"], cases["x_rhand_idx"]),
        face_vertices=cases["x_face_vertex_idx"],
    )
    found, true = (np.stack([cases[f"x_{kind}{k}"] for k in range(4)]) for kind in ("pred", "gt"))
    return found, true, parts, np.stack([cases[f"x_valid{k}"] for k in range(4)]) > 0


def test_errors_are_the_references(cases: dict[str, np.ndarray]) -> None:
    found, true, parts, hands = of_reference(cases)
    errors = mesh_errors(found, true, parts=parts, hands=hands)
    for name, values in errors.items():
        if name not in BROKEN:
            expected = cases[f"x_res_{name}"]
            np.testing.assert_allclose(values[np.isfinite(values)], expected, rtol=1e-6, err_msg=name)


def test_hand_joints_are_compared_relative_to_both_wrists(cases: dict[str, np.ndarray]) -> None:
    """With the true wrist left in, the numbers are the reference's: 3 m."""
    found, true, parts, hands = of_reference(cases)
    errors = mesh_errors(found, true, parts=parts, hands=hands)
    wrists, true_wrists = (parts.joints @ x for x in (found, true))
    left = hands[:, 0]
    fingers, true_fingers = (parts.hands[0][1:] @ x for x in (found, true))
    theirs = distance(fingers - wrists[:, [20]], true_fingers)[left]
    np.testing.assert_allclose(theirs, cases["x_res_mpjpe_l_hand"], rtol=1e-6)
    ours = distance(fingers - wrists[:, [20]], true_fingers - true_wrists[:, [20]])
    np.testing.assert_allclose(errors["mpjpe_l_hand"][left], ours[left])
    assert errors["mpjpe_l_hand"][left].max() < theirs.min()


def test_alignment_is_the_references(cases: dict[str, np.ndarray]) -> None:
    np.testing.assert_allclose(aligned(cases["ra_A"], cases["ra_B"]), cases["ra_out"], atol=1e-12)


def made(people: int = 3) -> tuple[np.ndarray, np.ndarray, BodyParts, np.ndarray]:
    rng = np.random.default_rng(0)

    def regressor(rows: int) -> np.ndarray:
        return np.asarray(rng.dirichlet(np.full(40, 0.3), size=rows))

    parts = BodyParts(
        joints=regressor(55),
        body=regressor(14),
        hands=(regressor(21), regressor(21)),
        hand_vertices=(np.arange(8), np.arange(8, 16)),
        face_vertices=np.arange(16, 30),
    )
    true = rng.normal(size=(people, 40, 3))
    found = true + 0.05 * rng.normal(size=true.shape)
    return found, true, parts, np.ones((people, 2), dtype=bool)


def test_no_error_depends_on_where_a_person_is() -> None:
    found, true, parts, hands = made()
    errors = mesh_errors(found, true, parts=parts, hands=hands)
    moved = mesh_errors(
        found + np.asarray([1.0, 2, 30]), true - np.asarray([5.0, 0, 1]), parts=parts, hands=hands
    )
    for name, values in errors.items():
        assert (values > 0).all()
        np.testing.assert_allclose(moved[name], values, rtol=1e-9, err_msg=name)


def test_aligned_errors_do_not_depend_on_rotation_and_scale() -> None:
    found, true, parts, hands = made()
    R = roma.random_rotmat(dtype=torch.float64).numpy()
    errors = mesh_errors(found, true, parts=parts, hands=hands)
    turned = mesh_errors(1.7 * found @ R.T, true, parts=parts, hands=hands)
    for name in (name for name in errors if name.startswith("pa_")):
        np.testing.assert_allclose(turned[name], errors[name], rtol=1e-9, err_msg=name)


def test_a_reflection_is_no_rotation() -> None:
    a = np.random.default_rng(1).normal(size=(1, 30, 3))
    assert distance(aligned(a, a), a) < 1e-9
    assert distance(aligned(a * np.asarray([-1, 1, 1]), a), a) > 100


def test_points_that_coincide_go_to_the_mean() -> None:
    b = np.random.default_rng(2).normal(size=(2, 30, 3))
    np.testing.assert_allclose(
        aligned(np.ones((2, 30, 3)), b), np.broadcast_to(b.mean(1, keepdims=True), b.shape)
    )


def test_unknown_and_lost_hands_are_left_out() -> None:
    found, true, parts, hands = made()
    hands[0] = False
    hands[1, 0] = False
    errors = mesh_errors(found, true, parts=parts, hands=hands)
    assert np.isnan(errors["mpvpe_l_hand"]).tolist() == [True, True, False]
    assert np.isnan(errors["mpvpe_hand"]).tolist() == [True, False, False]
    np.testing.assert_allclose(errors["mpvpe_hand"][1], errors["mpvpe_r_hand"][1])
    found[2] = 10 * np.random.default_rng(3).normal(size=found[2].shape)
    errors = mesh_errors(found, true, parts=parts, hands=hands)
    assert np.isnan(errors["pa_mpjpe_hand"]).tolist() == [True, False, True]
    assert np.isfinite(errors["pa_mpvpe_hand"][2])
