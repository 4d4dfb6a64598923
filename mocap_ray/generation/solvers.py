"""Ordinary differential equations of rectified flows: from noise at t = 0 to a sample at t = 1, and the noise itself.

A velocity function takes x [B, ...] and times [B] and gives dx/dt. All solvers step from t = 0 to t = 1 in equal
steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mocap_ray.errors import UserError

Velocity = Callable[[Tensor, Tensor], Tensor]
"""Of x [B, ...] at times t [B], the velocity [B, ...]."""
SOLVERS: dict[str, int] = {"euler": 1, "midpoint": 2, "heun": 2}
"""Name of a solver -> evaluations of the velocity in each step; its order of convergence is the same number."""
Progress = Callable[[int, int], None]
"""Called after each step with the number of steps done, and the total."""


def check_solver(solver: str, *, steps: int) -> None:
    """Raise UserError for an unknown solver, or fewer than one step."""
    if steps < 1:
        raise UserError(f"--steps {steps}: expected at least 1 step.")
    if solver not in SOLVERS:
        raise UserError(f"--solver {solver}: no such solver. Expected one of {', '.join(SOLVERS)}.")


def solve(
    velocity: Velocity,
    noise: Float[Tensor, "B *shape"],
    *,
    steps: int,
    solver: str = "heun",
    progress: Progress | None = None,
) -> Float[Tensor, "B *shape"]:
    """The samples that noise flows to.

    Args:
        velocity: of x [B, ...] at times t [B].
        noise: x at t = 0.
        steps: number of equal steps.
        solver: `euler` evaluates the velocity once a step, `midpoint` and `heun` (explicit trapezoid) twice.
        progress: called after each step.

    Returns:
        x at t = 1, on the device and in the dtype of the noise.

    Raises:
        UserError: an unknown solver, or fewer than one step.
    """
    check_solver(solver, steps=steps)
    x, h = noise, 1.0 / steps

    def at(x: Tensor, t: float) -> Tensor:
        return velocity(x, torch.full((len(x),), t, dtype=x.dtype, device=x.device))

    for step in range(steps):
        t = step / steps
        slope = at(x, t)
        if solver == "midpoint":
            slope = at(x + 0.5 * h * slope, t + 0.5 * h)
        elif solver == "heun":
            slope = 0.5 * (slope + at(x + h * slope, (step + 1) / steps))
        x = x + h * slope
        if progress is not None:
            progress(step + 1, steps)
    return x


def noise_of(
    seeds: Sequence[int], counts: Sequence[int], *, width: int, rows: int | None = None
) -> Float[Tensor, "B K D"]:
    """Standard normal noise of samples, each drawn from its own seed.

    It is drawn on the CPU, row by row and with NumPy's generator, which gives the same numbers on every machine. So
    the noise of a seed depends neither on the other samples of a batch nor on the padding, and a longer sample begins
    with the noise of a shorter one.

    Args:
        seeds: of the samples, not negative.
        counts: rows of each sample; zeros follow.
        width: numbers in a row.
        rows: rows of the result; the largest count by default.

    >>> alone, pair = noise_of([7], [3], width=4), noise_of([1, 7], [5, 3], width=4)
    >>> bool((alone[0] == pair[1, :3]).all()), float(pair[1, 3:].abs().max())
    (True, 0.0)
    """
    out = np.zeros((len(seeds), max(counts, default=0) if rows is None else rows, width), np.float32)
    for sample, seed, count in zip(out, seeds, counts, strict=True):
        sample[:count] = np.random.default_rng(seed).standard_normal((count, width), np.float32)
    return torch.from_numpy(out)
