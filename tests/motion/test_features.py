from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mocap_ray.motion.clip import Reason
from mocap_ray.motion.features import (
    GROUPS,
    UndefinedFeatures,
    canonical,
    column_names,
    decode,
    decode_torch,
    encode,
)
from mocap_ray.skeleton import BODY_PARENTS, HUMANML3D_BONES, REST_DIRECTIONS
from tests.motion import naive
from tests.motion.motions import as_in_a_file

PROFILES = ["humanml3d", "flowmimic"]
YAWS = ["continuous", "reference"]
ORACLES = ["01__01_03", "02__02_01", "02__02_05", "05__05_02", "08__08_01", "09__09_01", "10__10_04"]


def person(seed: int, frames: int, *, turns: float = 0.3, wobble: float = 0.2) -> np.ndarray:
    """[T, 22, 3]: the rest skeleton walking on a curve; every bone swings, the body turns `turns` times."""
    rng = np.random.default_rng(seed)
    time = np.linspace(0.0, 1.0, frames)
    lengths = rng.uniform(0.1, 0.4, 22)
    yaw = 2 * np.pi * turns * time + rng.uniform(-np.pi, np.pi)
    root = np.stack([time * rng.normal(), 1 + 0.1 * np.sin(9 * time), time * rng.normal()], -1)
    p = np.empty((frames, 22, 3))
    p[:, 0] = root
    for j in range(1, 22):
        phase = rng.uniform(0, 6, 3)
        bone = REST_DIRECTIONS[j] + wobble * np.sin(20 * time[:, None] + phase)
        p[:, j] = p[:, BODY_PARENTS[j]] + lengths[j] * naive.unit(bone)
    turn = np.stack([np.cos(yaw / 2), 0 * yaw, np.sin(yaw / 2), 0 * yaw], -1)
    return naive.rotate(turn[:, None], p - root[:, None]) + root[:, None]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("yaw", YAWS)
@pytest.mark.parametrize("frames", [2, 3, 39, 40, 41, 79, 80, 170])
def test_encode_equals_the_naive_twin(profile, yaw, frames):
    joints = person(frames, frames, turns=1.7, wobble=0.5)
    expected = naive.encode(joints, profile, yaw)
    found = encode(joints, profile=profile, yaw=yaw)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("frames", [2, 40, 41, 100])
