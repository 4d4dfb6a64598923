"""Waiting for nodes that an autoscaler adds: says for what, and gives up with a remedy."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import ray
from ray.util.placement_group import placement_group, remove_placement_group

from mocap_ray.distributed.cluster import NoCluster
from mocap_ray.distributed.resources import Capacity, amount
from mocap_ray.wording import duration

Note = Callable[[str], None]
"""Is called with a sentence for the user."""
SILENT_S = 2.0
"""How long nothing is said: a cluster that has room answers sooner."""
EVERY_S = 30.0
"""Seconds between two sentences."""


def wait_for(bundles: Sequence[Mapping[str, float]], note: Note, *, at_most_s: float, of: str) -> None:
    """Wait until the connected cluster has room for all bundles at the same time; its autoscaler sees the demand.

    Args:
        bundles: CPUs and GPUs of each worker.
        note: is called while waiting.
        at_most_s: seconds after which to give up.
        of: what the workers are for, such as "the extraction".

    Raises:
        NoCluster: the cluster did not provide it within `at_most_s`.
    """
    need = _sum(bundles)
    since, said = time.monotonic(), 0.0
    group = placement_group([dict(bundle) for bundle in bundles], strategy="PACK")
    try:
        while not group.wait(1):
            waited = time.monotonic() - since
            if waited > at_most_s:
                raise NoCluster(given_up(need, _there(), waited, of=of))
            if waited > SILENT_S and waited - said >= EVERY_S * (said > 0):
                said = waited
                note(waiting(need, _there(), waited, of=of))
    finally:
        remove_placement_group(group)


def waiting(need: Capacity, free: Capacity, waited_s: float, *, of: str) -> str:
    """What is said while waiting."""
    return (
        f"Waiting for the cluster: {of} needs {_text(need)}, {_free(free)}; asked {duration(waited_s)} ago."
    )


def given_up(need: Capacity, free: Capacity, waited_s: float, *, of: str) -> str:
    """What is said at the end of waiting in vain."""
    return (
        f"{of.capitalize()} needs {_text(need)}, but after {duration(waited_s)} {_free(free)}. Look at `ray status` "
        "on the head: nodes may fail to start, or other runs use them. Set ray.wait_s to wait longer."
    )


def _free(free: Capacity) -> str:
    return f"{_text(free)} {'is' if free == Capacity(1, 0) else 'are'} free"


def _there() -> Capacity:
    """What is free now."""
    free = ray.available_resources()
    return Capacity(free.get("CPU", 0.0), free.get("GPU", 0.0))


def _sum(bundles: Sequence[Mapping[str, float]]) -> Capacity:
    return Capacity(
        sum(bundle.get("CPU", 0.0) for bundle in bundles), sum(bundle.get("GPU", 0.0) for bundle in bundles)
    )


def _text(has: Capacity) -> str:
    """CPUs, and GPUs if there are any."""
    return amount(has.cpus, "CPU") + (f" and {amount(has.gpus, 'GPU')}" if has.gpus else "")
