"""The mirrored twin of a clip: joints and captions with left and right swapped."""

from __future__ import annotations

import re

import numpy as np
from jaxtyping import Float

from mocap_ray.skeleton import MIRROR_BODY

_SWAPS = {
    "left": "right",
    "lefts": "rights",
    "leftward": "rightward",
    "leftwards": "rightwards",
    "leftmost": "rightmost",
    "lefthand": "righthand",
    "lefthanded": "righthanded",
    "clockwise": "counterclockwise",
    "counterclockwise": "clockwise",
    "counter-clockwise": "clockwise",
    "anticlockwise": "clockwise",
    "anti-clockwise": "clockwise",
}
_SWAPS |= {b: a for a, b in _SWAPS.items() if b not in _SWAPS}
_WORD = re.compile(
    r"(?<![^\W_])(" + "|".join(sorted(_SWAPS, key=len, reverse=True)) + r")(?![^\W_])", re.IGNORECASE
)
_MIRROR = list(MIRROR_BODY)


def mirror_joints(joints: Float[np.ndarray, "*batch 22 3"]) -> Float[np.ndarray, "*batch 22 3"]:
    """Joints of the mirrored person: x negated, left and right joints swapped; its own inverse.

    Args:
        joints: [*batch, 22, 3]; the result is a new array of the same dtype.
    """
    return np.asarray(joints[..., _MIRROR, :] * np.array([-1, 1, 1], dtype=joints.dtype))


def mirror_text(text: str) -> str:
    """A caption of the mirrored motion: left and right, clockwise and counterclockwise are swapped.

    Only whole words are swapped, also in tagged tokens (`left/ADJ`); their case is kept. Words with several
    meanings are swapped too, as in HumanML3D (`right away` becomes `left away`).

    >>> mirror_text("Upright, he turns Left and clockwise")
    'Upright, he turns Right and counterclockwise'
    """
    return _WORD.sub(lambda found: _cased(_SWAPS[found[0].lower()], found[0]), text)


def _cased(word: str, like: str) -> str:
    """`word` in the case of `like`: upper, title or lower."""
    if like.isupper():
        return word.upper()
    return word.capitalize() if like[0].isupper() else word
