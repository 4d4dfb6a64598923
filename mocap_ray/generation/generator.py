"""A trained flow with the settings that it is sampled with: what every way of generating motion takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from mocap_ray.errors import UserError
from mocap_ray.generation.load import model_of
from mocap_ray.generation.motion_flow import MotionFlow
from mocap_ray.generation.requests import Request
from mocap_ray.generation.sampling import GUIDANCE, SOLVER, STEPS, check, sample
from mocap_ray.generation.solvers import Progress, check_solver
from mocap_ray.generation.task import WORDS
from mocap_ray.motion.features import Profile
from mocap_ray.training.trained import read_trained


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
    steps: int = STEPS
    solver: str = SOLVER
    guidance: float = GUIDANCE
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class Generator:
    """A loaded flow; `load` makes it.

    Attributes:
        sampling: the settings.
        model: the flow, in eval mode.
        sha256: of its tensors.
    """

    sampling: Sampling
    model: MotionFlow = field(repr=False)
    sha256: str

    @classmethod
    def load(cls, sampling: Sampling) -> Generator:
        """Load the model. Raises UserError for an unusable setting, CheckpointError for an unusable model."""
        check_solver(sampling.solver, steps=sampling.steps)
        trained = read_trained(sampling.model, WORDS)
        about = trained.about.get("model")
        kind = str(about.get("kind", "?")) if isinstance(about, Mapping) else "?"
        if kind != "motion_flow":
            raise UserError(
                f"{trained.where}: a model of kind {kind:.80}, which generates no motion. Expected a motion_flow."
            )
        model = model_of(trained)
        assert isinstance(model, MotionFlow)
        return cls(sampling, model.to(sampling.device), trained.digest())

    @property
    def fps(self) -> float:
        """Frames per second of what it generates."""
        return self.model.facts.fps

    @property
    def profile(self) -> Profile:
        """Profile of the features that it generates."""
        return "humanml3d" if self.model.facts.profile == "humanml3d" else "flowmimic"

    def length(self, request: Request) -> int:
        """Frames of a motion."""
        return request.length(fps=self.fps, default=self.model.facts.length)

    def check(self, requests: Mapping[str, Request]) -> None:
        """Check requests by the place that they come from. Raises UserError."""
        check(self.model, requests)

    def generate(
        self, requests: Sequence[Request], *, progress: Progress | None = None
    ) -> list[Float[np.ndarray, "T 263"]]:
        """Features of each request; not normalised, contacts between 0 and 1.

        Args:
            requests: what to generate.
            progress: called with the number of steps done, and the total.
        """
        s = self.sampling
        return sample(
            self.model,
            requests,
            steps=s.steps,
            solver=s.solver,
            guidance=s.guidance,
            progress=progress,
        )


def loaded(sampling: Sampling, sha256: str) -> Generator:
    """The generator. Raises UserError if the model is not the one of the recipe."""
    generator = Generator.load(sampling)
    if generator.sha256 != sha256:
        raise UserError(
            f"{sampling.model}: not the model that this run began with, but another one under the same path. Give "
            "every node the same files, or wait until the training has finished."
        )
    return generator


def asked(request: Request) -> dict[str, str]:
    """What a request asks for besides its length, seed and name, for tables and pages."""
    values: dict[str, Any] = {
        key: getattr(request, key)
        for key in ("text", "style", "action", "domain", "keypoints", "given", "root")
    }
    return {
        key: value if isinstance(value, str) else f"{len(value.frames):,} frames"
        for key, value in values.items()
        if value is not None
    }
