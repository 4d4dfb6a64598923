"""Sizes of the network, and which of its tokens each head reads.

The task tokens are structural: the heads read fixed slices of them, so their number is the same at every size.
Source: the layout of the checkpoint of SMPLest-X (Yin et al., SMPLest-X, 2025); S, B and L have the widths of ViTPose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mocap_ray.errors import UserError

PATCH = 16
"""Side of a patch, pixels."""
PADDING = 2
"""Zeros around the image before it is cut into patches, pixels."""
TASK_TOKENS = 80


@dataclass(frozen=True, slots=True)
class Geometry:
    """The sizes that differ between networks.

    Attributes:
        width: numbers per token.
        depth: blocks of the encoder.
        heads: attention heads of the encoder; no weight shows them.
        token_width: numbers per task token that the read-out heads see.
        height, image_width: of the image that the network sees, pixels.
    """

    width: int
    depth: int
    heads: int
    token_width: int = 512
    height: int = 256
    image_width: int = 192

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of {self.heads} heads")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        rows, columns = ((n + 2 * PADDING - PATCH) // PATCH + 1 for n in (self.height, self.image_width))
        return rows, columns


SIZES: Mapping[str, Geometry] = {
    "s": Geometry(width=384, depth=12, heads=12),
    "b": Geometry(width=768, depth=12, heads=12),
    "l": Geometry(width=1024, depth=24, heads=16),
    "h": Geometry(width=1280, depth=32, heads=16),
}
"""Name -> geometry; weights are published for `h` only."""


@dataclass(frozen=True, slots=True)
class Head:
    """A linear read-out head.

    Attributes:
        name: as in the state dict, without `dec_`.
        start, stop: the task tokens it reads.
        size: numbers it gives.
    """

    name: str
    start: int
    stop: int
    size: int


HEADS = (
    Head("body_root_pose", 0, 1, 6),
    Head("body_pose", 1, 22, 126),
    Head("body_shape", 22, 32, 10),
    Head("body_cam", 32, 33, 3),
    Head("hand_root_pose", 33, 35, 12),
    Head("hand_pose", 35, 65, 180),
    Head("face_expression", 68, 78, 10),
    Head("face_jaw_pose", 78, 79, 6),
)
"""The heads that are trained. `hand_root_pose` is an auxiliary task: only a training reads it."""

UNTRAINED_HEADS = (
    Head("hand_cam", 65, 67, 6),
    Head("face_root_pose", 67, 68, 6),
    Head("face_cam", 79, 80, 3),
)
"""Heads of the published checkpoint that no loss of the reference reaches: their numbers are random."""


def find_size(name: str) -> Geometry:
    """The geometry of a size by its name, in any case. Raises UserError for another name."""
    if name.lower() not in SIZES:
        raise UserError(f"size {name!r}: no such size. Expected one of: {', '.join(SIZES)}.")
    return SIZES[name.lower()]
