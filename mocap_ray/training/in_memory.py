"""Batches from memory: every row once per epoch over all ranks, in an order of (seed, epoch)."""

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
from mocap_ray.training.task import TaskWords, too_few
from mocap_ray.training.team import Team


class InMemoryLoader:
    """Rows held in memory, on the device where they fit, and indexed there.

    Step k of an epoch takes the same rows whatever the number of ranks, which share them; so two ranks
    compute what one computes. The rows of an epoch are spread over its steps evenly (sizes differ by at most
    one), so that no small last batch gives a noisy step.
    """

    def __init__(
        self,
        held: HeldRows,
        *,
        batch_size: int,
        seed: int,
        team: Team,
        held_on_device: bool = True,
        ahead: bool | None = None,
        row_bytes: int = 0,
        words: TaskWords | None = None,
    ) -> None:
        """Take the rows.

        Args:
            held: the rows.
            batch_size: rows of a step, over all ranks.
            seed: of the orders.
            team: whose batches; they end up on its device.
            held_on_device: false: the rows stay in host memory, and each batch is copied.
            ahead: gather and copy the batches in a thread, ahead of their use; by default where a GPU would
                otherwise wait for it.
            row_bytes: of a row in a batch; large ones are made ahead in fewer batches.
            words: for messages.

        Raises:
            TrainingDataError: fewer rows than ranks.
        """
        if len(held) < team.world:
            raise too_few(len(held), world=team.world, words=words or TaskWords())
        self.home = team.device if held_on_device else torch.device("cpu")
        self.held, self.gather = held, held.on(self.home)
        self.ahead = self.home.type != team.device.type if ahead is None else ahead
        self.batch_size, self.seed, self.team = batch_size, seed, team
        self.depth = depth(batch_size, row_bytes)
        self.steps = max(1, min(-(-len(held) // batch_size), len(held) // team.world))

    def epoch(self, epoch: int) -> Epoch:
        """The batches of an epoch, counted from 0."""
        return Epoch(self, epoch)

    def order(self, epoch: int) -> Int[Tensor, "N"]:
        """The permutation of an epoch, the same in every rank and on every device."""
        draw = np.random.SeedSequence([self.seed, epoch]).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(draw >> np.uint64(1)))
        return torch.randperm(len(self.held), generator=generator)


class Epoch:
    """The batches of one epoch, for one rank; iterable more than once, with a length."""

    def __init__(self, feed: InMemoryLoader, number: int) -> None:
        self.feed, self.number = feed, number

    def __len__(self) -> int:
        return self.feed.steps

    def __iter__(self) -> Iterator[Batch]:
        feed = self.feed
        return Prefetched(self._batches(), depth=feed.depth) if feed.ahead else self._batches()

    def _batches(self) -> Iterator[Batch]:
        feed, team = self.feed, self.feed.team
        order = feed.order(self.number)
        there = order.to(feed.home)
        ends = [len(order) * k // feed.steps for k in range(feed.steps + 1)]
        for first, last in itertools.pairwise(ends):
            mine = slice(first + team.rank, last, team.world)
            data = feed.gather(there[mine])
            data = on_device(data, team.device) if data.device.type != team.device.type else data
            yield Batch(data, _names(feed.held, order[mine]))


def _names(held: HeldRows, rows: Tensor) -> Callable[[], list[str]]:
    """Names of the items of some rows, worked out when they are asked for."""
    return lambda: held.names(rows.numpy())
