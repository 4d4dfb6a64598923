"""Prefetching in a thread, so that a GPU does not wait for its batches."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

AHEAD_ROWS = 16_384
"""Rows to prefetch: enough for a GPU to keep working while a buffer of the stream is shuffled."""
AHEAD_BYTES = 256 << 20
"""Largest size of the prefetched rows."""
CLOSE_S = 10.0
"""How long `close` waits for the current item; a source that hangs must not delay an error."""

T = TypeVar("T")


def depth(batch_size: int, row_bytes: int = 0) -> int:
    """Number of batches to prefetch: `AHEAD_ROWS` rows or `AHEAD_BYTES`, but 2 to 64 batches.

    >>> depth(16), depth(1024), depth(100_000), depth(1024, 63_120)
    (64, 16, 2, 4)
    """
    rows = min(AHEAD_ROWS, AHEAD_BYTES // row_bytes) if row_bytes else AHEAD_ROWS
    return min(64, max(2, rows // batch_size))


def on_device(rows: Tensor, device: torch.device) -> Tensor:
    """Copy rows from host memory to a device; the copy to a GPU is asynchronous.

    Only copies from pinned memory are asynchronous. torch allocates it from its own pool, and does not reuse it before
    the copies from it are finished.
    """
    if device.type != "cuda":
        return rows.to(device)
    return rows.pin_memory().to(device, non_blocking=True)


class Prefetched(Generic[T], Iterator[T]):
    """Iterates over a source in order, while a thread prefetches up to `depth` items.

    Only that thread, which starts immediately, iterates over the source and closes it. `next` raises the exceptions of
    the source after the items before them. Call `close` or use `with` to stop early.
    """

    def __init__(self, source: Iterable[T], *, depth: int) -> None:
        assert depth >= 1
        self._shared = _Shared(depth)
        # The thread references only the shared state, so that an unused iterator is collected, which ends its thread.
        self._thread = threading.Thread(
            target=_produce, args=(source, self._shared), name="mocap-ray-prefetch", daemon=True
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
        """Discard the prefetched items, and wait until the thread has closed the source."""
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
    """The state shared by the producer thread and the consumer."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.changed = threading.Condition()
        self.ready: deque[Any] = deque()
        self.error: BaseException | None = None
        self.ended = self.closed = False

    def put(self, item: Any) -> bool:
        """Wait for room and add an item; return False if the consumer has closed the iterator."""
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


def _produce(source: Iterable[Any], shared: _Shared) -> None:
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
    except BaseException as error:  # re-raised in the consumer
        with shared.changed:
            shared.error = None if shared.closed else error
    finally:
        with shared.changed:
            shared.ended = True
            shared.changed.notify_all()
