"""What a session trains and validates on, from memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mocap_ray.dataset.poses import Poses, read_poses
from mocap_ray.dataset.reader import open
from mocap_ray.runs.train import TrainConfig
from mocap_ray.training.feed import InMemory, fits_on_device
from mocap_ray.training.fit import Team
from mocap_ray.training.prefetch import Prefetched, on_device

VAL_BATCH = 4096
"""Poses of a validation batch; nothing depends on it but speed."""


@dataclass(frozen=True, slots=True)
class Feeds:
    """One process's batches, and what all processes know alike.

    Attributes:
        train: its batches of an epoch (from 0): tensors [B, 55, 3] or `fit.Batch`, equally many in each process.
        val: its share of the validation poses, [B, 55, 3] on the device, the same at each call; None without.
        sample: poses of the train split, the same in each process: all of them, or enough for statistics.
        rows, val_rows: of all processes together.
        manifest_hash: of the data set.
        held: where the poses are, in words.
        close: ends what reads ahead; called once, when the training is over, however it ended.
    """

    train: Callable[[int], Iterable[Any]]
    val: Callable[[], Iterable[Tensor]] | None
    sample: Float[np.ndarray, "N 55 3"]
    rows: int
    val_rows: int
    manifest_hash: str
    held: str
    close: Callable[[], None] = lambda: None


def memory_feeds(config: TrainConfig, team: Team) -> Feeds:
    """Read the data set into memory; onto the device where it fits there.

    Raises:
        DataSetError: see `read_poses`; fewer poses than processes.
    """
    data = config.data
    train = read_poses(data.root, split=data.train, dataset=data.dataset)
    has_val = data.val in open(data.root).splits
    val = read_poses(data.root, split=data.val, dataset=data.dataset) if has_val else None
    size = train.rotvecs.nbytes + (0 if val is None else val.rotvecs.nbytes)
    held_on_device = fits_on_device(size, team.device, share=data.memory_share)
    feed = InMemory(
        train.rotvecs,
        train.clip_index,
        train.clip_ids,
        batch_size=data.batch_size,
        seed=config.training.seed,
        device=team.device,
        rank=team.rank,
        world=team.world,
        held_on_device=held_on_device,
    )
    where = "GPU memory" if held_on_device and team.device.type == "cuda" else "memory"
    return Feeds(
        train=feed.epoch,
        val=None if val is None else validation_rows(val, team, held_on_device=held_on_device),
        sample=train.rotvecs,
        rows=len(train),
        val_rows=0 if val is None else len(val),
        manifest_hash=train.manifest_hash,
        held=where,
    )


def validation_rows(
    poses: Poses, team: Team, *, held_on_device: bool = True
) -> Callable[[], Iterator[Tensor]]:
    """Every `world`-th pose, in batches."""
    rows = torch.from_numpy(poses.rotvecs[team.rank :: team.world])
    if held_on_device:
        held = rows.to(team.device)
        return lambda: iter(torch.split(held, VAL_BATCH))
    return lambda: copied_ahead(torch.split(rows, VAL_BATCH), team.device)


def copied_ahead(batches: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
    """Batches of host memory on the device, two of them ahead of their use."""
    with Prefetched((on_device(part, device) for part in batches), depth=2) as ahead:
        yield from ahead
