"""Laws of the coordinates: forms agree, charts invert, volumes are Jacobians, degenerate axes stay out."""

from __future__ import annotations

import json
import math

import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mocap_ray.priors.coordinates import Coordinates
from mocap_ray.priors.degeneracy import grouped
from mocap_ray.priors.forms import FORMS
from mocap_ray.priors.rotations import canonical, log_haar, matrix_from_6d
from mocap_ray.skeleton import SMPLX_JOINTS
from tests.priors.made import hard_rotations, poses

REPRESENTATIONS = ["rotvec", "tangent"]


def six_d(R: torch.Tensor) -> torch.Tensor:
    return torch.cat([R[..., 0], R[..., 1]], -1)


def angle_between(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (roma.rotvec_to_rotmat(a) - roma.rotvec_to_rotmat(b)).abs().amax()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(-20, 20), min_size=3, max_size=3))
def test_canonical_keeps_the_rotation_and_bounds_the_angle(vector: list[float]) -> None:
    r = torch.tensor(vector, dtype=torch.float64)
    c = canonical(r)
    assert c.norm() <= math.pi * (1 + 1e-12)
    assert angle_between(c, r) < 1e-9
    if r.norm() <= math.pi:
        assert torch.equal(c, r)


@pytest.mark.parametrize("representation", REPRESENTATIONS)
@pytest.mark.parametrize("standardise", ["none", "axis", "joint"])
def test_decode_inverts_encode(representation: str, standardise: str) -> None:
    train = poses(200)
    c = Coordinates.fit(train, representation=representation, standardise=standardise).double()
    x, seen, batch = c.encode(train)
    assert seen is None
    assert batch == (200,)
    assert torch.allclose(c.decode(x), train, atol=1e-9)
    hard = hard_rotations(20)
    assert angle_between(c.decode(c.encode(hard)[0]), hard) < 1e-7


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_standardised_training_poses_have_mean_0_and_variance_1(representation: str) -> None:
    train = poses(500)
    x = Coordinates.fit(train, representation=representation).double().encode(train)[0]
    assert torch.allclose(x.mean(0), torch.zeros(165, dtype=torch.float64), atol=1e-5)
    assert torch.allclose(x.var(0, correction=0), torch.ones(165, dtype=torch.float64), atol=1e-5)


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_whitened_joints_of_training_poses_have_unit_covariance(representation: str) -> None:
    train = poses(500)
    train[:, 4, 0] = 0.3 + train[:, 4, 2] + 1e-3 * train[:, 4, 0]  # a thin sheet across the axes
    train[:, 5, 1] = 0.25  # two active axes
    c = Coordinates.fit(train, representation=representation, standardise="joint").double()
    x = c.encode(train)[0]
    for j in (4, 5, 20):
        mine = x[:, c.joint_of == j]
        unit = torch.eye(mine.shape[1], dtype=torch.float64)
        assert torch.allclose(torch.cov(mine.T, correction=0), unit, atol=1e-4)
    assert torch.allclose(c.decode(x), train, atol=1e-7)


@pytest.mark.parametrize("representation", REPRESENTATIONS)
@pytest.mark.parametrize("count", sorted(FORMS))
def test_three_forms_of_a_pose_are_one_pose(representation: str, count: int) -> None:
    c = Coordinates.fit(poses(100), representation=representation).double()
    some = poses(7, seed=1)[:, list(FORMS[count])]
    R = roma.rotvec_to_rotmat(some)
    x = c.encode(some)[0]
    for form in (R, six_d(R), 3 * six_d(R)):
        assert torch.allclose(c.encode(form)[0], x, atol=1e-9)


def test_missing_eyes_and_jaw_are_at_rest_and_missing_hands_are_hidden() -> None:
    c = Coordinates.fit(poses(100)).double()
    full = poses(3, seed=1)
    full[:, 22:25] = 0
    x, _, _ = c.encode(full)
    x52, seen52, _ = c.encode(full[:, list(FORMS[52])])
    assert torch.equal(x52, x)
    assert seen52 is None
    _, seen21, _ = c.encode(full[:, 1:22])
    assert seen21 is not None
    assert seen21.reshape(3, 55, 3)[:, 1:22].all()
    assert seen21.sum() == 3 * 63
    body = Coordinates.fit(poses(100), joints="body").double()
    assert body.active == 63
    assert body.encode(full[:, 1:22])[1] is None


