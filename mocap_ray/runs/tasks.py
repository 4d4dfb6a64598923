"""The registry of tasks for `mocap-ray train` and `mocap-ray search`."""

from __future__ import annotations

from importlib import import_module

from mocap_ray.errors import UserError
from mocap_ray.priors import MODELS
from mocap_ray.priors.task import prior_kind
from mocap_ray.training.task import TaskKind

TASKS: dict[str, TaskKind] = {kind: prior_kind(section, prior) for kind, (section, prior) in MODELS.items()}
"""All tasks by `model.kind`."""


def find_task(name: str) -> TaskKind:
    """Find the kind of task called `name`: one of the table, or a custom one as `package.module:NAME`.

    Raises:
        UserError: it does not exist.
    """
    if name in TASKS:
        return TASKS[name]
    module, _, attribute = name.partition(":")
    if not attribute:
        raise UserError(
            f"{name!r} does not exist. Expected one of {', '.join(TASKS)}, or package.module:NAME of a "
            "mocap_ray.training.task.TaskKind of your own"
        )
    try:
        kind = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(f"{name!r}: {error}. Expected package.module:NAME, importable here") from error
    if not isinstance(kind, TaskKind):
        raise UserError(
            f"{name!r} is of type {type(kind).__name__}. Expected a mocap_ray.training.task.TaskKind"
        )
    return kind
