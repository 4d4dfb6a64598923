"""The figures of a judged prior, as types and as plain JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float
from pydantic import JsonValue

from mocap_ray.priors.judging.common_axes import CommonNLL
from mocap_ray.priors.judging.completion import Completion, Examples
from mocap_ray.priors.judging.geodesics import Geodesics
from mocap_ray.priors.judging.tails import Tail, WorstPose

DEGREES = (5.0, 10.0, 20.0)
"""Angles by which every joint is turned to perturb a pose."""


@dataclass(frozen=True, slots=True)
class JudgeOptions:
    """How much to compute; the defaults take some seconds to a minute on two CPU cores.

    Attributes:
        seed: seed of all random draws.
        poses: number of held-out poses, drawn without replacement if there are more.
        train: number of training poses, drawn likewise; nearest neighbours are searched among them.
        samples: number of poses drawn from the prior.
        completed: number of poses whose joints are hidden and recovered.
        steps: optimiser steps of a completion.
        importance: samples per pose of the importance-weighted bound (VAE).
        likelihood: number of held-out poses whose NLL is computed; of a bound only `poses`.
        geodesics: number of ways from a held-out pose to random rotations.
    """

    seed: int = 0
    poses: int = 5000
    train: int = 5000
    samples: int = 1000
    completed: int = 48
    steps: int = 150
    importance: int = 64
    likelihood: int = 200_000
    geodesics: int = 200


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Held-out NLL in nats per rad and active dimension, the same in bits.

    Attributes:
        nll, bits: per active dimension.
        error: standard error of `nll`, with clips as the independent observations; nan for fewer than two clips.
        train_nll: the same on training poses; the difference to `nll` is the generalisation gap.
        gaussian_nll: the baseline: `nll` of an independent Gaussian per active axis of rotation vectors, fitted to
            these training poses.
        active: number of active dimensions; NLLs over different axes are not comparable.
        bound: whether `nll` is an upper bound (VAE), from `importance` samples per pose.
        importance: samples of the bound; 0 where the density is exact.
        tail: how the NLLs of single poses are distributed.
    """

    nll: float
    bits: float
    error: float
    train_nll: float
    gaussian_nll: float
    active: int
    bound: bool
    importance: int
    tail: Tail


@dataclass(frozen=True, slots=True)
class FlowCheck:
    """Numerical checks of a flow on held-out poses.

    Attributes:
        round_trip_median, round_trip_max: |x - inverse(transform(x))| in float32, in its own coordinates.
        log_det: largest difference to the log-determinant from automatic differentiation, float64.
    """

    round_trip_median: float
    round_trip_max: float
    log_det: float


@dataclass(frozen=True, slots=True)
class Samples:
    """Figures of the prior's samples, in degrees of mean geodesic distance over its joints.

    Attributes:
        count: samples drawn.
        broken: samples with non-finite values; excluded from the other figures.
        diversity_deg: mean distance of two samples; `held_out_diversity_deg`: of two held-out poses.
        nearest_deg: median distance to the nearest training pose; `held_out_nearest_deg`: of held-out poses.
        copies: share of samples nearer to a training pose than 95 % of the held-out poses are; 0.05 is expected.
        marginal_deg: Wasserstein-1 distance of samples to held-out poses, mean over joints;
            `train_marginal_deg`: of training poses, which have other subjects.
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
    """The data of the page's charts and pictures.

    Attributes:
        energies: degrees of perturbation -> energies per active dimension; 0: of real poses.
        nearest, held_out_nearest: distances to the nearest training pose, degrees.
        angles, held_out_angles: [N, K] angle of each joint from its mean rotation, degrees.
        joints: names of the K joints.
        marginals: [K] Wasserstein-1 distance, degrees.
        shown: [S, 55, 3] the first samples.
        completed: some completed poses of each task.
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
        kind: kind of the model.
        parameters: number of parameters.
        options: how much was computed.
        held_out, train: number of poses used of each split.
        worst: the held-out pose with the highest NLL.
        geodesics: energy and gradient far from the data.
        common: the NLL over the joints that are compared with other priors; None without any.
        unbounded: joints on which a density can grow without bound -> reason; with any, the NLL means little.
        auroc: degrees of noise -> AUROC.
        index: the active axes, 3 joint + axis; NLLs over different axes are not comparable.
    """

    kind: str
    parameters: int
    options: JudgeOptions
    held_out: int
    train: int
    likelihood: Likelihood
    worst: WorstPose
    geodesics: Geodesics
    common: CommonNLL | None
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
            "worst_pose": {
                "row": self.worst.row,
                "nll": _finite(self.worst.nll),
                "joint_energies": {joint: _finite(v) for joint, v in self.worst.joints.items()},
                "joint_energies_add_up": self.worst.exact,
            },
            "random_rotations": {
                "poses": self.geodesics.poses,
                "largest_energy": _finite(self.geodesics.largest_energy),
                "largest_gradient": _finite(self.geodesics.largest_gradient),
                "median_energy_at_the_end": _finite(float(self.geodesics.energy["median"][-1])),
                "broken": self.geodesics.broken,
            },
            "common_joints": None if self.common is None else _plain(asdict(self.common)),
            "unbounded": dict(self.unbounded),
            "flow": None if self.flow is None else _plain(asdict(self.flow)),
            "auroc": {f"{d:g}": v for d, v in self.auroc.items()},
            "completion": [asdict(c) for c in self.completions],
            "samples": _plain(asdict(self.samples)),
            "marginals_deg": dict(zip(self.curves.joints, self.curves.marginals.tolist(), strict=True)),
        }


def _plain(values: Mapping[str, Any]) -> dict[str, JsonValue]:
    """Values as they can be in JSON, in which no number is infinite or NaN."""
    return {k: _plain(v) if isinstance(v, Mapping) else _finite(v) for k, v in values.items()}


def _finite(value: Any) -> JsonValue:
    if isinstance(value, tuple):
        return list(value)
    found: JsonValue = None if isinstance(value, float) and not math.isfinite(value) else value
    return found
