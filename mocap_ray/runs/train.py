"""The config of a training."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal, Union

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
from mocap_ray.training.folds import Division, Folded
from mocap_ray.training.options import DataOptions, ModelOptions, TrainingOptions, TrainOutput
from mocap_ray.training.task import TrainingSetup, TrainingTask


class TrainRay(RayOptions):
    """The Ray cluster and the workers of a training."""

    workers: Annotated[int, Field(ge=1)] | Literal["auto"] = 1
    """Number of processes that share each step; `auto`: one per GPU of the cluster, or one per CPU without GPUs."""
    gpus_per_worker: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"  # type: ignore[assignment]
    """`auto`: 1 if the cluster has GPUs, else 0."""
    max_failures: Annotated[int, Field(ge=0)] = 3
    """Number of worker failures to recover from, each time from the last checkpoint."""


class TrainConfig(Section):
    """One training: trains a model on a data set.

    `model.kind` determines the keys of `model` and `data`. So a loaded config is an instance of a subclass, which
    `for_values` creates.
    """

    foreign: ClassVar[Mapping[str, str]] = {
        "hardware.accelerator": "Use training.device: auto, cpu or cuda.",
        "hardware.devices": "Use ray.workers: a number of processes, or auto for one per GPU.",
        "hardware.precision": "Use training.precision: fp32 or bf16.",
        "hardware.strategy": "Leave it out: all workers of ray.workers share each step.",
        "hardware.num_nodes": "Use ray.workers: Ray places them on the nodes of its cluster.",
        "hardware.node_rank": "Leave it out: Ray starts the workers on all nodes.",
        "logging.logger": "Use output.tracker: none, mlflow or wandb; output.tensorboard is on by default.",
        "logging.logger_name": "Use output.run_name.",
        "logging.project_name": "Use output.experiment.",
        "logging.experiment_name": "Use output.run_name.",
        "logging.checkpoint_dir": "Use output.root; checkpoints are in its folder checkpoints/.",
        "logging.save_top_k": "Leave it out: the best and the last epoch are kept.",
        "logging.log_every_n_steps": "Leave it out: TensorBoard has the training loss within the epochs.",
    }

    model: ModelOptions
    data: DataOptions
    training: TrainingOptions = TrainingOptions()
    output: TrainOutput
    ray: TrainRay = TrainRay()

    @classmethod
    def for_values(cls, values: Mapping[str, Any]) -> type[TrainConfig]:
        """The config class for the kind in the values; a class that rejects them if there is no such kind."""
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
        # The subclass is created at run time, so another process must create its own.
        return TrainConfig.model_validate, (self.plain(),)

    def plain(self) -> dict[str, Any]:
        """Plain JSON values, for config.yaml and checkpoints."""
        return self.model_dump(mode="json")

    def task(self) -> TrainingTask[Any]:
        """The task to train."""
        return find_task(self.model.kind).task(self.model, self.data)

    def setup(self) -> TrainingSetup[Any]:
        """The setup for `training.lockstep`."""
        task = self.task()
        if self.data.fold is not None:
            task = Folded(Division(task, self.data), self.data.fold)
        return TrainingSetup(task, self.data, self.training, self.output, self.plain())


class _UnknownModel(ModelOptions):
    """The section `model` of a kind `package.module:NAME` that cannot be imported."""

    model_config = ConfigDict(extra="allow")

    @field_validator("kind")
    @classmethod
    def _importable(cls, value: str) -> str:
        find_task(value)
        return value


class _UnknownData(DataOptions):
    """The section `data` of such a kind, whose keys are unknown."""

    model_config = ConfigDict(extra="allow")


def _of_kind(kind: str | None) -> type[TrainConfig]:
    """The config class of a kind; an unknown kind is reported when the values are validated."""
    if kind is not None and (kind in TASKS or ":" in kind):
        try:
            task = find_task(kind)
        except UserError:
            return _config_class(_UnknownModel, _UnknownData)
        return _config_class(task.model, task.data)
    # Check the other sections as those of the kind with the most similar name.
    close = difflib.get_close_matches(str(kind), TASKS, n=1) or list(TASKS)
    union: Any = Union[tuple(task.model for task in TASKS.values())]  # noqa: UP007
    return _config_class(Annotated[union, Field(discriminator="kind")], TASKS[close[0]].data)


@lru_cache(maxsize=64)
def _config_class(model: Any, data: type[DataOptions]) -> type[TrainConfig]:
    return create_model(
        "TrainConfig", __base__=TrainConfig, __module__=__name__, model=(model, ...), data=(data, ...)
    )
