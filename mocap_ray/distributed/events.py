"""Events from workers to their driver, through an actor.

The values travel as bytes, and the actor's class needs no imports: its process would otherwise import torch, seconds of
a CPU, only to pass them on.
"""

from __future__ import annotations

import pickle
from typing import Any

import ray


class _Buffer:
    """The actor: keeps events until they are read."""

    def __init__(self) -> None:
        self.items: list[bytes] = []

    def put(self, item: bytes) -> None:
        """Append; events of one sender keep their order."""
        self.items.append(item)

    def get_all(self) -> list[bytes]:
        """All since the last call."""
        items, self.items = self.items, []
        return items


class EventQueue:
    """A queue that many workers write to and the driver reads; it can be sent to workers.

    It ends with the process that made it.
    """

    def __init__(self) -> None:
        self.buffer = ray.remote(num_cpus=0)(_Buffer).remote()

    def put(self, name: str, value: Any, *, wait: bool = False) -> None:
        """Append an event. With `wait`, return once it is stored: for what must not be lost when this process ends."""
        sent = self.buffer.put.remote(pickle.dumps((name, value)))
        if wait:
            ray.get(sent)

    def get_all(self) -> list[tuple[str, Any]]:
        """All events since the last call, as (name, value)."""
        # Our own workers' bytes, over Ray, which pickles everything itself.
        return [pickle.loads(item) for item in ray.get(self.buffer.get_all.remote())]
