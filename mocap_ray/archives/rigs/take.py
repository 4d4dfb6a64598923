"""A rig and its motion as read from a file, before anything is known of the person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

X_POSITION, Y_POSITION, Z_POSITION, X_ROTATION, Y_ROTATION, Z_ROTATION = range(6)
"""What a channel is: codes below `X_ROTATION` are positions."""

MOST_BYTES = 256 << 20
"""Of a text; 45 minutes of 100 channels at 120 fps. Its numbers take at most four times as much memory."""
MOST_JOINTS = 1024
"""Of a rig, with the ends of its bones: hands and a face have some hundreds."""
MOST_CHANNELS = 6 * MOST_JOINTS
MOST_FRAMES = 2_000_000
"""Of a take: 4.6 hours at 120 fps, of which 22 joints take 1 GB."""

END = ".end"
"""The end of a bone without a child (BVH: `End Site`) is called like its joint, with this ending."""


@dataclass(frozen=True, slots=True, eq=False)
class Skeleton:
    """The joints of a rig.

    Attributes:
        names: by which maps name them; the first joint of a name counts.
        parents: index of the parent, which is smaller than the joint's own; -1 for the root.
        offsets: [J, 3] position in the frame of the parent, in units of the file.
        channels: of each joint, (code, column of the values), in the order in which rotations multiply from the left.
            Position channels replace the offset.
        turns: [J, 3, 3] rotation that comes before the channels of a joint; None if there are none.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: Float64[np.ndarray, "J 3"]
    channels: tuple[tuple[tuple[int, int], ...], ...]
    turns: Float64[np.ndarray, "J 3 3"] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Take:
    """The motion of a rig.

    Attributes:
        skeleton: the rig.
        values: [T, C] one column for each channel: positions in units of the file, rotations in degrees.
        fps: frames per second; None if the file does not say.
        metre: metres in a unit of length; None if the file does not say.
    """

    skeleton: Skeleton
    values: Float[np.ndarray, "T C"]
    fps: float | None
    metre: float | None = None
