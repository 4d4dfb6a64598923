"""What can be trained: the table of tasks that `mocap-ray train` and `mocap-ray search` know."""

from __future__ import annotations

from importlib import import_module

from mocap_ray.errors import UserError
from mocap_ray.priors import MODELS
from mocap_ray.priors.task import prior_kind
from mocap_ray.training.task import TaskKind

TASKS: dict[str, TaskKind] = {kind: prior_kind(section, prior) for kind, (section, prior) in MODELS.items()}
"""All tasks by `model.kind`."""


def find_task(name: str) -> TaskKind:
    """The kind of task called `name` in the table, or `package.module:NAME` of one's own.

    Raises:
        UserError: there is none.
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
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(f"{name!r}: {error}. Expected package.module:NAME, importable here") from error
    if not isinstance(found, TaskKind):
        raise UserError(
            f"{name!r} is of type {type(found).__name__}. Expected a mocap_ray.training.task.TaskKind"
        )
    return found
