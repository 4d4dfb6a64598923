"""A page that shows only poses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from mocap_ray.drawing import templates
from mocap_ray.pages import TEMPLATES
from mocap_ray.priors import pictures


def gallery(
    rows: Sequence[tuple[str, Float[np.ndarray, "_ 55 3"]]], *, joints: Sequence[int], title: str
) -> str:
    """Render rows of poses, all at one scale.

    Args:
        rows: a heading, which may be empty, and its poses as axis-angle of the 55 SMPL-X joints.
        joints: the joints that a prior models; if all are of hands, hands are drawn.
        title: title of the page.
    """
    hands = all(j >= 25 for j in joints)
    labels = [f"{name or 'Pose'} {k + 1}" for name, poses in rows for k in range(len(poses))]
    every = np.concatenate([poses for _, poses in rows])
    drawn = (pictures.hand_figures if hands else pictures.body_figures)(every, labels=labels)
    parts = []
    for name, poses in rows:
        parts.append((name, drawn[: len(poses)]))
        drawn = drawn[len(poses) :]
    return templates.render_page(
        f"{TEMPLATES}/gallery.html.j2",
        title=title,
        styles=[f"{TEMPLATES}/gallery.css"],
        rows=parts,
        hands=hands,
    )