@pytest.mark.parametrize("batch", [(), (1,), (2, 3), (0,)])
def test_leading_shapes_are_kept(batch: tuple[int, ...]) -> None:
    c = Coordinates.fit(poses(100)).double()
    some = poses(6, seed=2)[: math.prod(batch)].reshape(*batch, 55, 3)
    x, _, shape = c.encode(some)
    assert shape == batch
    assert x.shape == (math.prod(batch), 165)


@pytest.mark.parametrize("representation", REPRESENTATIONS)
@pytest.mark.parametrize("standardise", ["none", "axis", "joint"])
def test_log_volume_is_the_log_determinant_of_encode(representation: str, standardise: str) -> None:
    c = Coordinates.fit(
        poses(100), joints=["left_knee", "jaw"], representation=representation, standardise=standardise
    ).double()
    mild = 1.3 * poses(4, seed=3)

    def encode_two(v: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
        return c.encode(pose.index_copy(0, torch.tensor([4, 22]), v.reshape(2, 3)))[0][0]

    for pose in mild:
        J = torch.autograd.functional.jacobian(lambda v, p=pose: encode_two(v, p), pose[[4, 22]].reshape(6))
        volume = c.log_volume(c.encode(pose)[0])[0]
        assert torch.allclose(torch.linalg.slogdet(J)[1], volume, atol=1e-6)


def test_log_haar_is_the_determinant_of_the_exponential_map_also_near_0() -> None:
    for angle in (0.0, 1e-8, 1e-3, 0.0999, 0.1001, 1.0, 3.1, math.pi):
        v = angle * torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
        exact = 2 * math.log(math.sin(angle / 2) / (angle / 2)) if angle else 0.0
        assert abs(log_haar(v).item() - exact) < 1e-14 + 1e-12 * abs(exact)


@pytest.mark.parametrize("representation", REPRESENTATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", ["rotvec", "matrix", "6d"])
def test_gradients_are_finite_at_angle_0_and_pi(representation: str, dtype: torch.dtype, form: str) -> None:
    c = Coordinates.fit(poses(100), representation=representation).to(dtype)
    hard = hard_rotations(30)
    R = roma.rotvec_to_rotmat(hard)
    given_poses = {"rotvec": hard, "matrix": R, "6d": six_d(R)}[form].to(dtype).requires_grad_()
    x, _, _ = c.encode(given_poses)
    (x.sum() + c.log_volume(x).sum()).backward()
    assert torch.isfinite(x).all()
    assert given_poses.grad is not None
    assert torch.isfinite(given_poses.grad).all()
    # Bounded too: numbers such as 1e12 would be finite and of no use.
    assert given_poses.grad.abs().max() < 1e3


def test_a_zero_6d_number_gives_finite_numbers() -> None:
    d = torch.zeros(2, 6, dtype=torch.float64, requires_grad=True)
    R = matrix_from_6d(d)
    R.sum().backward()
    assert torch.isfinite(R).all()
    assert torch.isfinite(d.grad).all()


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_constant_axes_are_found_left_out_and_given_back(representation: str) -> None:
    train = poses(200)
    train[:, 23:25] = 0
    train[:, 4, 1:] = torch.tensor([0.1, -0.2], dtype=torch.float64)
    c = Coordinates.fit(train, representation=representation).double()
    assert c.active == 165 - 8
    eyes = [f"{side}_eye.{axis}" for side in ("left", "right") for axis in "xyz"]
    assert c.degenerate == dict.fromkeys(["left_knee.y", "left_knee.z", *eyes], "constant")
    assert 23 not in c.active_joints
    back = c.decode(c.encode(train)[0])
    assert torch.allclose(back, train, atol=1e-7)


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_a_hinge_across_the_axes_counts_once_and_is_given_back(representation: str) -> None:
    train = poses(200)
    line = torch.tensor([0.6, -0.48, 0.64], dtype=torch.float64)
    train[:, 4] = train[:, 4, :1] * line + torch.tensor([0.0, 0.1, 0.2], dtype=torch.float64)
    plane = torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.0, -0.3]], dtype=torch.float64)
    train[:, 18] = 0.5 * train[:, 18, :2] @ plane
    c = Coordinates.fit(train, representation=representation).double()
    assert c.active == 165 - 3
    assert c.degenerate["left_knee.x"] == c.degenerate["left_knee.y"] == "follows left_knee.z"
    assert [reason.split()[0] for axis, reason in c.degenerate.items() if "elbow" in axis] == ["follows"]
    assert torch.allclose(c.decode(c.encode(train)[0]), train, atol=1e-6)
    again = Coordinates.from_description(json.loads(json.dumps(c.describe()))).double()
    assert torch.equal(again.decode(c.encode(train)[0]), c.decode(c.encode(train)[0]))


