"""What a session trains and validates on: one process's batches, from memory here and by stream in `streaming.py`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from mocap_ray.training.batch import Batch
from mocap_ray.training.in_memory import InMemoryLoader
from mocap_ray.training.memory import fits_on_device
from mocap_ray.training.prefetch import Prefetched, on_device
from mocap_ray.training.rows import HeldRows, RowSource
from mocap_ray.training.task import TrainingSetup
from mocap_ray.training.team import Team

VAL_ROWS = 4096
"""Rows of a validation batch; nothing depends on it but speed."""
VAL_BYTES = 64 << 20
"""Of these rows at most."""


@dataclass(frozen=True, slots=True)
class Loaders:
    """One process's batches, and what all processes know alike.

    Attributes:
        train: its batches of an epoch (from 0), equally many in each process.
        val: its share of the validation rows [B, *shape] on the device, the same at each call; None without.
        sample: rows of the train split, the same in each process: all of them, or enough for statistics.
        rows, val_rows: of all processes together.
        source_hash: see `task.Facts`.
        held: where the rows are, in words.
        close: ends what reads ahead; called once, when the training is over, however it ended.
    """

    train: Callable[[int], Iterable[Batch]]
    val: Callable[[], Iterable[Tensor]] | None
    sample: Shaped[np.ndarray, "N ..."]
    rows: int
    val_rows: int
    source_hash: str
    held: str
    close: Callable[[], None] = lambda: None


def memory_loaders(setup: TrainingSetup[Any], team: Team) -> Loaders:
    """Read the rows into memory; onto the device where they fit there.

    Raises:
        UserError: see `RowSource.load`; fewer rows than processes.
    """
    task, data = setup.task, setup.data
    source, val_source = task.rows("train"), task.rows("val")
    assert source is not None, "rows('train') raises where there are none"
    train = source.load()
    val = None if val_source is None else val_source.load()
    size = train.nbytes + (0 if val is None else val.nbytes)
    held_on_device = fits_on_device(size, team.device, share=data.memory_share)
    feed = InMemoryLoader(
        train,
        batch_size=data.batch_size,
        seed=setup.training.seed,
        team=team,
        held_on_device=held_on_device,
        row_bytes=source.row_bytes,
        words=setup.words,
    )
    where = "GPU memory" if held_on_device and team.device.type == "cuda" else "memory"
    return Loaders(
        train=feed.epoch,
        val=None
        if val is None
        else validation_rows(val, team, size=val_batch(source), held_on_device=held_on_device),
        sample=train.sample(),
        rows=len(train),
        val_rows=0 if val is None else len(val),
        source_hash=task.check().source_hash,
        held=where,
    )


def val_batch(source: RowSource) -> int:
    """Rows of a validation batch."""
    row_bytes = math.prod(source.shape) * source.dtype.itemsize
    return max(1, min(VAL_ROWS, VAL_BYTES // max(1, row_bytes)))


def validation_rows(
    held: HeldRows, team: Team, *, size: int, held_on_device: bool
) -> Callable[[], Iterator[Tensor]]:
    """Every `world`-th row, in batches of `size`."""
    home = team.device if held_on_device else torch.device("cpu")
    gather = held.on(home)
    mine = torch.split(torch.arange(team.rank, len(held), team.world).to(home), size)
    if home.type == team.device.type:
        return lambda: (gather(index) for index in mine)
    return lambda: copied_ahead((gather(index) for index in mine), team.device)


def copied_ahead(batches: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
    """Batches of host memory on the device, two of them ahead of their use."""
    with Prefetched((on_device(part, device) for part in batches), depth=2) as ahead:
        yield from ahead
