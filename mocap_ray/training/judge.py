"""Judging a pose prior by held-out poses: what it says of them, and what it makes up (floor 5).

Every figure has its naive answer beside it, because none means anything alone: a Gaussian's NLL, AUROC 0.5, the
mean pose, the distance of held-out poses to the training poses. Equal seeds and poses give equal figures.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mocap_ray.models.gaussian_prior import GaussianConfig, GaussianPrior
from mocap_ray.models.prior import Prior
from mocap_ray.skeleton import SMPLX_JOINTS
from mocap_ray.training import metrics
from mocap_ray.training.completion import Completion, completions

DEGREES = (5.0, 10.0, 20.0)
FLAT = 1e-4
"""rad; a standard deviation below it counts as none."""
_BATCH = 1024


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
        gaussian_nll: `nll` of an independent Gaussian per axis of the same coordinates, fitted to these training
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
    """

    energies: dict[float, Float[np.ndarray, "_"]]
    nearest: Float[np.ndarray, "_"]
    held_out_nearest: Float[np.ndarray, "_"]
    angles: Float[np.ndarray, "N K"]
    held_out_angles: Float[np.ndarray, "M K"]
    joints: tuple[str, ...]
    marginals: Float[np.ndarray, "K"]
    shown: Float[np.ndarray, "S 55 3"]


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

    def summary(self) -> dict[str, Any]:
        """Every figure, without the curves; nan becomes null."""
        return {
            "kind": self.kind,
            "parameters": self.parameters,
            "options": asdict(self.options),
            "held_out_poses": self.held_out,
            "train_poses": self.train,
            "likelihood": _plain(asdict(self.likelihood)),
            "unbounded": self.unbounded,
            "flow": None if self.flow is None else _plain(asdict(self.flow)),
            "auroc": {f"{d:g}": v for d, v in self.auroc.items()},
            "completion": [asdict(c) for c in self.completions],
            "samples": _plain(asdict(self.samples)),
            "marginals_deg": dict(zip(self.curves.joints, self.curves.marginals.tolist(), strict=True)),
        }


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


def judge(
    prior: Prior,
    *,
    train: Float[Tensor, "T 55 3"],
    held_out: Float[Tensor, "N 55 3"],
    clips: Int[Tensor, "N"] | None = None,
    options: JudgeOptions | None = None,
    progress: Callable[[str], None] | None = None,
) -> Judgement:
    """All figures of a prior.

    Args:
        prior: put into eval mode, otherwise left as it is.
        train: the poses it was trained on, rad.
        held_out: poses of other subjects.
        clips: the clip of each held-out pose; None: each pose stands alone, and the error is too small.
        options: how much is computed.
        progress: told what comes next.

    Raises:
        ValueError: fewer than two poses on either side.
    """
    options = options or JudgeOptions()
    tell = progress or (lambda text: None)
    for name, poses in (("training", train), ("held-out", held_out)):
        if len(poses) < 2:
            raise ValueError(f"{len(poses)} {name} poses. Judging needs at least two; choose another split.")
    prior.eval()
    device = prior.coordinates.mean.device

    def draw(stage: int) -> torch.Generator:
        """Each stage draws for itself, so that all priors are asked the same questions."""
        return torch.Generator().manual_seed(options.seed * 10 + stage)

    chosen = _some(len(held_out), options.poses, draw(0))
    clips = torch.arange(len(held_out)) if clips is None else clips
    held_out, clips = held_out[chosen].to(device), clips[chosen]
    train = train[_some(len(train), options.train, draw(1))].to(device)
    # A VAE draws from torch's own generators; what was drawn before must not matter, nor what comes after.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(options.seed)
        tell("likelihood")
        likelihood = _likelihood(prior, train, held_out, clips, options)
        flow = flow_check(prior, held_out)
        tell("calibration")
        energies = calibration(prior, held_out, generator=draw(2))
        tell("samples")
        samples, curves = _samples(prior, train, held_out, energies, draw(3), options)
        tell("completion")
        hidden = held_out[_some(len(held_out), options.completed, draw(4))]
        mean = metrics.mean_pose(train)
        completed = completions(prior, hidden, mean=mean, generator=draw(5), steps=options.steps)
    real = torch.as_tensor(energies[0.0])
    return Judgement(
        kind=prior.config.kind,
        parameters=sum(p.numel() for p in prior.parameters()),
        options=options,
        held_out=len(held_out),
        train=len(train),
        likelihood=likelihood,
        unbounded=unbounded(train, prior.coordinates.index_list),
        flow=flow,
        auroc={d: metrics.auroc(real, torch.as_tensor(energies[d])) for d in DEGREES},
        completions=completed,
        samples=samples,
        curves=curves,
        index=prior.coordinates.index_list,
    )


