"""The choice of `data.feed`: rows from memory, or by stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mocap_ray.training.loaders import Loaders, memory_loaders
from mocap_ray.training.memory import fits_in_memory
from mocap_ray.training.rows import TrainingDataError
from mocap_ray.training.streaming import ShardReader, stream_loaders
from mocap_ray.training.task import TrainingSetup
from mocap_ray.training.team import Team


def make_loaders(
    setup: TrainingSetup[Any], team: Team, reader: Callable[[], ShardReader] | None, *, at_once: int = 1
) -> Loaders:
    """Load into memory or stream; the same choice on all ranks.

    Args:
        setup: of the training.
        team: the process group.
        reader: creates the reader of a stream.
        at_once: number of trainings of this size that share the memory.

    Raises:
        UserError: the data cannot be trained on.
    """
    data = setup.data
    kind = data.feed
    if kind == "auto":
        size = setup.task.check().size * team.world * at_once
        fits = fits_in_memory(size, share=data.memory_share)
        kind = "memory" if team.mean({"fits": float(fits)})["fits"] == 1 else "stream"
    if kind == "memory":
        return memory_loaders(setup, team)
    if reader is None:
        raise TrainingDataError(
            f"{data.root}: {setup.task.check().size / 1e9:.1f} GB of {setup.words.rows} must be streamed (data.feed "
            f"{data.feed}), which needs Ray. Use `mocap-ray train`, or set data.feed=memory."
        )
    return stream_loaders(setup, team, reader())
