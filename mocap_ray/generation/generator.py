"""A trained flow with the settings that it is sampled with: what every way of generating motion takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from mocap_ray.errors import UserError
from mocap_ray.generation import MotionFlow
from mocap_ray.generation.load import model_of
from mocap_ray.generation.requests import Request, check_requests
from mocap_ray.generation.sampling import sample
from mocap_ray.generation.solvers import check_solver
from mocap_ray.generation.task import WORDS
from mocap_ray.training.trained import read_trained

BATCH = 32
"""Most motions that are sampled together."""
Progress = Callable[[int, int], None]
"""Called with the number of motions done, and the total."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How motions are sampled; small, because it is sent to every worker.

    Attributes:
        model: path of the flow: a training, a checkpoint or an export.
        steps: of the solver.
        solver: see `solvers.SOLVERS`.
        guidance: weight of classifier-free guidance; 1: none.
        device: where it runs.
    """

    model: str
    steps: int = 50
    solver: str = "euler"
    guidance: float = 2.0
    device: str = "cpu"


@dataclass(frozen=True)
class Generator:
    """A loaded flow; `load` makes it.

    Attributes:
        sampling: the settings.
        model: the flow, in eval mode.
        sha256: of its tensors.
    """

    sampling: Sampling
    model: MotionFlow = field(repr=False)
    sha256: str = ""

    @classmethod
    def load(cls, sampling: Sampling) -> Generator:
        """Load the model. Raises UserError for an unusable setting, CheckpointError for an unusable model."""
        check_solver(sampling.solver, steps=sampling.steps)
        trained = read_trained(sampling.model, WORDS)
        model = model_of(trained)
        if not isinstance(model, MotionFlow):
            raise UserError(
                f"{trained.where}: a model of kind {trained.about['model']['kind']}, which generates nothing. Expected "
                "a motion_flow."
            )
        return cls(sampling, model.to(sampling.device), trained.sha256)

    @property
    def fps(self) -> float:
        """Frames per second of what it generates."""
        return self.model.facts.fps

    @property
    def profile(self) -> str:
        """Profile of the features that it generates."""
        return self.model.facts.profile

    @cached_property
    def known(self) -> dict[str, tuple[str, ...]]:
        """The names that it knows for `domain`, `style` and `action`."""
        labels = self.model.facts.labels
        return {"domain": labels.domains, "style": labels.styles, "action": labels.actions}

    def length(self, request: Request) -> int:
        """Frames of a motion."""
        return request.length(fps=self.fps, default=self.model.facts.length)

    def check(self, requests: Mapping[str, Request]) -> None:
        """Check requests by the place that they come from. Raises UserError."""
        check_requests(requests, known=self.known, fps=self.fps, default=self.model.facts.length)

    def generate(
        self, requests: Sequence[Request], *, progress: Progress | None = None
    ) -> Iterator[Float[np.ndarray, "T 263"]]:
        """Features of each request, in order; not normalised, contacts between 0 and 1.

        A request gives the same motion alone and beside others, to rounding.
        """
        done = 0
        for some in _batches(requests, self.length):
            s = self.sampling
            found = sample(self.model, some, steps=s.steps, solver=s.solver, guidance=s.guidance)
            done += len(some)
            if progress is not None:
                progress(done, len(requests))
            yield from found


def _batches(requests: Sequence[Request], length: Callable[[Request], int]) -> Iterator[Sequence[Request]]:
    """Neighbours of similar length together: a batch is padded to its longest."""
    start = 0
    for stop in range(1, len(requests) + 1):
        full = stop - start == BATCH
        if not full and stop < len(requests):
            here, after = length(requests[start]), length(requests[stop])
            full = max(here, after) > 2 * min(here, after)
        if full or stop == len(requests):
            yield requests[start:stop]
            start = stop


def describe(request: Request) -> dict[str, Any]:
    """What a request asks for besides its length, seed and name, for tables and pages; without arrays."""
    values = request.model_dump(exclude={"name", "seed", "seconds", "frames"}, exclude_none=True, mode="python")
    return {
        key: f"{len(value['frames']):,} frames" if isinstance(value, Mapping) else value
        for key, value in values.items()
    }
