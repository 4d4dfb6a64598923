"""The registry of tasks for `mocap-ray train` and `mocap-ray search`."""

from __future__ import annotations

from mocap_ray.custom import find_named
from mocap_ray.generation import MODELS as MOTION_MODELS
from mocap_ray.generation.task import motion_kind
from mocap_ray.priors import MODELS
from mocap_ray.priors.task import prior_kind
from mocap_ray.training.task import TaskKind

TASKS: dict[str, TaskKind] = {
    **{kind: prior_kind(section, prior) for kind, (section, prior) in MODELS.items()},
    **{kind: motion_kind(section, model) for kind, (section, model) in MOTION_MODELS.items()},
}
"""All tasks by `model.kind`."""


def find_task(name: str) -> TaskKind:
    """Find the kind of task called `name`: one of the table, or a custom one as `package.module:NAME`.

    Raises:
        UserError: it does not exist.
    """
    return find_named(name, TASKS, TaskKind, what="model")
