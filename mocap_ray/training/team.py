"""The processes that share each step of a training, and random numbers that depend on none of them."""

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
    """The processes that share each step; one by default. `distributed/` makes the others.

    Attributes:
        rank, world: which of how many. Rank 0 writes the files.
        device: of this process.
        wrap: makes the module whose `forward(batch, epoch)` is the model's loss average its gradients over the
            team (DistributedDataParallel).
        mean: the mean over the team of each value of a dict with the same keys in every process.
        gather: what each process of the team passed, in the order of their ranks.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    wrap: Callable[[nn.Module], nn.Module] = _unwrapped
    mean: Callable[[dict[str, float]], dict[str, float]] = _same
    gather: Callable[[Any], list[Any]] = _only


@contextmanager
def own_random_numbers(device: torch.device) -> Iterator[None]:
    """Put the generators of the CPU and of a device back after the block.

    Without a list of devices `torch.random.fork_rng` would initialise every GPU of the machine.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def epoch_seed(seed: int, epoch: int, rank: int) -> int:
    """Of an epoch's random numbers: neighbouring seeds, epochs and ranks have nothing in common."""
    return int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))
