"""Where figures stand: side by side, facing the viewer, on the floor, in the picture of the camera."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mocap_ray.viewing import figures, scene
from mocap_ray.viewing.scene import Group
from tests.dataset.made import walker


def turned(joints: np.ndarray, angle: float) -> np.ndarray:
    c, s = math.cos(angle), math.sin(angle)
    return joints @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T


def person(
    angle: float = 0.0, shift: tuple[float, float, float] = (0, 0, 0), frames: int = 50
) -> figures.Figure:
    return figures.of_joints("", turned(walker(frames), angle) + np.array(shift), fps=20.0)


@pytest.mark.parametrize("angle", [0.0, 1.0, -2.0, math.pi])
def test_a_group_starts_above_the_origin_facing_the_viewer(angle: float) -> None:
    group: Group = (person(angle, (5.0, 0.0, -7.0)),)
    (placed,) = scene.placements([group])
    first = placed.apply(group[0].joints)[0]
    np.testing.assert_allclose(first[0, [0, 2]], 0.0, atol=1e-9)
    assert scene.facing(first) == pytest.approx(0.0, abs=1e-9)
    np.testing.assert_allclose(placed.apply(group[0].joints)[..., 1], group[0].joints[..., 1])


def test_the_quaternion_turns_as_apply_does() -> None:
    (placed,) = scene.placements([(person(0.7),)])
    w, _, y, _ = placed.quat_wxyz
    point = np.array([1.0, 2.0, 3.0])
    v = np.array([0, y, 0])
    expected = point + 2 * np.cross(v, np.cross(v, point) + w * point) + placed.shift
    np.testing.assert_allclose(placed.apply(point), expected, atol=1e-12)


@pytest.mark.parametrize(("height", "raised"), [(0.0, 0.0), (0.15, 0.0), (-0.6, 0.6), (1.3, -1.3)])
def test_who_is_far_from_the_floor_is_put_on_it(height: float, raised: float) -> None:
    (placed,) = scene.placements([(person(shift=(0, height, 0)),)])
    assert placed.raised == pytest.approx(raised, abs=1e-9)


def test_groups_do_not_overlap_and_rows_stand_behind_each_other() -> None:
    groups = [(person(0.3 * k),) for k in range(8)]
    placed = scene.placements(groups)
    starts = np.stack([p.apply(g[0].joints)[0, 0] for p, g in zip(placed, groups, strict=True)])
    assert (np.diff(starts[:6, 0]) >= 1.3 - 1e-9).all()
    assert starts[:6, 2] == pytest.approx(0.0)
    assert starts[6:, 2] == pytest.approx(-1.6)
    assert starts[:6, 0].mean() == pytest.approx(0.0, abs=1e-6)


def test_people_of_one_group_keep_their_distances() -> None:
    group: Group = (person(), person(math.pi, (0.2, 0.0, 1.1)))
    (placed,) = scene.placements([group])
    before = np.linalg.norm(group[0].joints - group[1].joints, axis=-1)
    after = np.linalg.norm(placed.apply(group[0].joints) - placed.apply(group[1].joints), axis=-1)
    np.testing.assert_allclose(after, before, atol=1e-9)


@pytest.mark.parametrize("aspect", [0.55, 1.25])
@pytest.mark.parametrize("many", [1, 2, 6, 12])
def test_the_camera_starts_with_everybody_in_the_picture(many: int, aspect: float) -> None:
    groups = [(person(0.5 * k, (k, 0.0, 0.0)),) for k in range(many)]
    placed = scene.placements(groups)
    view = scene.camera(groups, placed, aspect=aspect)
    eye, look = np.array(view.position), np.array(view.look_at)
    ahead = (look - eye) / np.linalg.norm(look - eye)
    right = np.cross(ahead, (0, 1, 0))
    right /= np.linalg.norm(right)
    up = np.cross(right, ahead)
    points = np.concatenate([p.apply(g[0].joints[0]) for p, g in zip(placed, groups, strict=True)]) - eye
    depth = points @ ahead
    most = math.tan(scene.FOV / 2)
    assert (depth > 0.5).all()
    assert np.abs(points @ up / depth).max() < most
    assert np.abs(points @ right / depth).max() < most * aspect
    tall = np.ptp(points[:22] @ up / depth[:22]) / (2 * most)
    assert many > 1 or tall > 0.5, "one person fills the picture"


def test_the_view_follows_smoothly_and_starts_at_rest() -> None:
    group: Group = (person(1.0, frames=100),)
    (placed,) = scene.placements([group])
    way = scene.followed(group, placed, rate=30.0)
    walked = placed.apply(group[0].joints[-1, 0]) - placed.apply(group[0].joints[0, 0])
    assert not way[0].any()
    assert not way[:, 1].any()
    np.testing.assert_allclose(way[-1, [0, 2]], walked[[0, 2]], atol=0.7)
    assert np.abs(np.diff(way, n=2, axis=0)).max() < 0.02
    still: Group = (person(frames=1),)
    assert not scene.followed(still, scene.placements([still])[0], rate=30.0).any()


def test_frames_that_are_not_finite_do_no_harm() -> None:
    joints = walker(30)
    joints[0] = np.nan
    group: Group = (figures.of_joints("", joints, fps=20.0),)
    placed = scene.placements([group])
    assert np.isfinite(placed[0].shift).all()
    assert np.isfinite(scene.followed(group, placed[0], rate=30.0)).all()
    assert np.isfinite(scene.camera([group], placed).position).all()


def test_figures_of_different_rates_share_one_time() -> None:
    fast = figures.of_joints("", walker(120), fps=120.0)
    slow = figures.of_joints("", walker(21), fps=20.0)
    shown = scene.Scene("", ((fast,), (slow,)))
    assert shown.duration == pytest.approx(1.0)
    assert shown.fps == 120.0
    assert (fast.frame_at(0.5), slow.frame_at(0.5)) == (60, 10)
