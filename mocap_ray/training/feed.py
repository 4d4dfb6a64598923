"""Batches from memory: every row once per epoch over all ranks, in an order of (seed, epoch)."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mocap_ray.dataset.views import DataSetError
from mocap_ray.training.fit import Batch
from mocap_ray.training.prefetch import Prefetched, depth, on_device


class InMemory:
    """Rows held in memory, on the device where they fit, and indexed there.

    Step k of an epoch takes the same rows whatever the number of ranks, which share them; so two ranks
    compute what one computes. The rows of an epoch are spread over its steps evenly (sizes differ by at most
    one), so that no small last batch gives a noisy step.
    """

    def __init__(
        self,
        rows: Float[np.ndarray, "N ..."],
        clip_index: Int[np.ndarray, "N"],
        clip_ids: list[str],
        *,
        batch_size: int,
        seed: int,
        device: torch.device,
        rank: int = 0,
        world: int = 1,
        held_on_device: bool = True,
        ahead: bool | None = None,
    ) -> None:
        """Take the rows.

        Args:
            rows: the data; an index into `clip_ids` of each row stands in `clip_index`.
            batch_size: rows of a step, over all ranks.
            held_on_device: false: they stay in host memory, and each batch is copied.
            ahead: gather and copy the batches in a thread, ahead of their use; by default where a GPU would
                otherwise wait for it.

        Raises:
            DataSetError: fewer rows than ranks.
        """
        if len(rows) < world:
            raise DataSetError(
                f"{len(rows)} poses to train on for {world} workers. Set ray.workers to {max(len(rows), 1)} or less, "
                "or extract more recordings."
            )
        home = device if held_on_device else torch.device("cpu")
        self.rows = torch.from_numpy(rows).to(home)
        self.ahead = home.type != device.type if ahead is None else ahead
        self.clip_index, self.clip_ids = clip_index, clip_ids
        self.batch_size, self.seed, self.device = batch_size, seed, device
        self.rank, self.world = rank, world
        self.steps = max(1, min(-(-len(rows) // batch_size), len(rows) // world))

    def epoch(self, epoch: int) -> Epoch:
        """The batches of an epoch, counted from 0."""
        return Epoch(self, epoch)

    def order(self, epoch: int) -> Int[Tensor, "N"]:
        """The permutation of an epoch, the same in every rank and on every device."""
        draw = np.random.SeedSequence([self.seed, epoch]).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(draw >> np.uint64(1)))
        return torch.randperm(len(self.rows), generator=generator)


class Epoch:
    """The batches of one epoch, for one rank; iterable more than once, with a length."""

    def __init__(self, feed: InMemory, number: int) -> None:
        self.feed, self.number = feed, number

    def __len__(self) -> int:
        return self.feed.steps

    def __iter__(self) -> Iterator[Batch]:
        feed = self.feed
        return Prefetched(self._batches(), depth=depth(feed.batch_size)) if feed.ahead else self._batches()

    def _batches(self) -> Iterator[Batch]:
        feed = self.feed
        order = feed.order(self.number)
        there = order.to(feed.rows.device)
        ends = [len(order) * k // feed.steps for k in range(feed.steps + 1)]
        for first, last in itertools.pairwise(ends):
            mine = slice(first + feed.rank, last, feed.world)
            data = feed.rows[there[mine]]
            data = on_device(data, feed.device) if data.device.type != feed.device.type else data
            yield Batch(data, _names(feed, order[mine]))


def _names(feed: InMemory, rows: Tensor) -> Callable[[], list[str]]:
    """Ids of the clips of some rows, worked out when they are asked for."""
    return lambda: [feed.clip_ids[k] for k in np.unique(feed.clip_index[rows.numpy()])]


def fits_in_memory(size: int, *, share: float, free: int | None = None) -> bool:
    """Whether a data set of `size` bytes may be held: it takes at most `share` of the free memory.

    Args:
        size: bytes that all processes of this machine will hold together.
        share: 0 to 1; the rest is left to everything else.
        free: bytes; this machine's by default, within the limit of its container.
    """
    return size <= share * (free_memory() if free is None else free)


def free_memory(root: Path = Path("/")) -> int:
    """Free bytes of this machine, or what its container's limit (cgroup v2 or v1) leaves; 0 where unknown.

    Args:
        root: where `proc` and `sys` stand; another one in tests.
    """
    free = _free_of_machine(root)
    for folder, limit, used in (
        ("sys/fs/cgroup", "memory.max", "memory.current"),
        ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        try:
            allowed = int((root / folder / limit).read_text())
            taken = int((root / folder / used).read_text())
        except (OSError, ValueError):  # absent, or `max`: no limit
            continue
        # Cached files count as used, yet give way.
        left = allowed - taken + _entry(root / folder / "memory.stat", "inactive_file ", unit=1)
        free = min(free, max(left, 0))
    return free


def _entry(path: Path, name: str, *, unit: int) -> int:
    """The number behind a name in one of the kernel's tables, in bytes; 0 where there is none."""
    try:
        lines = path.read_text().splitlines()
        return next(int(x.split()[1]) * unit for x in lines if x.startswith(name))
    except (OSError, ValueError, IndexError, StopIteration):
        return 0


def _free_of_machine(root: Path) -> int:
    if found := _entry(root / "proc/meminfo", "MemAvailable:", unit=1024):
        return found
    try:  # macOS has no /proc
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (OSError, ValueError):
        return 0


def fits_on_device(size: int, device: torch.device, *, share: float) -> bool:
    """Whether rows of `size` bytes may be held on a device; always on the CPU, whose memory holds them anyway."""
    if device.type != "cuda":
        return True
    return size <= share * torch.cuda.mem_get_info(device)[0]
