"""Batches from memory: each row once per epoch over all ranks, in an order that depends on (seed, epoch)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from mocap_ray.training.batch import Batch
from mocap_ray.training.prefetch import Prefetched, depth, on_device
from mocap_ray.training.rows import HeldRows
from mocap_ray.training.shuffle import steps_per_epoch
from mocap_ray.training.task import TaskWords, too_few
from mocap_ray.training.team import Team


class InMemoryLoader:
    """Batches of rows that are in memory, on the device if they fit there.

    Step k of an epoch has the same rows for any number of ranks, which share them. So two ranks compute the same as
    one. The rows of an epoch are spread evenly over its steps (sizes differ by at most one), so that there is no
    small, noisy last batch.
    """

    def __init__(
        self,
        rows: HeldRows,
        *,
        batch_size: int,
        seed: int,
        team: Team,
        held_on_device: bool = True,
        ahead: bool | None = None,
        row_bytes: int = 0,
        words: TaskWords | None = None,
    ) -> None:
        """Create a loader.

        Args:
            rows: the rows in memory.
            batch_size: rows of a step, over all ranks.
            seed: of the random order.
            team: rank, world size and the device of the batches.
            held_on_device: if false, the rows stay in host memory and each batch is copied.
            ahead: gather and copy the batches ahead in a thread; by default only if a GPU would wait for them
                otherwise.
            row_bytes: size of a row in a batch; fewer batches are prefetched if rows are large.
            words: nouns for messages.

        Raises:
            TrainingDataError: there are fewer rows than ranks.
        """
        count = len(rows.drawn(seed=seed, epoch=0))
        if count < team.world:
            raise too_few(count, world=team.world, words=words or TaskWords())
        self.home = team.device if held_on_device else torch.device("cpu")
        self.rows, self.gather, self.count = rows, rows.on(self.home), count
        self.ahead = self.home.type != team.device.type if ahead is None else ahead
        self.batch_size, self.seed, self.team = batch_size, seed, team
        self.depth = depth(batch_size, row_bytes)
        self.steps = steps_per_epoch(count, batch_size=batch_size, world=team.world)

    def epoch(self, epoch: int) -> Epoch:
        """The batches of an epoch, counted from 0."""
        return Epoch(self, epoch)

    def order(self, epoch: int) -> Int[Tensor, "N"]:
        """The permutation of an epoch, the same on every rank and every device."""
        draw = np.random.SeedSequence([self.seed, epoch]).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(draw >> np.uint64(1)))
        return torch.randperm(self.count, generator=generator)


class Epoch:
    """The batches of one epoch on one rank, with a length; can be iterated more than once."""

    def __init__(self, loader: InMemoryLoader, number: int) -> None:
        self.loader, self.number = loader, number

    def __len__(self) -> int:
        return self.loader.steps

    def __iter__(self) -> Iterator[Batch]:
        loader = self.loader
        return Prefetched(self._batches(), depth=loader.depth) if loader.ahead else self._batches()

    def _batches(self) -> Iterator[Batch]:
        loader, team = self.loader, self.loader.team
        rows = loader.rows.drawn(seed=loader.seed, epoch=self.number)
        gather = loader.gather if rows is loader.rows else rows.on(loader.home)
        order = loader.order(self.number)
        order_on_home = order.to(loader.home)
        ends = [len(order) * k // loader.steps for k in range(loader.steps + 1)]
        for first, last in itertools.pairwise(ends):
            own = slice(first + team.rank, last, team.world)
            data = gather(order_on_home[own])
            data = on_device(data, team.device) if data.device.type != team.device.type else data
            yield Batch(data, _names(rows, order[own]))


def _names(rows: HeldRows, index: Tensor) -> Callable[[], list[str]]:
    """A function that names the items of some rows."""
    return lambda: rows.names(index.numpy())
