"""Learning rates: each schedule against its formula, and warm-up with all of them."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from mocap_ray.training.options import TrainingOptions
from mocap_ray.training.schedule import Schedule


def _schedule(**settings: object) -> Schedule:
    return Schedule(TrainingOptions(**{"learning_rate": 0.1, "max_epochs": 20, **settings}))  # type: ignore[arg-type]


def _rates(schedule: Schedule, steps: int, *, epochs: int) -> list[float]:
    return [
        schedule.rate(step=e * steps + k, epochs=e + k / steps) for e in range(epochs) for k in range(steps)
    ]


def test_none_is_constant() -> None:
    assert set(_rates(_schedule(scheduler="none"), 5, epochs=4)) == {0.1}


def test_cosine_and_step_agree_with_torch() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    for name in ("cosine", "step"):
        optimiser = torch.optim.SGD([parameter], lr=0.1)
        theirs: torch.optim.lr_scheduler.LRScheduler = (
            torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=20)
            if name == "cosine"
            else torch.optim.lr_scheduler.StepLR(optimiser, step_size=3, gamma=0.5)
        )
        ours = _schedule(scheduler=name, step_size=3, gamma=0.5)
        for epoch in range(20):
            assert ours.rate(step=epoch, epochs=float(epoch)) == pytest.approx(
                theirs.get_last_lr()[0], rel=1e-9
            )
            optimiser.step()
            theirs.step()


def test_cosine_falls_within_epochs_and_ends_near_zero() -> None:
    rates = _rates(_schedule(scheduler="cosine"), 10, epochs=20)
    assert all(a > b for a, b in itertools.pairwise(rates))
    assert rates[-1] < 1e-4 * rates[0]


@pytest.mark.parametrize("scheduler", ["none", "step", "cosine", "plateau"])
def test_warm_up_rises_in_equal_steps_to_the_schedules_own_rate(scheduler: str) -> None:
    warm = _rates(_schedule(scheduler=scheduler, warmup_steps=8), 10, epochs=2)
    cold = _rates(_schedule(scheduler=scheduler), 10, epochs=2)
    assert [a / b for a, b in zip(warm[:8], cold, strict=False)] == pytest.approx(
        [k / 8 for k in range(1, 9)]
    )
    assert warm[8:] == cold[8:]


def test_plateau_decays_after_patience_validations_without_improvement() -> None:
    schedule = _schedule(scheduler="plateau", plateau_patience=1, gamma=0.5, min_delta=0.1)
    decays = []
    for loss in (1.0, 0.95, 0.92, 0.8, 0.79, math.nan, 0.78, 0.78):
        schedule.record(loss)
        decays.append(schedule.decay)
    assert decays == [1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125]


def test_a_restored_plateau_continues_equally() -> None:
    losses = [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5]
    whole, first, second = (_schedule(scheduler="plateau", plateau_patience=1) for _ in range(3))
    for loss in losses:
        whole.record(loss)
    for loss in losses[:3]:
        first.record(loss)
    second.restore(first.state())
    for loss in losses[3:]:
        second.record(loss)
    assert second.state() == whole.state()
    assert whole.decay < 1
