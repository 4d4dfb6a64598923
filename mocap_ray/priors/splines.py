"""Monotonic rational quadratic splines for couplings: zuko's definition, fused on the CPU.

One coordinate is a map of [-bound, bound] to itself, the identity beyond, from 3 K - 1 unconstrained numbers: K widths,
K heights, K - 1 slopes (Durkan et al., Neural Spline Flows, 2019). In torch, a spline is about 60 small operations,
and a training step of few poses spends most of its time on their overhead. `call` computes value and derivative in
one numba loop, and its gradients in another one. GPUs, `torch.compile` and the inverse use zuko.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from mocap_ray.priors.kernels import SLOPE, spline_backward, spline_forward


def call(
    numbers: Float[Tensor, "B m per"], x: Float[Tensor, "B m"], *, bound: float
) -> tuple[Float[Tensor, "B m"], Float[Tensor, "B m"]]:
    """Value and log derivative of the splines at x.

    Args:
        numbers: unconstrained widths, heights and slopes of each spline; zeros give the identity.
        x: arguments.
        bound: splines bend within +- this value.
    """
    fused = x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)
    if fused and not torch.compiler.is_compiling():
        found: tuple[Tensor, Tensor] = _Fused.apply(numbers, x, bound)  # type: ignore[no-untyped-call]
        return found
    return _zuko(numbers, bound).call_and_ladj(x)


def inverse(
    numbers: Float[Tensor, "B m per"], y: Float[Tensor, "B m"], *, bound: float
) -> Float[Tensor, "B m"]:
    """The x at which the splines have the values y."""
    return _zuko(numbers, bound).inv(y)


class _Spline(Protocol):
    """The part of zuko's transforms that is used here; zuko has no type annotations."""

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return y and log |dy/dx|."""

    @property
    def inv(self) -> Callable[[Tensor], Tensor]:
        """The inverse."""


def _zuko(numbers: Float[Tensor, "B m per"], bound: float) -> _Spline:
    from zuko.transforms import MonotonicRQSTransform

    bins = (numbers.shape[-1] + 1) // 3
    widths, heights, slopes = torch.split(numbers, [bins, bins, bins - 1], -1)
    spline: _Spline = MonotonicRQSTransform(widths, heights, slopes, bound=bound, slope=SLOPE)
    return spline


class _Fused(torch.autograd.Function):
    """Value and log derivative by the kernels below; gradients of gradients are not available."""

    @staticmethod
    def forward(ctx: Any, numbers: Tensor, x: Tensor, bound: float) -> tuple[Tensor, Tensor]:
        x = x.contiguous()
        y, log_slope = torch.empty_like(x), torch.empty_like(x)
        shares = x.new_empty(x.numel(), 2 * ((numbers.shape[-1] + 1) // 3))
        spline_forward(_rows(numbers), _flat(x), bound, _flat(y), _flat(log_slope), shares.numpy())
        ctx.save_for_backward(numbers, x, shares)
        ctx.bound = bound
        return y, log_slope

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        numbers, x, shares = ctx.saved_tensors
        of_numbers, of_x = (
            torch.empty_like(numbers, memory_format=torch.contiguous_format),
            torch.empty_like(x),
        )
        to_y, to_slope = map(_flat, grads)
        spline_backward(
            _rows(numbers),
            _flat(x),
            ctx.bound,
            shares.numpy(),
            to_y,
            to_slope,
            _rows(of_numbers),
            _flat(of_x),
        )
        return of_numbers, of_x, None


def _flat(x: Tensor) -> Float[np.ndarray, "n"]:
    flat: Float[np.ndarray, "n"] = x.detach().contiguous().view(-1).numpy()
    return flat


def _rows(numbers: Tensor) -> Float[np.ndarray, "n per"]:
    rows: Float[np.ndarray, "n per"] = numbers.detach().contiguous().view(-1, numbers.shape[-1]).numpy()
    return rows
