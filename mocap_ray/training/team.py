"""The process group of a training, and its random numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn


def _same(values: dict[str, float]) -> dict[str, float]:
    return values


def _unwrapped(module: nn.Module) -> nn.Module:
    return module


def _only(value: Any) -> list[Any]:
    return [value]


@dataclass(frozen=True)
class Team:
    """The process group of a training, as seen by one process; a single process by default.

    Attributes:
        rank, world: rank of this process, and world size. Rank 0 writes the files.
        device: device of this process.
        wrap: wraps the module whose `forward(batch, epoch)` is the loss, so that gradients are averaged over the
            processes (DistributedDataParallel).
        mean: averages each value of a dict over the processes; the keys must be the same everywhere.
        gather: collects a value from each process, in the order of the ranks.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    wrap: Callable[[nn.Module], nn.Module] = _unwrapped
    mean: Callable[[dict[str, float]], dict[str, float]] = _same
    gather: Callable[[Any], list[Any]] = _only


@contextmanager
def own_random_numbers(device: torch.device) -> Iterator[None]:
    """Restore the random generators of the CPU and of a device after the block.

    Without a list of devices `torch.random.fork_rng` would initialise every GPU of the machine.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def epoch_seed(seed: int, epoch: int, rank: int) -> int:
    """The random seed of an epoch on a rank; neighbouring seeds, epochs and ranks give independent numbers."""
    return int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))
