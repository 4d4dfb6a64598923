"""The config of a training."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from mocap_ray.options import Section
from mocap_ray.priors import ModelConfig
from mocap_ray.runs.ray import RayOptions
from mocap_ray.training.options import DataOptions, TrainingOptions, TrainOutput


class TrainRay(RayOptions):
    """Where a training computes."""

    workers: Annotated[int, Field(ge=1)] | Literal["auto"] = 1
    """Processes that share each step; `auto`: one per GPU of the cluster, or one per CPU without GPUs."""
    gpus_per_worker: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"  # type: ignore[assignment]
    """`auto`: 1 where the cluster has GPUs, else 0."""
    max_failures: Annotated[int, Field(ge=0)] = 3
    """Worker losses to go on after, each from the last checkpoint."""


class TrainConfig(Section):
    """One training: a data set becomes a prior."""

    model: ModelConfig
    data: DataOptions
    training: TrainingOptions = TrainingOptions()
    output: TrainOutput
    ray: TrainRay = TrainRay()

    def plain(self) -> dict[str, Any]:
        """Plain JSON values, for config.yaml and checkpoints."""
        return self.model_dump(mode="json")
