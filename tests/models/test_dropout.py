"""Dropout keeps the law of torch's own, and repeats with its seed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mocap_ray.models.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(1000, 257), (3, 7), (1,)])
def test_a_number_is_dropped_or_scaled_so_that_means_stay(p: float, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer, x = Dropout(p).double(), torch.ones(shape, dtype=torch.float64)
    out = layer(x)
    kept = out[out != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - p)), rtol=2e-4 / (1 - p), atol=0)
    if x.numel() > 1000:
        error = (p * (1 - p) / x.numel()) ** 0.5
        assert abs(float((out == 0).double().mean()) - p) < 5 * error
        assert abs(float(out.mean()) - 1) < 5 * error / (1 - p)
        # Rows and neighbours are independent: one draw decides over four numbers.
        dropped = (out == 0).double() - p
        assert abs(float((dropped[:, 1:] * dropped[:, :-1]).mean())) < 5 * p * (1 - p) / x.numel() ** 0.5


def test_the_gradient_passes_where_the_number_did() -> None:
    torch.manual_seed(0)
    x = torch.randn(50, 30, requires_grad=True)
    out = Dropout(0.3)(x)
    out.sum().backward()
    torch.testing.assert_close(x.grad * x, out)  # type: ignore[operator]


def test_equal_seeds_drop_equal_numbers_and_evaluation_drops_none() -> None:
    layer, x = Dropout(0.3), torch.randn(40, 9)
    torch.manual_seed(5)
    first = layer(x)
    torch.manual_seed(5)
    assert torch.equal(layer(x), first)
    assert not torch.equal(layer(x), first)
    assert layer.eval()(x) is x


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_none_and_all_are_torchs_own(p: float) -> None:
    x = torch.randn(5, 4)
    assert torch.equal(Dropout(p)(x), nn.Dropout(p)(x))
