"""Pictures show the motion that they are given, at any place and facing."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from mocap_ray.drawing import figures, stick
from mocap_ray.skeleton import MIRROR_BODY
from tests.dataset.made import walker

SVG = "{http://www.w3.org/2000/svg}"


def moved(joints: np.ndarray, *, degrees: float, by: tuple[float, float, float]) -> np.ndarray:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return joints @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]) + np.array(by)


def decoded(data: dict[str, float | int | str]) -> np.ndarray:
    steps = np.frombuffer(base64.b64decode(str(data["data"])), "<i2")
    return steps.reshape(-1, 22, 3) * float(data["unit"])


@pytest.mark.parametrize("degrees", [0, 37, 90, 180, 271])
def test_place_and_facing_do_not_matter(degrees: float) -> None:
    joints = walker(50)
    other = moved(joints, degrees=degrees, by=(3.0, 0.7, -8.0))
    np.testing.assert_allclose(stick.grounded(other), stick.grounded(joints), atol=1e-9)


def test_grounded_stands_on_the_floor_over_the_origin_facing_z() -> None:
    p = stick.grounded(moved(walker(50), degrees=-120, by=(1.0, -4.0, 2.0)))
    assert p[..., 1].min() == 0
    np.testing.assert_allclose(p[0, 0, [0, 2]], 0, atol=1e-12)
    assert p[0, 1, 0] > p[0, 2, 0]  # the left hip is at +X
    assert p[-1, 0, 2] > 2  # and the figure walks along +Z


def test_a_film_strip_is_well_formed_and_has_a_pose_for_each_moment() -> None:
    root = ET.fromstring(figures.film_strip(walker(61), fps=20.0, label='a <b> & "c"', poses=7))
    times = [t.text for t in root.iter(f"{SVG}text")]
    assert times == ["0.0 s", "0.5 s", "1.0 s", "1.5 s", "2.0 s", "2.5 s", "3.0 s"]
    assert root.get("aria-label") == root.find(f"{SVG}title").text == 'a <b> & "c"'
    lines = [x.get("class") for x in root.iter(f"{SVG}line")]
    sides = {s: lines.count(f"mr-{s}") for s in "lrt"}
    assert sides == {"l": 7 * 8, "r": 7 * 8, "t": 7 * 5}
    width, height = (float(v) for v in root.get("viewBox").split()[2:])
    for x in root.iter(f"{SVG}line"):
        assert 0 <= float(x.get("x1")) <= width
        assert 0 <= float(x.get("y1")) <= height


def test_the_mirrored_motion_is_drawn_as_the_mirror_image() -> None:
    joints = walker(30)
    mirrored = (joints * (-1, 1, 1))[:, MIRROR_BODY]
    a, b = (stick.grounded(j) for j in (joints, mirrored))
    np.testing.assert_allclose(b[:, 7], a[:, 8] * (-1, 1, 1), atol=1e-12)
    assert stick.side(7) == "l"
    assert stick.side(8) == "r"


def test_nearer_limbs_are_thicker_and_drawn_later() -> None:
    standing = np.repeat(walker(1), 2, axis=0)
    root = ET.fromstring(figures.film_strip(standing, fps=20.0, label="x", poses=1))
    lines = [x for x in root.iter(f"{SVG}line") if x.get("class") in ("mr-l", "mr-r")]
    # Facing right and towards the viewer, the right side of the body is the near one.
    widths = {
        c: np.mean([float(x.get("stroke-width")) for x in lines if x.get("class") == c])
        for c in ("mr-l", "mr-r")
    }
    assert widths["mr-r"] > widths["mr-l"]
    assert lines[-1].get("class") == "mr-r"


def test_fewer_frames_than_poses_show_each_frame_once() -> None:
    root = ET.fromstring(figures.film_strip(walker(3), fps=20.0, label="x", poses=8))
    assert len(list(root.iter(f"{SVG}text"))) == 3
    assert ET.fromstring(figures.chronophotograph(walker(1), label="x")) is not None


@pytest.mark.parametrize("speed", [0.0, 0.1])
def test_a_chronophotograph_holds_every_pose_inside_its_frame(speed: float) -> None:
    root = ET.fromstring(figures.chronophotograph(walker(60, speed=speed), label="x", poses=9))
    assert len(root.findall(f"{SVG}g/{SVG}g")) == 9
    width = float(root.get("viewBox").split()[2])
    assert all(0 <= float(x.get("x2")) <= width for x in root.iter(f"{SVG}line"))


def test_the_player_gets_the_motion_to_a_millimetre() -> None:
    joints = moved(walker(80), degrees=50, by=(0, 1, 0))
    data = figures.player_data(joints, fps=20.0)
    assert data["frames"] == 80
    np.testing.assert_allclose(decoded(data), stick.grounded(joints), atol=0.00051)


def test_a_figure_that_walks_far_does_not_overflow() -> None:
    joints = walker(1000, speed=0.2)  # 200 m
    np.testing.assert_allclose(
        decoded(figures.player_data(joints, fps=20.0)), stick.grounded(joints), atol=0.004
    )


def test_the_liveliest_stretch_is_chosen_and_a_standstill_starts_at_zero() -> None:
    still = np.repeat(walker(1), 100, axis=0)
    assert figures.excerpt(still, fps=20.0, seconds=2.0) == (0, 40)
    late = np.concatenate([still, walker(40, speed=0.2)])
    start, stop = figures.excerpt(late, fps=20.0, seconds=2.0)
    assert stop - start == 40
    assert start >= 98
    assert figures.excerpt(still[:7], fps=20.0, seconds=2.0) == (0, 7)


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match="no frames; expected at least one"):
        figures.film_strip(np.zeros((0, 22, 3)), fps=20.0, label="x")
    broken = walker(4)
    broken[2, 3, 1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        figures.player_data(broken, fps=20.0)


def test_a_figure_without_a_facing_keeps_its_direction() -> None:
    assert np.isfinite(stick.grounded(np.zeros((2, 22, 3)))).all()
    assert "nan" not in figures.film_strip(np.zeros((2, 22, 3)), fps=20.0, label="x")
