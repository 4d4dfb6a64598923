"""The fused splines against zuko, their oracle."""

from __future__ import annotations

import pytest
import torch

from mocap_ray.priors import splines
from mocap_ray.priors.splines import _zuko


def made(bins: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(bins)
    numbers = 3 * torch.randn(40, 9, 3 * bins - 1, generator=generator, dtype=torch.float64)
    x = 3 * torch.randn(40, 9, generator=generator, dtype=torch.float64)
    x[0, :6] = torch.tensor([-5.0, 5.0, 0.0, -5.0 + 1e-9, 5.0 - 1e-9, 1e6])
    return numbers.to(dtype).requires_grad_(), x.to(dtype).requires_grad_()


@pytest.mark.parametrize("bins", [2, 3, 8])
@pytest.mark.parametrize(("dtype", "off"), [(torch.float64, 1e-9), (torch.float32, 1e-3)])
def test_values_and_gradients_are_those_of_zuko(bins: int, dtype: torch.dtype, off: float) -> None:
    numbers, x = made(bins, dtype)
    found, expected = splines.call(numbers, x, bound=5.0), _zuko(numbers, 5.0).call_and_ladj(x)
    weights = [torch.randn(40, 9, dtype=dtype, generator=torch.Generator().manual_seed(k)) for k in (1, 2)]
    # At the bound itself a spline has two derivatives, and either is right.
    inner = (x.detach().abs() - 5).abs() > 1e-6
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a[inner], b[inner], atol=off, rtol=off)
    grads = [
        torch.autograd.grad(
            sum((o * w)[inner].sum() for o, w in zip(out, weights, strict=True)), (numbers, x)
        )
        for out in (found, expected)
    ]
    for a, b in zip(*grads, strict=True):
        assert torch.allclose(a, b, atol=off * float(b.abs().max()), rtol=off)


def test_gradients_are_those_of_finite_differences() -> None:
    numbers, x = made(4, torch.float64)
    some = numbers.detach()[1:4, :3].clone().requires_grad_(), x.detach()[1:4, :3].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda n, v: splines.call(n, v, bound=5.0), some, atol=1e-5)


def test_the_inverse_inverts_and_beyond_the_bound_all_is_left_alone() -> None:
    numbers, x = made(8, torch.float64)
    y, log_slope = splines.call(numbers, x, bound=5.0)
    outside = x.abs() > 5
    assert torch.equal(y[outside], x[outside])
    assert (log_slope[outside] == 0).all()
    assert torch.allclose(splines.inverse(numbers, y, bound=5.0), x, atol=1e-6)


def test_zeros_give_the_identity() -> None:
    _, x = made(8, torch.float64)
    y, log_slope = splines.call(torch.zeros(40, 9, 23, dtype=torch.float64), x, bound=5.0)
    assert torch.allclose(y, x, atol=1e-12)
    assert torch.allclose(log_slope, torch.zeros_like(x), atol=1e-12)


def test_strided_numbers_and_arguments_give_the_same() -> None:
    numbers, x = made(3, torch.float64)
    wide = torch.stack([numbers, numbers], 2)[:, :, 0]
    every = torch.stack([x, x], 1)[:, 1]
    for a, b in zip(splines.call(wide, every, bound=5.0), splines.call(numbers, x, bound=5.0), strict=True):
        assert torch.equal(a, b)


def test_no_rows_give_no_rows() -> None:
    y, log_slope = splines.call(torch.zeros(0, 9, 23), torch.zeros(0, 9), bound=5.0)
    assert y.shape == log_slope.shape == (0, 9)
