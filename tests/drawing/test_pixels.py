"""Lines of pixels cover what is near them."""

from __future__ import annotations

import numpy as np

from mocap_ray.drawing.pixels import lines


def test_a_line_covers_what_is_near_it() -> None:
    picture = lines(np.array([[5.0, 5.0], [15.0, 5.0]]), [(0, 1, (0, 0, 0))], height=10, width=20, thick=2.0)
    assert (picture[4:6, 5:15] == 0).all()
    assert (picture[:3] == 255).all()
    assert (picture[4, :3] == 255).all()
