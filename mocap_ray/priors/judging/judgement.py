"""What judging a prior finds: its figures as types, and as plain JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import numpy as np
from jaxtyping import Float
from pydantic import JsonValue

from mocap_ray.priors.judging.completion import Completion, Examples

DEGREES = (5.0, 10.0, 20.0)
"""By how much every joint is turned to disturb a pose."""


@dataclass(frozen=True, slots=True)
class JudgeOptions:
    """How much is computed; the defaults take some seconds to a minute on two CPU cores.

    Attributes:
        seed: of everything that is drawn.
        poses: held-out poses, drawn without replacement where there are more.
        train: training poses, likewise: those among which neighbours are looked for.
        samples: poses drawn from the prior.
        completed: poses whose joints are hidden and found again.
        steps: of the optimiser that finds them.
        importance: samples per pose of the importance-weighted bound (VAE).
    """

    seed: int = 0
    poses: int = 5000
    train: int = 5000
    samples: int = 1000
    completed: int = 48
    steps: int = 150
    importance: int = 64


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Held-out NLL in nats per rad and active dimension, the same in bits.

    Attributes:
        nll, bits: per active dimension.
        error: standard error of `nll`, with clips as the independent observations; nan for fewer than two clips.
        train_nll: the same on training poses; the gap to `nll` is what does not generalise.
        gaussian_nll: `nll` of an independent Gaussian per active axis of rotation vectors, fitted to these training
            poses: the naive answer.
        active: number of active dimensions; only equal ones compare.
        bound: an upper bound of the NLL (VAE), by `importance` samples a pose.
        importance: samples of the bound; 0 where the density is exact.
    """

    nll: float
    bits: float
    error: float
    train_nll: float
    gaussian_nll: float
    active: int
    bound: bool
    importance: int


@dataclass(frozen=True, slots=True)
class FlowCheck:
    """Whether a flow is what it claims to be, on held-out poses.

    Attributes:
        round_trip_median, round_trip_max: |x - inverse(transform(x))| in float32, in its own coordinates.
        log_det: largest difference to the log-determinant by automatic differentiation, float64.
    """

    round_trip_median: float
    round_trip_max: float
    log_det: float


@dataclass(frozen=True, slots=True)
class Samples:
    """What the prior makes up, in degrees of mean geodesic distance over its joints.

    Attributes:
        count: samples drawn.
        broken: those with a number that is not finite; left out of the rest.
        diversity_deg: mean distance of two samples; `held_out_diversity_deg` that of two held-out poses.
        nearest_deg: median distance to the nearest training pose; `held_out_nearest_deg` that of held-out poses.
        copies: share of samples nearer to a training pose than 95 % of the held-out poses are; 0.05 is honest.
        marginal_deg: Wasserstein-1 distance of samples to held-out poses, mean over joints;
            `train_marginal_deg` that of training poses, which have other subjects.
    """

    count: int
    broken: int
    diversity_deg: float
    held_out_diversity_deg: float
    nearest_deg: float
    held_out_nearest_deg: float
    copies: float
    marginal_deg: float
    train_marginal_deg: float


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """What the page draws.

    Attributes:
        energies: per active dimension, of real poses (`0`) and of those perturbed by so many degrees.
        nearest, held_out_nearest: distances to the nearest training pose, degrees.
        angles, held_out_angles: [N, K] angle of each joint from its mean rotation, degrees.
        joints: names of the K joints.
        marginals: [K] Wasserstein-1 distance, degrees.
        shown: [S, 55, 3] the first samples.
        completed: some poses of each way of hiding joints.
    """

    energies: dict[float, Float[np.ndarray, "_"]]
    nearest: Float[np.ndarray, "_"]
    held_out_nearest: Float[np.ndarray, "_"]
    angles: Float[np.ndarray, "N K"]
    held_out_angles: Float[np.ndarray, "M K"]
    joints: tuple[str, ...]
    marginals: Float[np.ndarray, "K"]
    shown: Float[np.ndarray, "S 55 3"]
    completed: list[Examples] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """All figures of one prior; `summary` is plain JSON.

    Attributes:
        kind: of the model.
        parameters: how many numbers were learned.
        options: how much was computed.
        held_out, train: how many poses of each were used.
        unbounded: joints on which a density can grow without bound -> why; the NLL means little with any.
        auroc: degrees of noise -> AUROC.
        index: the active axes, 3 joint + axis; only NLLs of equal ones compare.
    """

    kind: str
    parameters: int
    options: JudgeOptions
    held_out: int
    train: int
    likelihood: Likelihood
    unbounded: dict[str, str]
    flow: FlowCheck | None
    auroc: dict[float, float]
    completions: list[Completion]
    samples: Samples
    curves: Curves
    index: tuple[int, ...]

    def summary(self) -> dict[str, JsonValue]:
        """Every figure, without the curves; nan becomes null."""
        return {
            "kind": self.kind,
            "parameters": self.parameters,
            "options": asdict(self.options),
            "held_out_poses": self.held_out,
            "train_poses": self.train,
            "likelihood": _plain(asdict(self.likelihood)),
            "unbounded": dict(self.unbounded),
            "flow": None if self.flow is None else _plain(asdict(self.flow)),
            "auroc": {f"{d:g}": v for d, v in self.auroc.items()},
            "completion": [asdict(c) for c in self.completions],
            "samples": _plain(asdict(self.samples)),
            "marginals_deg": dict(zip(self.curves.joints, self.curves.marginals.tolist(), strict=True)),
        }


def _plain(values: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
