"""Sheets of poses: bodies and hands with their sides told apart, and a line where it should be."""

from __future__ import annotations

import numpy as np

from mocap_ray.priors.sheets import HEIGHT, WIDTH, lines, sheet


def test_pictures_of_bodies_and_hands_show_left_and_right() -> None:
    poses = np.zeros((3, 55, 3), np.float32)
    poses[2, 0, 0] = np.nan
    for hands in (False, True):
        picture = sheet(poses, hands=hands)
        assert picture.shape == (HEIGHT, 3 * WIDTH, 3)
        left, right = ((picture == colour).all(-1) for colour in ((0, 114, 178), (213, 94, 0)))
        assert left[:, :WIDTH].sum() > 50
        assert right[:, :WIDTH].sum() > 50
        assert np.array_equal(picture[:, :WIDTH], picture[:, WIDTH : 2 * WIDTH])
        assert (picture[:, 2 * WIDTH :] == 255).all()  # not finite: empty


def test_a_line_covers_what_is_near_it() -> None:
    picture = lines(
        np.array([[5.0, 5.0], [15.0, 5.0]]), [(0, 1)], [(0, 0, 0)], height=10, width=20, thick=1.0
    )
    assert (picture[4:6, 5:15] == 0).all()
    assert (picture[:3] == 255).all()
    assert (picture[4, :3] == 255).all()