def test_an_axis_that_often_holds_one_value_stays_out_and_rare_repeats_do_not() -> None:
    train = poses(400)
    train[:30, 10] = 0  # 7.5 % of the poses: a foot that some recordings lack
    train[:16, 4] = 0.25  # 4 %: a joint at its limit
    c = Coordinates.fit(train)
    assert set(c.degenerate) == {"left_foot.x", "left_foot.y", "left_foot.z"}
    assert c.degenerate["left_foot.x"] == "one exact value in 8% of the poses"
    assert grouped({**c.degenerate, "jaw.x": "constant"}) == {
        "one exact value in 8% of the poses": ["left_foot"],
        "constant": ["jaw.x"],
    }
    few = poses(12)
    few[:9] = few[0].clone()  # a share of so few poses says nothing
    assert Coordinates.fit(few).active == 165


def test_wrapped_training_poses_give_the_same_coordinates() -> None:
    train = poses(50)
    angle = train.norm(dim=-1, keepdim=True)
    wrapped = train * (1 - 2 * math.pi / angle)
    a, b = Coordinates.fit(train), Coordinates.fit(wrapped)
    assert torch.allclose(a.mean, b.mean, atol=1e-6)
    assert torch.allclose(a.double().encode(train)[0], b.double().encode(wrapped)[0], atol=1e-3)


@pytest.mark.parametrize("representation", REPRESENTATIONS)
@pytest.mark.parametrize("standardise", ["axis", "joint"])
def test_a_description_is_json_and_restores_every_bit(representation: str, standardise: str) -> None:
    train = poses(100)
    train[:, 23:25] = 0
    joints = ["jaw", "left_eye", "pelvis"]
    c = Coordinates.fit(train, joints=joints, representation=representation, standardise=standardise)
    again = Coordinates.from_description(json.loads(json.dumps(c.describe())))
    some = poses(5, seed=1).float()
    assert torch.equal(c.encode(some)[0], again.encode(some)[0])
    assert torch.equal(c.decode(c.encode(some)[0]), again.decode(c.encode(some)[0]))
    assert again.describe() == c.describe()


def test_statistics_do_not_depend_on_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    train = poses(100)
    whole = Coordinates.fit(train)
    monkeypatch.setattr("mocap_ray.priors.moments.CHUNK", 7)
    parts = Coordinates.fit(train)
    assert torch.allclose(whole.std, parts.std, rtol=1e-6)
    assert torch.allclose(whole.mean, parts.mean, atol=1e-6)