def test_canonical_equals_the_naive_twin(profile, frames):
    joints = person(frames, frames)
    found = canonical(joints, profile=profile)
    np.testing.assert_allclose(found, naive.canonical(joints, profile), rtol=0, atol=1e-13)
    assert found[..., 1].min() == 0.0
    np.testing.assert_array_equal(found[0, 0, [0, 2]], 0.0)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    frames=st.integers(2, 130),
    turns=st.floats(-8, 8),
    profile=st.sampled_from(PROFILES),
)
def test_decode_inverts_encode(seed, frames, turns, profile):
    joints = person(seed, frames, turns=turns)
    found = decode(encode(joints, profile=profile))
    exact = canonical(joints, profile=profile)
    np.testing.assert_allclose(found[: frames - 1], exact[: frames - 1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("yaw", YAWS)
def test_a_clip_has_the_same_bits_alone_and_in_a_batch(profile, yaw):
    joints = np.stack([person(k, 97) for k in range(6)])
    alone = np.stack([encode(clip, profile=profile, yaw=yaw) for clip in joints])
    for batch in [(6,), (2, 3), (1, 6)]:
        together = encode(joints.reshape(*batch, 97, 22, 3), profile=profile, yaw=yaw)
        assert together.shape[:-2] == batch
        assert together.tobytes() == alone.tobytes()
    assert encode(joints[:1], profile=profile, yaw=yaw).tobytes() == alone[0].tobytes()


def test_float32_joints_are_computed_in_float64():
    joints = person(4, 60).astype(np.float32)
    assert encode(joints).tobytes() == encode(joints.astype(np.float64)).tobytes()


def test_views_of_joints_give_the_same_and_are_not_changed():
    joints = person(5, 120)
    assert encode(joints[::2]).tobytes() == encode(joints[::2].copy()).tobytes()
    assert encode(as_in_a_file(joints)).tobytes() == encode(joints).tobytes()
    assert joints.flags.writeable


@pytest.mark.parametrize("profile", PROFILES)
def test_an_empty_batch_has_no_features(profile):
    rows = 4 if profile == "humanml3d" else 5
    assert encode(np.zeros((0, 5, 22, 3)), profile=profile).shape == (0, rows, 263)
    assert decode(np.zeros((0, rows, 263))).shape == (0, rows, 22, 3)
    assert decode(np.zeros((2, 0, 263))).shape == (2, 0, 22, 3)


@pytest.mark.parametrize("profile", PROFILES)
def test_features_do_not_depend_on_position_and_heading(profile):
    joints = person(6, 50)
    angle = 2.3
    turn = np.array([np.cos(angle / 2), 0, np.sin(angle / 2), 0])
    moved = naive.rotate(turn, joints) + np.array([3.0, -1.0, 7.0])
    np.testing.assert_allclose(
        encode(moved, profile=profile), encode(joints, profile=profile), rtol=0, atol=2e-7
    )


def test_rotations_are_orthonormal_also_next_to_the_undefined_direction():
    joints = person(7, 40)
    for gap in [1e-2, 1e-5, 1e-8]:  # head bent back until its bone points against +Z
        bone = np.array([gap, 0.0, -1.0])
        turned = canonical(joints, profile="flowmimic")
        turned[:, 15] = turned[:, 12] + 0.1 * naive.unit(bone)
        six = encode(turned, profile="flowmimic")[:, 67:193].reshape(-1, 21, 2, 3).astype(np.float64)
        gram = six @ six.swapaxes(-1, -2)
        np.testing.assert_allclose(gram, np.broadcast_to(np.eye(2), gram.shape), atol=1e-6)


def stiff(yaw: np.ndarray, *, hips: float) -> np.ndarray:
    """[T, 22, 3] the rest skeleton, shoulders 0.6 m apart and hips `hips`, turned by `yaw` about Y."""
    p = np.zeros((22, 3))
    for j in range(1, 22):
        length = hips / 2 if j in (1, 2) else 0.3
        p[j] = p[BODY_PARENTS[j]] + length * REST_DIRECTIONS[j]
    turn = np.stack([np.cos(yaw / 2), 0 * yaw, np.sin(yaw / 2), 0 * yaw], -1)
    return naive.rotate(turn[:, None], np.broadcast_to(p, (len(yaw), 22, 3)))


def test_facing_exactly_minus_z_is_half_a_turn():
    joints = stiff(np.zeros(3), hips=0.8)  # hips wider than shoulders: later frames face the other way
    features = encode(joints, profile="flowmimic")
    np.testing.assert_allclose(abs(features[:, 0]), [np.pi / 2, 0, 0], atol=1e-7)
    np.testing.assert_allclose(decode(features)[:2], canonical(joints, profile="flowmimic")[:2], atol=1e-6)


def test_a_facing_that_vanishes_is_undefined():
    with pytest.raises(UndefinedFeatures, match="facing is undefined"):
        encode(stiff(np.zeros(3), hips=0.6), profile="flowmimic")


def test_reference_yaw_has_the_wrong_sign_only_where_the_facing_passes_minus_z():
    joints = stiff(np.linspace(0.0, 4 * np.pi, 400), hips=0.3)
    true = encode(joints, profile="flowmimic")
    reference = encode(joints, profile="flowmimic", yaw="reference")
    wrong = np.flatnonzero(reference[:, 0] != true[:, 0])
    assert len(wrong) == 2
    np.testing.assert_array_equal(reference[wrong, 0], -true[wrong, 0])
    np.testing.assert_array_equal(reference[:, 1:], true[:, 1:])


@pytest.mark.parametrize("name", ORACLES)
def test_reference_yaw_equals_the_reference_programs(shared, name):
    with np.load(shared / "oracle" / f"{name}.npz") as oracle:
        human = encode(oracle["joints_20fps"], profile="humanml3d", yaw="reference")
        np.testing.assert_allclose(human, oracle["humanml3d_263"], rtol=0, atol=2e-4)
        flow = encode(oracle["joints_30fps"], profile="flowmimic", yaw="reference")
        np.testing.assert_allclose(flow, oracle["flowmimic_263"], rtol=0, atol=2e-4)
        joints = decode(oracle["humanml3d_263"])
        np.testing.assert_allclose(joints, oracle["humanml3d_joints"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ORACLES)
def test_the_target_skeleton_has_the_bones_of_published_clips(shared, name):
    with np.load(shared / "oracle" / f"{name}.npz") as oracle:
        joints = oracle["humanml3d_joints"].astype(float)
        bones = np.linalg.norm(joints[:, 1:] - joints[:, list(BODY_PARENTS[1:])], axis=-1)
        np.testing.assert_allclose(bones, np.tile(HUMANML3D_BONES[1:], (len(bones), 1)), rtol=0, atol=5e-6)
        human = encode(oracle["joints_20fps"], profile="humanml3d", yaw="reference")
        np.testing.assert_allclose(human[:, :67], oracle["humanml3d_263"][:, :67], rtol=0, atol=3e-5)


@pytest.mark.parametrize("name", ORACLES)
def test_decode_inverts_encode_on_real_motion(shared, name):
    with np.load(shared / "oracle" / f"{name}.npz") as oracle:
        for key, profile in [("joints_20fps", "humanml3d"), ("joints_30fps", "flowmimic")]:
            found = decode(encode(oracle[key], profile=profile))
            exact = canonical(oracle[key], profile=profile)
            np.testing.assert_allclose(found[: len(exact) - 1], exact[:-1], rtol=0, atol=1e-5)


def test_decode_of_torch_equals_numpy_and_has_gradients():
    import torch

    features = encode(np.stack([person(k, 30) for k in range(6)])).reshape(2, 3, 29, 263)
    tensor = torch.tensor(features, dtype=torch.float64, requires_grad=True)
    joints = decode_torch(tensor)
    np.testing.assert_allclose(joints.detach().numpy(), decode(features), rtol=0, atol=1e-12)
    joints.square().sum().backward()
    assert torch.isfinite(tensor.grad).all()
    assert (tensor.grad[..., :67].abs().sum((0, 1, 2)) > 0).all()
    small = tensor.detach()[0, 0, :4].requires_grad_()
    assert torch.autograd.gradcheck(decode_torch, small)


@pytest.mark.parametrize("frames", [0, 1])
@pytest.mark.parametrize("profile", PROFILES)
def test_fewer_than_two_frames_are_too_short(frames, profile):
    with pytest.raises(UndefinedFeatures, match=f"has {frames} frame") as caught:
        encode(np.zeros((frames, 22, 3)), profile=profile)
    assert caught.value.reason is Reason.TOO_SHORT


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("joint", range(22))
def test_values_that_are_not_finite_are_named(profile, value, joint):
    for frame in (0, 52):
        for axis in range(3):
            joints = person(8, 53)
            joints[frame, joint, axis] = value
            with pytest.raises(UndefinedFeatures, match=r"Expected finite metres") as caught:
                encode(joints, profile=profile)
            assert caught.value.reason is Reason.NON_FINITE
            assert (caught.value.frame, caught.value.joint) == (frame, joint)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("frame", [0, 10, 38, 39, 40])
@pytest.mark.parametrize("joint", [1, 5, 14, 15, 21])
def test_a_bone_without_length_is_undefined(profile, frame, joint):
    joints = np.stack([person(9, 50), person(10, 50)])
    joints[1, frame, joint] = joints[1, frame, BODY_PARENTS[joint]]
    with pytest.raises(UndefinedFeatures, match=r"Clip 1 of the batch, .* has no length") as caught:
        encode(joints, profile=profile)
    error = caught.value
    assert (error.reason, error.frame, error.joint) == (Reason.UNDEFINED_BONE, frame, joint)
    assert error.clip == 1


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("joint", [3, 4, 8, 12, 15, 20])
def test_a_bone_exactly_against_its_rest_direction_is_undefined(profile, joint):
    joints = canonical(person(11, 50), profile=profile)
    joints[41:44, joint] = joints[41:44, BODY_PARENTS[joint]] - 0.2 * REST_DIRECTIONS[joint]
    with pytest.raises(UndefinedFeatures, match="against its rest direction") as caught:
        encode(joints, profile=profile)
    error = caught.value
    assert (error.reason, error.frame, error.joint) == (Reason.UNDEFINED_BONE, 41, joint)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("frame", [0, 41])
def test_a_vertical_line_across_hips_and_shoulders_is_an_undefined_facing(profile, frame):
    joints = person(12, 50)
    for left, right in [(1, 2), (16, 17)]:  # one above the other, below joint 9 and the pelvis
        for j in (left, right):
            joints[frame, j, [0, 2]] = joints[frame, 0, [0, 2]]
    joints[frame, [1, 2, 16, 17], 1] = joints[frame, 0, 1] + np.array([-0.2, -0.3, 0.4, 0.7])
    if profile == "humanml3d":  # there the collars enter too: put them on the same vertical
        joints[frame, [9, 13, 14]] = joints[frame, 0] + np.array([[0, 0.1, 0], [0, 0.2, 0], [0, 0.3, 0]])
    with pytest.raises(UndefinedFeatures, match="facing is undefined") as caught:
        encode(joints, profile=profile)
    assert (caught.value.reason, caught.value.frame) == (Reason.UNDEFINED_FACING, frame)


def test_other_shapes_profiles_and_yaws_are_named():
    unchecked = getattr(encode, "__wrapped__", encode)
    with pytest.raises(ValueError, match=r"shape \(5, 24, 3\). Expected \[\*batch, T, 22, 3\]"):
        unchecked(np.zeros((5, 24, 3)))
    with pytest.raises(ValueError, match=r"profile is 'kit'\. Expected one of humanml3d, flowmimic"):
        unchecked(person(1, 5), profile="kit")
    with pytest.raises(ValueError, match=r"yaw is 'x'\. Expected one of continuous, reference"):
        unchecked(person(1, 5), yaw="x")


def test_columns_are_named_once_and_groups_cover_them():
    names = column_names()
    assert len(names) == len(set(names)) == 263
    assert [g.start for g in GROUPS] == [0, *(g.stop for g in GROUPS[:-1])]
    assert GROUPS[-1].stop == 263
    for group in GROUPS:
        assert {name.split(".")[0] for name in names[group.columns]} == {group.name}


def test_columns_describe_the_layout():
    joints = person(13, 20)
    features = encode(joints, profile="flowmimic")
    placed = canonical(joints, profile="flowmimic")
    names = list(column_names())
    np.testing.assert_allclose(features[:-1, names.index("ric.head.y")], placed[:-1, 15, 1], atol=1e-6)
    step = placed[1:, 20, 1] - placed[:-1, 20, 1]
    np.testing.assert_allclose(features[:-1, names.index("local_vel.left_wrist.y")], step, atol=1e-6)
