"""Rotations from six numbers, and rotation vectors.

Zhou et al., On the Continuity of Rotation Representations in Neural Networks, 2019; the numbers are interleaved, as in
SPIN: entries 0, 2, 4 are the first column and 1, 3, 5 the second, before they are made orthonormal.
"""

from __future__ import annotations

import roma
import torch
from jaxtyping import Float
from torch import Tensor

_TINY = 1e-12


def matrix_from_6d(numbers: Float[Tensor, "*B 6"]) -> Float[Tensor, "*B 3 3"]:
    """Rotation matrices; each depends on its own six numbers alone, and every gradient is finite.

    Numbers without two independent columns, such as six zeros, give half a turn about Y, as the reference's do.
    """
    a, b = numbers[..., 0::2], numbers[..., 1::2]
    first = a / _length(a)
    b = b - (first * b).sum(-1, keepdim=True) * first
    second = b / _length(b)
    third = torch.linalg.cross(first, second, dim=-1)
    found = torch.stack([first, second, third], dim=-1)
    fallback = torch.diag(numbers.new_tensor([-1.0, 1.0, -1.0])).expand_as(found)
    dependent = (third * third).sum(-1) < 0.5  # 1 if they are orthonormal, else 0
    return torch.where(dependent[..., None, None], fallback, found)


def rotvec_from_matrix(R: Float[Tensor, "*B 3 3"]) -> Float[Tensor, "*B 3"]:
    """Rotation vectors with angle in [0, pi], rad. For losses compare matrices: this map has no gradient at pi."""
    found: Tensor = roma.rotmat_to_rotvec(R)
    return found


def _length(v: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 1"]:
    return (v * v).sum(-1, keepdim=True).clamp_min(_TINY**2).sqrt()
