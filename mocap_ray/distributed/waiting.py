"""Waiting for nodes that an autoscaler adds: says for what, and gives up with a remedy."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import ray
from ray.util.placement_group import placement_group, remove_placement_group

from mocap_ray.distributed.cluster import NoCluster
from mocap_ray.distributed.resources import Capacity, amount, capacity
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


class Shortage:
    """Says that the cluster has become too small for a run that waits for lost nodes without a word of its own."""

    def __init__(self, bundles: Sequence[Mapping[str, float]], note: Note, *, of: str) -> None:
        """Take the CPUs and GPUs of each worker, what is called, and what the workers are for."""
        self.need, self.note, self.of = _sum(bundles), note, of
        self.looked = time.monotonic()

    def look(self) -> None:
        """Compare what the cluster has with what the run needs, every `EVERY_S` seconds."""
        if time.monotonic() - self.looked < EVERY_S:
            return
        self.looked, has = time.monotonic(), capacity()
        if has.cpus < self.need.cpus or has.gpus < self.need.gpus:
            self.note(shrunk(self.need, has, of=self.of))


def shrunk(need: Capacity, has: Capacity, *, of: str) -> str:
    """What is said while a run waits for nodes that were lost."""
    return (
        f"{of.capitalize()} needs {_text(need)}, but the cluster has only {_text(has)} now: a node may be lost. It "
        "goes on from its last checkpoint as soon as the cluster has room."
    )


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
