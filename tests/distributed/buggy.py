"""A user's own archive and model with a bug: what they raise is a library's ValueError, and nobody's typing error."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, NoReturn

import numpy as np
from torch import Tensor

from mocap_ray.archives import amass
from mocap_ray.archives.archive import Archive
from mocap_ray.priors import Coordinates
from mocap_ray.priors.gaussian_prior import GaussianConfig, GaussianPrior
from mocap_ray.priors.task import PriorKind, prior_kind


def _raise() -> NoReturn:
    np.zeros(3).reshape(2, 2)
    raise AssertionError("unreachable")


def _discover(*_: object, **__: object) -> NoReturn:
    _raise()


ARCHIVE: Archive = replace(amass.ARCHIVE, name="buggy", discover=_discover)


class BuggyConfig(GaussianConfig):
    kind: Literal["tests.distributed.buggy:PRIOR"] = "tests.distributed.buggy:PRIOR"  # type: ignore[assignment]


class BuggyPrior(GaussianPrior):
    def __init__(self, config: BuggyConfig, coordinates: Coordinates) -> None:
        super().__init__(config, coordinates)

    def loss(self, batch: Tensor, *, epoch: float = 0.0) -> tuple[Tensor, dict[str, Any]]:
        _raise()


PRIOR: PriorKind = prior_kind(BuggyConfig, BuggyPrior)