def test_a_constant_or_absent_parent_is_replaced_by_the_next_one_up() -> None:
    train = poses(50)
    train[:, 3] = 0  # spine1
    c = Coordinates.fit(train, joints=["pelvis", "spine1", "spine2", "left_wrist"])
    assert [SMPLX_JOINTS[j] for j in c.active_joints] == ["pelvis", "spine2", "left_wrist"]
    assert c.parents() == (-1, 0, 1)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Coordinates.fit(poses(9), joints="hand"), "expected all, body, hands"),
        (lambda: Coordinates.fit(poses(9), joints=["knee"]), "knee unknown"),
        (lambda: Coordinates.fit(poses(9), joints=["jaw", "jaw"]), "without repetition"),
        (lambda: Coordinates.fit(poses(1)), "at least two"),
        (
            lambda: Coordinates.fit(torch.zeros(9, 55, 3)),
            r"nothing to learn in the 9 training poses: constant \(55 joints\)",
        ),
        (lambda: Coordinates.fit(poses(9) * math.nan), "not finite"),
        (lambda: Coordinates.fit(poses(9)).encode(torch.zeros(9, 54, 3)), r"shape \[9, 54, 3\]"),
        (lambda: Coordinates.fit(poses(9)).encode(torch.zeros(55, 3, dtype=torch.int64)), "floating point"),
        (
            lambda: Coordinates.fit(poses(9)).encode(poses(9), torch.ones(21, dtype=torch.bool)),
            "visible has 21 joints",
        ),
    ],
)
def test_refusals_say_what_was_expected(call, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize("joints", ["all", "body", "hands", ["left_knee", "jaw"]])
def test_encoding_the_joints_in_use_alone_gives_the_bits_of_encoding_all(joints: str | list[str]) -> None:
    train = poses(200)
    coordinates = Coordinates.fit(train, joints=joints)
    some = torch.cat([train, hard_rotations(50), 5 * poses(50, seed=4)]).float()
    whole = coordinates.rotvecs(some)[:, coordinates.active_joints].reshape(len(some), -1)
    assert torch.equal(coordinates.encode(some)[0], coordinates.scale(whole))


def hinged(n: int) -> torch.Tensor:
    """Poses with a still jaw, a knee that bends along a line, and feet at rest in half of the poses."""
    train = poses(n)
    train[:, SMPLX_JOINTS.index("jaw")] = torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64)
    knee, foot = SMPLX_JOINTS.index("left_knee"), SMPLX_JOINTS.index("left_foot")
    train[:, knee] = train[:, knee, :1] * torch.tensor([1.0, -0.4, 0.2], dtype=torch.float64)
    train[: n // 2, foot] = 0.0
    return train


@pytest.mark.parametrize("representation", REPRESENTATIONS)
@pytest.mark.parametrize("joints", ["all", "body", ["left_knee", "jaw", "head"]])
def test_projected_poses_are_those_that_samples_could_be(
    representation: str, joints: str | list[str]
) -> None:
    c = Coordinates.fit(hinged(300), joints=joints, representation=representation).double()
    assert c.follows
    some = poses(20, seed=5).reshape(4, 5, 55, 3)
    found = c.project(some)
    x = c.encode(some)[0]
    sampled = c.decode(x).reshape(4, 5, 55, 3)
    assert torch.allclose(found[..., list(c.joints), :], sampled[..., list(c.joints), :], atol=1e-9)
    others = [j for j in range(55) if j not in c.joints]
    assert torch.equal(found[..., others, :], some[..., others, :])
    assert torch.allclose(c.project(found), found, atol=1e-12)
    assert torch.allclose(c.encode(found)[0], x, atol=1e-12), "the density is the same"
    for form in (roma.rotvec_to_rotmat(some), six_d(roma.rotvec_to_rotmat(some))):
        assert torch.allclose(c.project(form), found, atol=1e-6)
    for joints_of_form in FORMS.values():
        part = list(joints_of_form)
        assert torch.allclose(c.project(some[..., part, :]), found[..., part, :], atol=1e-12)


def test_a_projection_passes_gradients_through_active_axes_alone() -> None:
    c = Coordinates.fit(hinged(300), joints="body").double()
    knee = SMPLX_JOINTS.index("left_knee")
    some = poses(3, seed=6).requires_grad_()
    (gradient,) = torch.autograd.grad(c.project(some)[:, 1:25].sum(), [some])
    active = torch.zeros(165, dtype=torch.bool)
    active[list(c.index_list)] = True
    excluded = ~active.reshape(55, 3)
    excluded[[j for j in range(55) if j not in c.joints]] = False
    assert not gradient[:, excluded].any()
    (line,) = active.reshape(55, 3)[knee].nonzero()[:, 0].tolist()
    along = 1 + c.follow[knee, :, line].sum()
    assert torch.allclose(gradient[:, knee, line], along.expand(3)), "what follows passes its gradient on"
    still = torch.ones(55, 3, dtype=torch.bool)
    still[knee] = still[0] = still[25:] = False
    assert torch.allclose(gradient[:, still & active.reshape(55, 3)], torch.ones(1, dtype=torch.float64))
    assert torch.allclose(gradient[:, SMPLX_JOINTS.index("jaw")], torch.ones(3, dtype=torch.float64))
    at_rest = torch.zeros(1, 55, 3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(c.project(at_rest).sum(), [at_rest])
    assert torch.isfinite(gradient).all()
