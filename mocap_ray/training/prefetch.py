"""Things made ahead of their use by a thread, so that a GPU need not wait for them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

AHEAD_ROWS = 16_384
"""Rows that wait for the training: a GPU goes on while a buffer of the stream is shuffled."""
AHEAD_BYTES = 256 << 20
"""Of these rows at most."""
CLOSE_S = 10.0
"""For so long closing waits for the item being made; a source that hangs must not hold up an error."""

T = TypeVar("T")


def depth(batch_size: int, row_bytes: int = 0) -> int:
    """How many batches of a size are made ahead: `AHEAD_ROWS` rows or `AHEAD_BYTES`, but 2 to 64 batches.

    >>> depth(16), depth(1024), depth(100_000), depth(1024, 63_120)
    (64, 16, 2, 4)
    """
    rows = min(AHEAD_ROWS, AHEAD_BYTES // row_bytes) if row_bytes else AHEAD_ROWS
    return min(64, max(2, rows // batch_size))


def on_device(rows: Tensor, device: torch.device) -> Tensor:
    """Rows of host memory on a device; to a GPU by a copy that runs while the caller goes on.

    A copy is asynchronous only out of pinned memory; torch takes that from a pool of its own, and gives none of
    it out again before the copies from it are done.
    """
    if device.type != "cuda":
        return rows.to(device)
    return rows.pin_memory().to(device, non_blocking=True)


class Prefetched(Generic[T], Iterator[T]):
    """The items of a source in their order, up to `depth` of them made ahead by a thread.

    The source is iterated, and closed where it can be, in that thread alone, which starts at once. What it raises is
    raised by `next` after the items before it. Whoever stops early calls `close`, or uses `with`.
    """

    def __init__(self, source: Iterable[T], *, depth: int) -> None:
        assert depth >= 1
        self._shared = _Shared(depth)
        # The thread knows only what is shared, so that a forgotten iterator is collected, and ends its thread.
        self._thread = threading.Thread(
            target=_make, args=(source, self._shared), name="mocap-ray-prefetch", daemon=True
        )
        self._thread.start()

    def __next__(self) -> T:
        shared = self._shared
        with shared.changed:
            shared.changed.wait_for(lambda: shared.ready or shared.ended or shared.closed)
            if shared.ready:
                item: T = shared.ready.popleft()
                shared.changed.notify_all()
                return item
            error, shared.error = shared.error, None
        if error is not None:
            raise error
        raise StopIteration

    def close(self) -> None:
        """Throw away what was made, and wait until the thread has closed its source."""
        self._shared.close()
        if self._thread is not threading.current_thread():
            self._thread.join(CLOSE_S)

    def __enter__(self) -> Prefetched[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        shared = getattr(self, "_shared", None)
        if shared is not None:
            shared.close()


class _Shared:
    """Between the thread that makes and the one that takes."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.changed = threading.Condition()
        self.ready: deque[Any] = deque()
        self.error: BaseException | None = None
        self.ended = self.closed = False

    def put(self, item: Any) -> bool:
        """Wait for room; False where nobody wants the item any more."""
        with self.changed:
            self.changed.wait_for(lambda: self.closed or len(self.ready) < self.depth)
            if not self.closed:
                self.ready.append(item)
                self.changed.notify_all()
            return not self.closed

    def close(self) -> None:
        with self.changed:
            self.closed = True
            self.ready.clear()
            self.error = None
            self.changed.notify_all()


def _make(source: Iterable[Any], shared: _Shared) -> None:
    items: Any = None
    try:
        try:
            items = iter(source)
            for item in items:
                if not shared.put(item):
                    break
        finally:
            if hasattr(items, "close"):
                items.close()
    except BaseException as error:  # carried over to the thread that takes
        with shared.changed:
            shared.error = None if shared.closed else error
    finally:
        with shared.changed:
            shared.ended = True
            shared.changed.notify_all()
