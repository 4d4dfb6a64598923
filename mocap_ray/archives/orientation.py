"""Axes of a source that the user states, as `source.axes`."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from mocap_ray.errors import UserError


def to_y_up(axes: str) -> Float64[np.ndarray, "3 3"]:
    """[3, 3] from the axes of a file to Y up; a reflection if those of the file are left-handed.

    Args:
        axes: which axes of the file become x, y and z of the data set, where y points up: `x y z` if Y is up in the
            file, `x z -y` if Z is.

    Raises:
        UserError: not three different axes.

    >>> to_y_up("x z -y").tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]
    """
    out = np.zeros((3, 3))
    words = axes.lower().split()
    if sorted(word.lstrip("-") for word in words) != ["x", "y", "z"] or any(len(w) > 2 for w in words):
        raise UserError(
            f"axes {axes!r}; expected which axes of the file become x, y (up) and z, such as 'x y z' if Y is up in the "
            "file, or 'x z -y' if Z is"
        )
    for row, word in enumerate(words):
        out[row, "xyz".index(word[-1])] = -1.0 if word.startswith("-") else 1.0
    return out
