"""A look at training poses before a training starts: joints that never move cannot be learned."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain, islice

import numpy as np
from jaxtyping import Float

from mocap_ray.dataset.poses import PoseRows
from mocap_ray.errors import UserError
from mocap_ray.priors.degeneracy import MIN_VARIANCE
from mocap_ray.priors.forms import JointChoice, joint_indices
from mocap_ray.priors.statistics import nothing_varies
from mocap_ray.skeleton import SMPLX_JOINTS

AT_MOST = 500_000
"""Poses to read, about a second from a disk. A larger data set in which nothing has moved by then is not refused here:
the training reads all of it, and decides."""


def require_movement(rows: PoseRows, joints: JointChoice) -> None:
    """Read poses until one of the chosen joints moves; where they do, the first row group is enough.

    Raises:
        UserError: no chosen joint moves in any pose, as with the hands of recordings that lack them.
        DataSetError: the rows cannot be read.
    """
    chosen = list(joint_indices(joints))
    low = np.full((len(chosen), 3), np.inf, np.float32)
    high, seen = -low, 0
    for poses in _spread(rows):
        if not len(poses):
            continue
        low = np.minimum(low, poses[:, chosen].min(0))
        high = np.maximum(high, poses[:, chosen].max(0))
        seen += len(poses)
        # A range is at least twice the standard deviation. NaN is left to the training, which names the clip.
        if not (high - low).max() < 2 * math.sqrt(MIN_VARIANCE) or seen > AT_MOST:
            return
    if seen:
        reasons = {f"{SMPLX_JOINTS[j]}.{axis}": "constant" for j in chosen for axis in "xyz"}
        raise UserError(nothing_varies(reasons, joints, count=seen))


def _spread(rows: PoseRows) -> Iterator[Float[np.ndarray, "n 55 3"]]:
    """The first row group of each shard, then the others: archives differ more than the clips of a shard."""
    firsts = (block for shard in rows.counts for block in islice(rows.blocks(shard), 1))
    others = (block for shard in rows.counts for block in islice(rows.blocks(shard), 1, None))
    return (block.rows for block in chain(firsts, others))
