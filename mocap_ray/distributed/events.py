"""Events from workers to their driver, through an actor.

The values are sent as bytes, and the class of the actor needs no imports. Otherwise its process would import torch,
which takes seconds, only to forward them.
"""

from __future__ import annotations

import pickle
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


class _Buffer:
    """The actor: keeps events until they are read."""

    def __init__(self) -> None:
        self.items: list[bytes] = []

    def put(self, item: bytes) -> None:
        """Append an event; events of the same sender keep their order."""
        self.items.append(item)

    def get_all(self) -> list[bytes]:
        """All events since the last call."""
        items, self.items = self.items, []
        return items


class EventQueue:
    """A queue that many workers write to and the driver reads; it can be sent to workers.

    It is deleted when the process that created it exits.
    """

    def __init__(self) -> None:
        # On the driver's own node: Ray places actors without CPUs on any, and the loss of that one would end the run.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.buffer = ray.remote(num_cpus=0, scheduling_strategy=here)(_Buffer).remote()

    def put(self, name: str, value: Any, *, wait: bool = False) -> None:
        """Append an event. With `wait`, return after it is stored, so that it is not lost if this process exits."""
        sent = self.buffer.put.remote(pickle.dumps((name, value)))
        if wait:
            ray.get(sent)

    def get_all(self) -> list[tuple[str, Any]]:
        """All events since the last call, as (name, value)."""
        # Unpickling is safe here: the bytes come from this run's workers, over Ray, which uses pickle too.
        return [pickle.loads(item) for item in ray.get(self.buffer.get_all.remote())]
