from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import PchipInterpolator
from scipy.spatial.transform import Rotation, Slerp

from mocap_ray.motion.resample import interpolate_positions, resample
from tests.motion.motions import as_in_a_file, motion, rotvecs, smooth


def turns(v: np.ndarray) -> Rotation:
    return Rotation.from_rotvec(np.asarray(v, np.float64).reshape(-1, 3))


def moving(frames: int, fps: float, joints: int = 52):
    trans = np.cumsum(np.random.default_rng(frames).normal(size=(frames, 3)), 0)
    return motion(smooth(frames, frames, joints), trans=trans, fps=fps)


@pytest.mark.parametrize(
    ("source", "target", "stride", "fps"),
    [(120, 20, 6, 20), (60, 20, 3, 20), (59, 20, 2, 29.5), (250, 20, 12, 250 / 12), (100, 30, 3, 100 / 3),
     (20, 20, 1, 20), (15, 20, 1, 15)],
)  # fmt: skip
def test_stride_keeps_every_nth_frame_with_its_quirk(source, target, stride, fps):
    m = moving(100, float(source))
    found = resample(m, fps=float(target), method="stride")
    assert found.fps == fps
    assert found.source_fps == source
    np.testing.assert_array_equal(found.poses, m.poses[::stride])
    np.testing.assert_array_equal(found.trans, m.trans[::stride])


@pytest.mark.parametrize(
    ("source", "target", "stride"), [(120, 20, 6), (60, 30, 2), (90, 30, 3), (30, 30, 1)]
)
@pytest.mark.parametrize("method", ["stride", "interpolate"])
def test_integer_ratios_return_views_of_the_frames(source, target, stride, method):
    m = moving(50, float(source))
    found = resample(replace(m, poses=as_in_a_file(m.poses)), fps=float(target), method=method)
    assert found.fps == target
    assert found.poses.base is not None
    np.testing.assert_array_equal(found.poses, m.poses[::stride])
    np.testing.assert_array_equal(found.trans, m.trans[::stride])


@settings(max_examples=25, deadline=None)
@given(
    frames=st.integers(2, 60),
    source=st.sampled_from([5.0, 29.97, 59.0, 100.0, 119.88, 250.0]),
    target=st.sampled_from([12.5, 20.0, 30.0, 120.0]),
)
def test_interpolation_equals_slerp_and_pchip(frames, source, target):
    m = moving(frames, source, joints=24)
    found = resample(m, fps=target)
    assert found.fps == target
    known, wanted = np.arange(frames) / source, np.arange(len(found.trans)) / target
    assert wanted[-1] <= known[-1] + 1e-9 < wanted[-1] + 1 / target + 1e-6
    wanted = np.minimum(wanted, known[-1])
    np.testing.assert_allclose(found.trans, PchipInterpolator(known, m.trans)(wanted), atol=1e-9)
    for j in range(24):
        expected = Slerp(known, turns(m.poses[:, j]))(wanted)
        assert (turns(found.poses[:, j]) * expected.inv()).magnitude().max() < 1e-9


def test_interpolation_follows_the_shortest_arc():
    poses = rotvecs(8, 2, 400 * 52).reshape(2, 400, 52, 3).swapaxes(0, 1)
    for k in range(0, 400, 8):
        m = motion(as_in_a_file(poses[k]), fps=10.0)
        found = resample(m, fps=30.0)  # fractions 0, 1/3, 2/3, 1
        a, b = turns(poses[k, 0]), turns(poses[k, 1])
        arc = (a.inv() * b).magnitude()
        for i in range(4):
            q = turns(found.poses[i])
            near = arc < np.pi - 1e-6  # at exactly half a turn both arcs are shortest
            gone = (a.inv() * q).magnitude()
            np.testing.assert_allclose(gone, arc * i / 3, atol=1e-7)
            left = (q.inv() * b).magnitude()
            np.testing.assert_allclose(left[near], (arc * (1 - i / 3))[near], atol=1e-7)
        assert (
            np.linalg.norm(found.poses[1:3], axis=-1).max() <= np.linalg.norm(poses[k], axis=-1).max() + 1e-9
        )


def test_frames_of_the_source_on_the_grid_are_copied_exactly():
    m = moving(101, 100.0)
    found = resample(m, fps=30.0)
    np.testing.assert_array_equal(found.poses[::3], m.poses[::10])
    np.testing.assert_array_equal(found.trans[::3], m.trans[::10])


def test_interpolated_joints_at_rest_stay_exactly_at_rest():
    m = moving(50, 100.0)
    m.poses[:, 22:] = 0
    np.testing.assert_array_equal(resample(m, fps=30.0).poses[:, 22:], 0)


@pytest.mark.parametrize("frames", [0, 1])
@pytest.mark.parametrize("method", ["stride", "interpolate"])
def test_one_frame_or_none_is_not_interpolated(frames, method):
    m = moving(frames, 100.0)
    found = resample(m, fps=30.0, method=method)
    np.testing.assert_array_equal(found.poses, m.poses)
    np.testing.assert_array_equal(found.trans, m.trans)


@pytest.mark.parametrize("frames", [2, 3, 4, 40])
@pytest.mark.parametrize("kind", ["walk", "steps", "still"])
def test_positions_are_interpolated_by_pchip(frames, kind):
    rng = np.random.default_rng(frames)
    p = rng.normal(size=(frames, 22, 3))
    if kind == "steps":
        p = np.round(p)
    if kind == "still":
        p = np.repeat(p[:1], frames, 0)
    found = interpolate_positions(p, 5.0, 30.0)
    assert len(found) == (frames - 1) * 6 + 1
    known, wanted = np.arange(frames) / 5, np.arange(len(found)) / 30
    expected = PchipInterpolator(known, p)(np.minimum(wanted, known[-1]))
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_array_equal(found[::6], p)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_positions_that_are_not_finite_are_refused(wrong):
    p = np.zeros((5, 22, 3))
    p[2, 3, 1] = wrong
    with pytest.raises(ValueError, match="positions hold numbers that are not finite"):
        interpolate_positions(p, 5.0, 30.0)


def test_the_last_frame_of_the_source_is_copied_exactly():
    p = np.cumsum(np.random.default_rng(0).normal(size=(41, 22, 3)), 0) + 0.1
    np.testing.assert_array_equal(interpolate_positions(p, 100.0, 250.0)[-1], p[-1])


def test_invalid_rates_and_methods_are_refused():
    m = moving(5, 100.0)
    refused = pytest.raises(ValueError, match="Expected 1 to 10,000 frames per second")
    for fps in (0.0, -1.0, 1e-9, 1e9, np.nan, np.inf):
        with refused:
            resample(m, fps=fps)
        with refused:
            resample(replace(m, fps=fps), fps=20.0)  # 1e-9 took 340 GiB
        with refused:
            interpolate_positions(np.zeros((3, 2, 3)), 5.0, fps)
        with refused:
            interpolate_positions(np.zeros((3, 2, 3)), fps, 20.0)
    unchecked = getattr(resample, "__wrapped__", resample)
    with pytest.raises(ValueError, match="Expected stride or interpolate"):
        unchecked(m, fps=20.0, method="nearest")
