"""A pass over shards on a real local Ray gives what a pass in this process gives."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

import mocap_ray
from mocap_ray.dataset.stats import statistics
from mocap_ray.dataset.validation import validate
from mocap_ray.distributed.passes import ray_pass
from mocap_ray.errors import UserError
from mocap_ray.runs.ray import RayOptions
from mocap_ray.shards.running import RunFailed

pytestmark = pytest.mark.ray


def refused(number: int) -> int:
    if number == 3:
        raise UserError("the third is wrong")
    return number


def deadly(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_statistics_and_checks_are_the_same_on_ray(data_set: Path) -> None:
    ds = mocap_ray.open(data_set)
    with ray_pass(RayOptions(workers=2)) as run:
        seen: list[tuple[int, int]] = []
        found = statistics(ds, run=run, progress=lambda *at: seen.append(at))
        assert seen[-1] == (len(ds.selected(split="train")),) * 2
        checked = validate(ds, run=run)
        with pytest.raises(UserError, match="the third is wrong"):
            list(run(refused, range(5)))
        assert list(run(refused, [])) == []
    alone = statistics(ds)
    np.testing.assert_array_equal(found.moments.mean, alone.moments.mean)
    np.testing.assert_array_equal(found.moments.m2, alone.moments.m2)
    assert checked == validate(ds)
    assert checked.problems == ()


@pytest.mark.slow
def test_a_worker_that_keeps_dying_is_a_sentence() -> None:
    with (
        ray_pass(RayOptions(workers=2)) as run,
        pytest.raises(RunFailed, match="a worker died several times"),
    ):
        list(run(deadly, range(5)))
