"""News of workers for their driver: they post, it takes.

The values travel as bytes, and this module imports nothing: the actor's process would otherwise import torch,
seconds of a CPU, only to pass them on.
"""

from __future__ import annotations

import pickle
from typing import Any

import ray


class Board:
    """The actor's side: keeps what was posted until it is taken."""

    def __init__(self) -> None:
        self.news: list[bytes] = []

    def post(self, item: bytes) -> None:
        """Append; in the order of the posts of each sender."""
        self.news.append(item)

    def take(self) -> list[bytes]:
        """All since last time."""
        news, self.news = self.news, []
        return news


class News:
    """The handle of a board, for both sides; travels to workers. The board ends with the process that made it."""

    def __init__(self) -> None:
        self.board = ray.remote(num_cpus=0)(Board).remote()

    def post(self, kind: str, value: Any, *, wait: bool = False) -> None:
        """Post; with `wait` until it is there, for what must not be lost when this process ends."""
        sent = self.board.post.remote(pickle.dumps((kind, value)))
        if wait:
            ray.get(sent)

    def take(self) -> list[tuple[str, Any]]:
        """All since last time."""
        # Our own workers' bytes, over Ray, which pickles everything itself.
        return [pickle.loads(item) for item in ray.get(self.board.take.remote())]
