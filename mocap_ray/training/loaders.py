"""The batches of one process for training and validation: from memory here, as a stream in `streaming.py`."""

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
from mocap_ray.training.rows import HeldRows, NoRows, RowSource
from mocap_ray.training.task import TrainingSetup
from mocap_ray.training.team import Team

VAL_ROWS = 4096
"""Rows of a validation batch; affects only the speed."""
VAL_BYTES = 64 << 20
"""Largest size of a validation batch."""


@dataclass(frozen=True, slots=True)
class Loaders:
    """The loaders of one process.

    Attributes:
        train: returns the batches of an epoch (from 0); the same number of batches on each rank.
        val: returns the share of the validation rows of this rank, as batches [B, *shape] on the device, the same at
            each call; None without validation.
        sample: rows of the training split, the same on each rank: all of them, or enough for statistics.
        rows, val_rows: number of rows over all ranks.
        source_hash: see `task.Facts`.
        location: where the rows are read from, such as `memory`.
        close: stops the prefetching; called once at the end of a training, also after an error.
    """

    train: Callable[[int], Iterable[Batch]]
    val: Callable[[], Iterable[Tensor]] | None
    sample: Shaped[np.ndarray, "N ..."]
    rows: int
    val_rows: int
    source_hash: str
    location: str
    close: Callable[[], None] = lambda: None


def memory_loaders(setup: TrainingSetup[Any], team: Team) -> Loaders:
    """Load the rows into memory, and onto the device if they fit.

    Raises:
        UserError: see `RowSource.load`; also fewer rows than processes.
    """
    task, data = setup.task, setup.data
    source, val_source = task.rows("train"), task.rows("val")
    assert source is not None, "rows('train') raises if the split does not exist"
    train = source.load()
    val = _loaded_if_any(val_source)
    size = train.nbytes + (0 if val is None else val.nbytes)
    held_on_device = fits_on_device(size, team.device, share=data.memory_share)
    loader = InMemoryLoader(
        train,
        batch_size=data.batch_size,
        seed=setup.training.seed,
        team=team,
        held_on_device=held_on_device,
        row_bytes=source.row_bytes,
        words=setup.words,
    )
    location = "GPU memory" if held_on_device and team.device.type == "cuda" else "memory"
    return Loaders(
        train=loader.epoch,
        val=None
        if val is None
        else validation_rows(val, team, size=val_batch(source), held_on_device=held_on_device),
        sample=train.sample(),
        rows=loader.count,
        val_rows=0 if val is None else len(val),
        source_hash=task.check().source_hash,
        location=location,
    )


def _loaded_if_any(source: RowSource | None) -> HeldRows | None:
    """The rows in memory; None without a source, or without rows in it."""
    try:
        return None if source is None else source.load()
    except NoRows:
        return None


def val_batch(source: RowSource) -> int:
    """Number of rows of a validation batch."""
    row_bytes = math.prod(source.shape) * source.dtype.itemsize
    return max(1, min(VAL_ROWS, VAL_BYTES // max(1, row_bytes)))


def validation_rows(
    rows: HeldRows, team: Team, *, size: int, held_on_device: bool
) -> Callable[[], Iterator[Tensor]]:
    """Batches of `size` rows with every `world`-th row."""
    home = team.device if held_on_device else torch.device("cpu")
    gather = rows.on(home)
    indices = torch.split(torch.arange(team.rank, len(rows), team.world).to(home), size)
    if home.type == team.device.type:
        return lambda: (gather(index) for index in indices)
    return lambda: copied_ahead((gather(index) for index in indices), team.device)


def copied_ahead(batches: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
    """Copy batches from host memory to the device, two of them ahead."""
    with Prefetched((on_device(part, device) for part in batches), depth=2) as ahead:
        yield from ahead
