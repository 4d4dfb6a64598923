"""Mirrors, stick figures and windows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocap_ray.motion import windows
from mocap_ray.motion.features import canonical, decode, encode
from mocap_ray.motion.mirror import mirror_joints, mirror_text
from mocap_ray.motion.stick import LINES, ends, flat, raised, stick, turned
from mocap_ray.skeleton import BODY_JOINTS
from tests.dataset.made import walker
from tests.motion import naive


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_mirroring_joints_twice_changes_nothing(batch, dtype):
    joints = np.random.default_rng(0).normal(size=(*batch, 22, 3)).astype(dtype)
    once = mirror_joints(joints)
    assert once.dtype == dtype
    assert once.shape == joints.shape
    np.testing.assert_array_equal(mirror_joints(once), joints)
    left, right = BODY_JOINTS.index("left_wrist"), BODY_JOINTS.index("right_wrist")
    np.testing.assert_array_equal(once[..., left, :], joints[..., right, :] * np.array([-1, 1, 1], dtype))


def test_the_mirrored_twin_decodes_to_the_mirrored_person():
    rng = np.random.default_rng(1)
    joints = np.cumsum(rng.normal(scale=0.01, size=(60, 22, 3)), 0) + rng.normal(size=(22, 3))
    twin = decode(encode(mirror_joints(joints), profile="flowmimic"))[:-1]
    straight = canonical(joints, profile="flowmimic")[:-1]
    np.testing.assert_allclose(twin, mirror_joints(straight), atol=1e-5)


def test_mirrored_features_equal_the_naive_twin():
    joints = np.random.default_rng(2).normal(size=(30, 22, 3))
    np.testing.assert_allclose(encode(mirror_joints(joints)), naive.encode(mirror_joints(joints)), atol=2e-6)


@pytest.mark.parametrize(
    ("text", "mirrored"),
    [
        ("a person waves their left hand", "a person waves their right hand"),
        ("Right foot, LEFT foot.", "Left foot, RIGHT foot."),
        ("turns clockwise, then counterclockwise", "turns counterclockwise, then clockwise"),
        ("Counter-clockwise and ANTICLOCKWISE", "Clockwise and CLOCKWISE"),
        ("leftward-facing, right-handed", "rightward-facing, left-handed"),
        ("left/ADJ hand/NOUN", "right/ADJ hand/NOUN"),
        ("step_left to_right", "step_right to_left"),
        ("stands upright, the bright cleft of copyright", "stands upright, the bright cleft of copyright"),
        ("", ""),
    ],
)
def test_mirrored_texts_swap_whole_words(text, mirrored):
    assert mirror_text(text) == mirrored


@given(
    st.lists(
        st.sampled_from(
            ["left", "Right", "LEFT", "upright", "clockwise", "Counterclockwise", "walks", ",", "."]
        )
    )
)
def test_mirroring_a_text_twice_changes_nothing(words):
    text = " ".join(words)
    assert mirror_text(mirror_text(text)) == text


def test_stick_lines_join_the_named_joints():
    joints = np.random.default_rng(3).normal(size=(7, 22, 3))
    lines = stick(joints)
    assert lines.shape == (7, 20)
    assert lines.dtype == np.float32
    for k, (first, second) in enumerate(LINES):
        for at, joint in [(4 * k, first), (4 * k + 2, second)]:
            expected = joints[:, BODY_JOINTS.index(joint), :2].astype(np.float32)
            np.testing.assert_array_equal(lines[:, at : at + 2], expected)
    assert stick(joints[:0]).shape == (0, 20)


@given(st.floats(-180, 180), st.floats(-3, 3), st.floats(-3, 3))
def test_a_view_does_not_depend_on_where_the_motion_was_recorded(degrees, x, z):
    here = walker(9)  # along +Z
    angle = np.deg2rad(degrees)
    c, s = np.cos(angle), np.sin(angle)
    there = here @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]) + [x, 0, z]
    front, side = (turned(ends(there), there[0], view=view) for view in ("front", "side"))
    np.testing.assert_allclose(front, ends(here) - here[0, 0] * [1, 0, 1], atol=1e-9)
    np.testing.assert_allclose(side, np.stack([front[..., 2], front[..., 1], -front[..., 0]], -1), atol=1e-9)
    np.testing.assert_array_equal(turned(ends(there), there[0], view="recorded"), ends(there))


def test_lines_in_the_plane_stay_the_same_lines():
    lines = stick(walker(5))
    np.testing.assert_array_equal(flat(raised(lines)), lines)
    lying = np.zeros((22, 3))  # hips and shoulders above one another
    np.testing.assert_array_equal(turned(raised(lines), lying, view="front")[..., 1], raised(lines)[..., 1])


@given(st.integers(0, 200), st.integers(1, 50), st.integers(1, 60), st.integers(0, 20))
def test_windows_are_complete_and_evenly_spaced(rows, length, stride, start):
    found = windows.windows(rows, length=length, stride=stride, start=start)
    for k, window in enumerate(found):
        assert window == slice(start + k * stride, start + k * stride + length)
        assert window.stop <= rows
    assert start + len(found) * stride + length > rows


@pytest.mark.parametrize(("length", "stride", "start"), [(0, 1, 0), (1, 0, 0), (1, 1, -1)])
def test_windows_refuse_lengths_and_strides_below_one(length, stride, start):
    with pytest.raises(ValueError, match="Expected at least"):
        windows.windows(10, length=length, stride=stride, start=start)
