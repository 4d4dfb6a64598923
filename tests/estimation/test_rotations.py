"""Rotations from six numbers: orthonormal, inverse of taking columns, finite gradients everywhere."""

from __future__ import annotations

import math

import pytest
import roma
import torch

from mocap_ray.estimation.rotations import matrix_from_6d, rotvec_from_matrix


def six(R: torch.Tensor) -> torch.Tensor:
    """The first two columns, interleaved: row by row."""
    return R[..., :2].flatten(-2)


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (3,)])
def test_columns_of_a_rotation_give_it_back(shape: tuple[int, ...]) -> None:
    R = roma.random_rotmat(shape, dtype=torch.float64)
    torch.testing.assert_close(matrix_from_6d(six(R)), R)
    torch.testing.assert_close(roma.rotvec_to_rotmat(rotvec_from_matrix(R)), R)


def test_any_six_numbers_give_a_rotation() -> None:
    torch.manual_seed(0)
    numbers = torch.cat(
        [torch.randn(1000, 6) * 10.0 ** torch.arange(-4, 4).repeat(125)[:, None], torch.zeros(1, 6)]
    )
    parallel = torch.randn(10, 3).repeat_interleave(2, dim=-1)
    found = matrix_from_6d(torch.cat([numbers, parallel]).double())
    eye = torch.eye(3, dtype=torch.float64).expand_as(found)
    torch.testing.assert_close(found @ found.mT, eye, rtol=0, atol=1e-9)
    assert (torch.linalg.det(found) > 0).all()


def test_zeros_give_half_a_turn_about_y() -> None:
    vector = rotvec_from_matrix(matrix_from_6d(torch.zeros(6)))
    torch.testing.assert_close(vector.abs(), torch.tensor([0.0, math.pi, 0.0]))


@pytest.mark.parametrize(
    "numbers", [[1, 0, 0, 1, 0, 0], [0] * 6, [1, 1, 2, 2, 3, 3], [1e-9, 0, 0, 1e-9, 0, 0]]
)
def test_gradients_are_finite(numbers: list[float]) -> None:
    x = torch.tensor(numbers, dtype=torch.float64, requires_grad=True)
    matrix_from_6d(x).square().sum().backward()
    (matrix_from_6d(x) * torch.arange(9.0).view(3, 3)).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