def _some(available: int, wanted: int, generator: torch.Generator) -> Int[Tensor, "_"]:
    """At most so many of the indices, drawn without replacement, in rising order."""
    return torch.randperm(available, generator=generator)[:wanted].sort().values


def unbounded(train: Float[Tensor, "T 55 3"], index: Sequence[int]) -> dict[str, str]:
    """Joints whose active axes do not fill space in the training poses: joint -> what is wrong with it.

    A density can rise for ever on a value that repeats (feet at rest) and on a line or plane that axes never
    leave (a hinge that is not along an axis), so a flow's NLL can fall for ever and means nothing.
    """
    found: dict[str, str] = {}
    for joint in sorted({k // 3 for k in index}):
        x = train[:, joint, [k % 3 for k in index if k // 3 == joint]].double().cpu()
        counts = torch.unique(x, dim=0, return_counts=True)[1]
        share = float(counts.max()) / len(x)
        spread = torch.linalg.eigvalsh(torch.cov(x.T).reshape(x.shape[1], x.shape[1])).clamp_min(0.0).sqrt()
        reasons = []
        if share > 0.05:
            reasons.append(f"the same rotation in {share:.0%} of the training poses")
        if flat := int((spread < FLAT).sum()):
            reasons.append(f"moves in {len(spread) - flat} of its {len(spread)} active directions only")
        if reasons:
            found[SMPLX_JOINTS[joint]] = " and ".join(reasons)
    return found


@torch.no_grad()
def energies_of(prior: Prior, poses: Float[Tensor, "N 55 3"]) -> Float[Tensor, "N"]:
    """Energies per active dimension, in pieces of bounded memory."""
    return torch.cat([prior.energy(piece) for piece in torch.split(poses, _BATCH)]) / prior.coordinates.active


def _likelihood(
    prior: Prior, train: Tensor, held_out: Tensor, clips: Tensor, options: JudgeOptions
) -> Likelihood:
    values = [_nll(prior, poses, options.importance).double() for poses in (held_out, train)]
    nll = float(values[0].mean())
    return Likelihood(
        nll=nll,
        bits=nll / math.log(2),
        error=metrics.clustered_error(values[0], clips),
        train_nll=float(values[1].mean()),
        gaussian_nll=_gaussian_nll(prior, train, held_out),
        active=prior.coordinates.active,
        bound=prior.bound,
        importance=options.importance if prior.bound else 0,
    )


def _gaussian_nll(prior: Prior, train: Tensor, held_out: Tensor) -> float:
    x = prior.coordinates.encode(train)[0]
    if not bool((x.var(0) > 0).all()):
        return math.nan  # an axis that these training poses do not move
    naive = GaussianPrior(GaussianConfig(), prior.coordinates).to(x.device)
    naive.fit_closed_form(train)
    return float(energies_of(naive, held_out).mean())


@torch.no_grad()
def _nll(prior: Prior, poses: Tensor, importance: int) -> Float[Tensor, "N"]:
    """Per active dimension; of a bound the importance-weighted one (Burda et al., 2016)."""
    if not prior.bound:
        return energies_of(prior, poses)
    tighter: Any = prior
    pieces = [-tighter.log_prob(piece, samples=importance) for piece in torch.split(poses, _BATCH)]
    return torch.cat(pieces) / prior.coordinates.active


def flow_check(prior: Prior, poses: Float[Tensor, "N 55 3"], *, differentiated: int = 4) -> FlowCheck | None:
    """Round trip and log-determinant of a prior with `transform` and `inverse`; None for one without."""
    if not (hasattr(prior, "transform") and hasattr(prior, "inverse")):
        return None
    flow: Any = prior
    with torch.no_grad():
        x = prior.coordinates.encode(poses[:_BATCH])[0]
        z, _ = flow.transform(x)
        off = (flow.inverse(z) - x).abs().flatten()
    exact: Any = copy.deepcopy(prior).double()
    worst = 0.0
    for row in x[:differentiated].double():
        # The rows of the Jacobian in one backward pass: as many copies of x as there are outputs.
        many = row.expand(len(row), -1).clone().requires_grad_()
        z, log_det = exact.transform(many)
        (jacobian,) = torch.autograd.grad(z.diagonal().sum(), many)
        worst = max(worst, float((torch.linalg.slogdet(jacobian).logabsdet - log_det[0].detach()).abs()))
    return FlowCheck(float(off.median()), float(off.max()), worst)


def calibration(
    prior: Prior, poses: Float[Tensor, "N 55 3"], *, generator: torch.Generator
) -> dict[float, Float[np.ndarray, "N"]]:
    """Energies per active dimension of poses (key 0) and of the same poses with each joint turned by so much."""
    joints = torch.tensor(prior.coordinates.active_joints, device=poses.device)
    found = {0.0: energies_of(prior, poses).cpu().numpy()}
    for degrees in DEGREES:
        moved = metrics.geodesic_noise(poses, degrees=degrees, joints=joints, generator=generator)
        found[degrees] = energies_of(prior, moved).cpu().numpy()
    return found


def _samples(
    prior: Prior,
    train: Tensor,
    held_out: Tensor,
    energies: dict[float, Float[np.ndarray, "_"]],
    generator: torch.Generator,
    options: JudgeOptions,
) -> tuple[Samples, Curves]:
    joints = torch.tensor(prior.coordinates.active_joints, device=train.device)
    real = held_out[_some(len(held_out), options.samples, generator)]
    drawn = prior.sample(options.samples, generator)
    whole = torch.isfinite(drawn).flatten(1).all(1)
    broken = int((~whole).sum())
    drawn = drawn[whole]
    if not len(drawn):
        raise ValueError(
            f"All {broken} samples hold numbers that are not finite: the prior is broken. Train again."
        )
    made, true, known = (poses[:, joints] for poses in (drawn, real, train))
    nearest, true_nearest = metrics.nearest_deg(made, known), metrics.nearest_deg(true, known)
    marginals = metrics.marginal_distance_deg(made, true)
    middle = metrics.mean_pose(known)
    angles = [metrics.geodesic_deg(poses, middle.expand_as(poses)).cpu().numpy() for poses in (made, true)]
    summary = Samples(
        count=len(drawn) + broken,
        broken=broken,
        diversity_deg=metrics.diversity_deg(made),
        held_out_diversity_deg=metrics.diversity_deg(true),
        nearest_deg=float(nearest.median()),
        held_out_nearest_deg=float(true_nearest.median()),
        copies=float((nearest < torch.quantile(true_nearest, 0.05)).float().mean()),
        marginal_deg=float(marginals.mean()),
        train_marginal_deg=float(metrics.marginal_distance_deg(known, true).mean()),
    )
    curves = Curves(
        energies=energies,
        nearest=nearest.cpu().numpy(),
        held_out_nearest=true_nearest.cpu().numpy(),
        angles=angles[0],
        held_out_angles=angles[1],
        joints=tuple(SMPLX_JOINTS[j] for j in joints.tolist()),
        marginals=marginals.cpu().numpy(),
        shown=drawn[:24].cpu().numpy(),
    )
    return summary, curves
