"""Solvers on velocity fields with a known solution, and noise that belongs to its seed alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mocap_ray.errors import UserError
from mocap_ray.generation.solvers import SOLVERS, check_solver, noise_of, solve


def _turning(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """A turn with the angular velocity t: by half a radian from 0 to 1."""
    return t[:, None] * torch.stack([-x[:, 1], x[:, 0]], dim=1)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_straight_flow_is_exact_in_one_step(solver: str) -> None:
    noise, target = torch.randn(2, 3, 4, dtype=torch.float64), torch.randn(2, 3, 4, dtype=torch.float64)
    found = solve(lambda x, t: target - noise, noise, steps=1, solver=solver)
    torch.testing.assert_close(found, target)


@pytest.mark.parametrize("solver", SOLVERS)
def test_halving_the_step_divides_the_error_by_the_order(solver: str) -> None:
    start = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    true = torch.tensor([[math.cos(0.5), math.sin(0.5)]], dtype=torch.float64)
    coarse, fine = (float((solve(_turning, start, steps=n, solver=solver) - true).norm()) for n in (32, 64))
    assert math.log2(coarse / fine) == pytest.approx(SOLVERS[solver], abs=0.15)


@pytest.mark.parametrize("solver", SOLVERS)
def test_each_step_evaluates_as_often_as_the_table_says_and_reports(solver: str) -> None:
    times: list[float] = []
    done: list[tuple[int, int]] = []

    def velocity(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        assert t.shape == (5,)
        assert bool((t == t[0]).all())
        times.append(float(t[0]))
        return torch.zeros_like(x)

    solve(velocity, torch.zeros(5, 2), steps=3, solver=solver, progress=lambda k, n: done.append((k, n)))
    assert len(times) == 3 * SOLVERS[solver]
    assert min(times) == 0.0
    assert max(times) <= 1.0
    assert done == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("solver", "steps", "text"), [("rk4", 4, "euler, midpoint, heun"), ("heun", 0, "at least 1")]
)
def test_unusable_solvers_are_refused(solver: str, steps: int, text: str) -> None:
    with pytest.raises(UserError, match=text):
        check_solver(solver, steps=steps)


def test_the_noise_of_a_seed_is_the_same_in_any_batch_and_any_padding() -> None:
    alone = noise_of([11], [6], width=8)[0]
    batch = noise_of([3, 11, 2**40], [9, 6, 2], width=8, rows=20)
    assert batch.shape == (3, 20, 8)
    assert batch.dtype == torch.float32
    assert torch.equal(batch[1, :6], alone)
    assert not batch[1, 6:].any()
    assert not batch[2, 2:].any()
    assert torch.equal(noise_of([11], [4], width=8)[0], alone[:4])
    assert not torch.equal(batch[0, :6], alone)


def test_the_noise_is_standard_normal() -> None:
    drawn = noise_of(range(64), [64] * 64, width=32).numpy()
    assert abs(drawn.mean()) < 0.02
    assert abs(drawn.std() - 1) < 0.02
    across = drawn.reshape(64, -1)
    assert np.abs(np.corrcoef(across) - np.eye(64)).max() < 0.15
