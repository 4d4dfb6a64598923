"""The config of a training."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, Union

from pydantic import (
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    create_model,
    field_validator,
    model_validator,
)

from mocap_ray.errors import UserError
from mocap_ray.options import Section
from mocap_ray.runs.ray import RayOptions
from mocap_ray.runs.tasks import TASKS, find_task
from mocap_ray.training.options import DataOptions, ModelOptions, TrainingOptions, TrainOutput
from mocap_ray.training.task import TrainingSetup, TrainingTask


class TrainRay(RayOptions):
    """Where a training computes."""

    workers: Annotated[int, Field(ge=1)] | Literal["auto"] = 1
    """Processes that share each step; `auto`: one per GPU of the cluster, or one per CPU without GPUs."""
    gpus_per_worker: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"  # type: ignore[assignment]
    """`auto`: 1 where the cluster has GPUs, else 0."""
    max_failures: Annotated[int, Field(ge=0)] = 3
    """Worker losses to go on after, each from the last checkpoint."""


class TrainConfig(Section):
    """One training: a data set becomes a model.

    `model.kind` decides which keys `model` and `data` have. So a config that was read is of a subclass of this class,
    which `for_values` makes.
    """

    model: ModelOptions
    data: DataOptions
    training: TrainingOptions = TrainingOptions()
    output: TrainOutput
    ray: TrainRay = TrainRay()

    @classmethod
    def for_values(cls, values: Mapping[str, Any]) -> type[TrainConfig]:
        """The config of the kind that the values name; one that refuses them where there is no such kind."""
        model = values.get("model")
        kind = model.get("kind") if isinstance(model, Mapping) else None
        return _of_kind(kind if isinstance(kind, str) else None)

    @model_validator(mode="wrap")
    @classmethod
    def _of_its_kind(cls, values: Any, handler: ModelWrapValidatorHandler[TrainConfig]) -> TrainConfig:
        if cls is TrainConfig and isinstance(values, Mapping):
            return cls.for_values(values).model_validate(values)
        return handler(values)

    def __reduce__(self) -> tuple[Any, ...]:
        # The subclass is made while a program runs: another process makes its own.
        return TrainConfig.model_validate, (self.plain(),)

    def plain(self) -> dict[str, Any]:
        """Plain JSON values, for config.yaml and checkpoints."""
        return self.model_dump(mode="json")

    def task(self) -> TrainingTask[Any]:
        """What is trained."""
        return find_task(self.model.kind).task(self.model, self.data)

    def setup(self) -> TrainingSetup[Any]:
        """What `training.session` needs."""
        return TrainingSetup(self.task(), self.data, self.training, self.output, self.plain())


class _NoModel(ModelOptions):
    """The section `model` of a kind `package.module:NAME` that cannot be had."""

    model_config = ConfigDict(extra="allow")

    @field_validator("kind")
    @classmethod
    def _why(cls, value: str) -> str:
        find_task(value)
        return value


class _NoData(DataOptions):
    """The section `data` of such a kind: nobody knows its keys."""

    model_config = ConfigDict(extra="allow")


def _of_kind(kind: str | None) -> type[TrainConfig]:
    """The config of a training of a kind; what is wrong with the kind is found where the values are checked."""
    if kind is not None and (kind in TASKS or ":" in kind):
        try:
            task = find_task(kind)
        except UserError:
            return _made(_NoModel, _NoData)
        return _made(task.model, task.data)
    # The other sections are checked as those of the kind that was probably meant.
    close = difflib.get_close_matches(str(kind), TASKS, n=1) or list(TASKS)
    union: Any = Union[tuple(task.model for task in TASKS.values())]  # noqa: UP007
    return _made(Annotated[union, Field(discriminator="kind")], TASKS[close[0]].data)


@lru_cache(maxsize=64)
def _made(model: Any, data: type[DataOptions]) -> type[TrainConfig]:
    return create_model(
        "TrainConfig", __base__=TrainConfig, __module__=__name__, model=(model, ...), data=(data, ...)
    )
