"""Prefetching: the same batches in the same order, errors in the right place, and no thread left behind."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mocap_ray.training import loaders
from mocap_ray.training.callbacks import EpochReport
from mocap_ray.training.finite import NonFinite
from mocap_ray.training.fit import fit
from mocap_ray.training.in_memory import InMemoryLoader
from mocap_ray.training.options import TrainingOptions
from mocap_ray.training.prefetch import Prefetched
from mocap_ray.training.rows import ArrayRows
from mocap_ray.training.team import Team
from tests.training.small import line, rows


class Source:
    """Counts its items, and records whether and in which thread it was closed."""

    def __init__(self, count: int, *, fails_at: int | None = None) -> None:
        self.count, self.fails_at = count, fails_at
        self.made = 0
        self.closed_in: list[str] = []

    def __iter__(self) -> Iterator[int]:
        try:
            for k in range(self.count):
                if k == self.fails_at:
                    raise OSError("disk away")
                self.made += 1
                yield k
        finally:
            self.closed_in.append(threading.current_thread().name)


def _until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not what():
        assert time.monotonic() < end, "does not happen"
        time.sleep(0.002)


def _threads() -> int:
    return sum(t.name == "mocap-ray-prefetch" for t in threading.enumerate())


@pytest.mark.parametrize("depth", [1, 3, 100])
def test_prefetched_items_keep_their_order(depth: int) -> None:
    source = Source(20)
    ahead = Prefetched(source, depth=depth)
    assert list(ahead) == list(range(20))
    assert list(ahead) == []
    assert source.closed_in == ["mocap-ray-prefetch"]


def test_prefetching_is_bounded() -> None:
    source = Source(1000)
    with Prefetched(source, depth=4) as ahead:
        _until(lambda: source.made == 5)  # four are ready, one waits for room
        assert next(ahead) == 0
        _until(lambda: source.made == 6)
    assert source.made == 6


def test_an_error_is_raised_once_after_the_items_before_it() -> None:
    ahead = Prefetched(Source(9, fails_at=2), depth=8)
    assert [next(ahead), next(ahead)] == [0, 1]
    with pytest.raises(OSError, match="disk away"):
        next(ahead)
    assert list(ahead) == []


def test_stopping_early_ends_the_thread_and_closes_the_source() -> None:
    before, source = _threads(), Source(1000)
    ahead = Prefetched(source, depth=2)
    next(ahead)
    ahead.close()
    ahead.close()
    assert _threads() == before
    assert source.closed_in == ["mocap-ray-prefetch"]
    assert list(ahead) == []


def test_a_collected_iterator_ends_its_thread() -> None:
    before, source = _threads(), Source(1000)
    ahead = Prefetched(source, depth=2)
    next(ahead)
    del ahead
    gc.collect()
    _until(lambda: _threads() == before)
    assert source.closed_in


def _memory(ahead: bool, *, broken: int | None = None) -> InMemoryLoader:
    data = rows(101).numpy().astype(np.float64)
    if broken is not None:
        data[broken] = np.nan
    array = ArrayRows(data, np.arange(101, dtype=np.int32), [f"clip{k}" for k in range(101)])
    return InMemoryLoader(array, batch_size=7, seed=3, team=Team(), ahead=ahead)


def test_batches_are_the_same_with_and_without_prefetching() -> None:
    for epoch in range(2):
        plain, ahead = (list(_memory(a).epoch(epoch)) for a in (False, True))
        assert len(plain) == len(ahead) == 15
        for a, b in zip(plain, ahead, strict=True):
            assert torch.equal(a.data, b.data)
            assert a.items() == b.items()


def test_a_failed_training_leaves_no_thread() -> None:
    feed, before = _memory(True, broken=50), _threads()
    with pytest.raises(NonFinite) as error:
        fit(line(), feed.epoch, options=TrainingOptions(max_epochs=1))
    assert "clip50" in error.value.items
    assert _threads() == before


def test_validation_batches_are_prefetched_completely() -> None:
    before, parts = _threads(), list(rows(50).split(8))
    found = list(loaders.copied_ahead(parts, torch.device("cpu")))
    assert torch.equal(torch.cat(found), torch.cat(parts))
    stopped = loaders.copied_ahead(parts, torch.device("cpu"))
    next(stopped)
    stopped.close()  # type: ignore[attr-defined]
    assert _threads() == before


def test_prefetching_stops_however_a_training_ends(tmp_path: Path) -> None:
    from mocap_ray.training.prepare import prepare
    from mocap_ray.training.session import run
    from mocap_ray.training.streaming import PlainReader
    from tests.dataset.made import make
    from tests.training.test_session import Kill, config

    make(tmp_path / "data", clips={("CMU", "train"): 2, ("CMU", "val"): 1})
    few = {"feed": "stream", "batch_size": 4}  # small batches, so that not all epochs are prefetched
    chosen = config(tmp_path / "data", tmp_path / "out", data=few, training={"max_epochs": 8})
    before, during = _threads(), []

    class Looking(Kill):
        """Stopped after an epoch, while the next one is read."""

        def on_epoch_saved(self, report: EpochReport, model: nn.Module) -> None:
            during.append(_threads() - before)
            super().on_epoch_saved(report, model)

    prepare(chosen)
    with pytest.raises(KeyboardInterrupt):
        run(chosen, reader=PlainReader, callback=Looking(1))
    assert during == [1]
    assert _threads() == before
    run(chosen, reader=PlainReader)
    assert _threads() == before
