"""Judge a pose prior: its likelihood and energy on held-out poses, its completions and its samples.

Every figure has a baseline, because no figure means anything alone: a Gaussian's NLL, AUROC 0.5, the mean pose, the
distance of held-out poses to the training poses. Equal seeds and poses give equal figures.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mocap_ray.errors import UserError
from mocap_ray.priors.flow import Flow
from mocap_ray.priors.judging import metrics
from mocap_ray.priors.judging.common_axes import common_nll
from mocap_ray.priors.judging.completion import completions
from mocap_ray.priors.judging.draws import finite_samples
from mocap_ray.priors.judging.geodesics import STEPS, along_geodesics
from mocap_ray.priors.judging.judgement import (
    DEGREES,
    Curves,
    FlowCheck,
    Judgement,
    JudgeOptions,
    Samples,
)
from mocap_ray.priors.judging.likelihood import likelihood_of
from mocap_ray.priors.judging.progress import Progress, silent, stages
from mocap_ray.priors.prior import Prior
from mocap_ray.skeleton import SMPLX_JOINTS
from mocap_ray.wording import counted

FLAT = 1e-4
"""rad; a standard deviation below it counts as zero."""
_BATCH = 1024


def judge(
    prior: Prior,
    *,
    train: Float[Tensor, "T 55 3"],
    held_out: Float[Tensor, "N 55 3"],
    clips: Int[Tensor, "N"] | None = None,
    options: JudgeOptions | None = None,
    common: Sequence[int] = (),
    progress: Progress = silent,
) -> Judgement:
    """Compute all figures of a prior.

    Args:
        prior: set to eval mode, otherwise unchanged.
        train: the poses it was trained on, rad.
        held_out: poses of other subjects.
        clips: the clip of each held-out pose; None: poses count as independent, and the standard error is too small.
        options: how much to compute.
        common: joints whose NLL is also computed without the others, to compare priors of other joints.
        progress: is called often; see `judging.progress`.

    Raises:
        UserError: fewer than two training or held-out poses, or a prior without a finite sample.
    """
    options = options or JudgeOptions()
    for name, poses in (("training", train), ("held-out", held_out)):
        if len(poses) < 2:
            found = counted(len(poses), f"{name} pose")
            raise UserError(f"{found}. Judging needs at least two; choose another split.")
    prior.eval()
    device = prior.coordinates.mean.device

    def draw(stage: int) -> torch.Generator:
        """Each stage has its own generator, so that all priors get the same draws."""
        return torch.Generator().manual_seed(options.seed * 10 + stage)

    clips = torch.arange(len(held_out)) if clips is None else clips
    # The worst pose of a split is not among those that were not looked at; a bound costs many passes for each pose.
    counted_rows = _some(len(held_out), options.poses if prior.bound else options.likelihood, draw(0))
    scored = {"held_out": held_out[counted_rows], "clips": clips[counted_rows], "rows": counted_rows}
    held_out = held_out[_some(len(held_out), options.poses, draw(0))].to(device)
    train = train[_some(len(train), options.train, draw(1))].to(device)
    # A VAE draws from torch's global generators: earlier draws must not change the figures, nor these later draws.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(options.seed)
        stage = stages(progress, _costs(prior, held_out, train, options, scored=len(counted_rows)))
        likelihood, worst = likelihood_of(
            prior, train=train, **scored, options=options, progress=stage["likelihood"]
        )
        stage["flow check"](0.0, "flow check")
        flow = flow_check(prior, held_out)
        energies = calibration(prior, held_out, generator=draw(2), progress=stage["calibration"])
        stage["samples"](0.0, "samples")
        samples, curves = _samples(prior, train, held_out, energies, draw(3), options)
        hidden = held_out[_some(len(held_out), options.completed, draw(4))]
        mean = metrics.mean_pose(train)
        completed, examples = completions(
            prior, hidden, mean=mean, generator=draw(5), steps=options.steps, progress=stage["completion"]
        )
        far = along_geodesics(
            prior,
            held_out[_some(len(held_out), options.geodesics, draw(6))],
            generator=draw(7),
            progress=stage["geodesics"],
        )
        shared = None
        if common:
            stage["common joints"](0.0, "common joints")
            shared = common_nll(
                prior,
                common,
                train=train,
                held_out=held_out,
                importance=options.importance,
                generator=draw(8),
            )
        progress(1.0, "")
    real = torch.as_tensor(energies[0.0])
    return Judgement(
        kind=prior.config.kind,
        parameters=sum(p.numel() for p in prior.parameters()),
        options=options,
        held_out=len(held_out),
        train=len(train),
        likelihood=likelihood,
        worst=worst,
        geodesics=far,
        common=shared,
        unbounded=unbounded(train, prior.coordinates.index_list),
        flow=flow,
        auroc={d: metrics.auroc(real, torch.as_tensor(energies[d])) for d in DEGREES},
        completions=completed,
        samples=samples,
        curves=replace(curves, completed=examples),
        index=prior.coordinates.index_list,
    )


def _costs(
    prior: Prior, held_out: Tensor, train: Tensor, options: JudgeOptions, *, scored: int
) -> dict[str, float]:
    """Stage -> about how long it takes, in passes of one pose through the prior; measured on the shipped flows."""
    bound = options.importance if prior.bound else 1
    return {
        "likelihood": 1.0 * bound * (scored + len(train)),
        "flow check": 4000.0 if isinstance(prior, Flow) else 1.0,
        "calibration": 1.0 * (1 + len(DEGREES)) * len(held_out),
        "samples": options.samples + options.samples * len(train) / 1000,
        # Forwards and backwards through up to four tasks at once; a small batch costs about 50 poses more.
        "completion": 3.5 * options.steps * (4 * options.completed + 50),
        "geodesics": 3.5 * (STEPS + 1) * options.geodesics,
        "common joints": 1.0 * len(held_out),
    }


def _some(available: int, wanted: int, generator: torch.Generator) -> Int[Tensor, "_"]:
    """At most `wanted` indices, drawn without replacement, in ascending order."""
    return torch.randperm(available, generator=generator)[:wanted].sort().values


def unbounded(train: Float[Tensor, "T 55 3"], index: Sequence[int]) -> dict[str, str]:
    """Joints whose active axes do not fill space in the training poses: joint -> reason.

    A density can grow without bound on a value that repeats (feet at rest) and on a line or plane that the axes never
    leave (a hinge that is not aligned with an axis), so a flow's NLL can decrease without bound and means nothing.
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
    """Energies per active dimension, computed in batches."""
    return torch.cat([prior.energy(piece) for piece in torch.split(poses, _BATCH)]) / prior.coordinates.active


def flow_check(prior: Prior, poses: Float[Tensor, "N 55 3"], *, differentiated: int = 4) -> FlowCheck | None:
    """Check round trip and log-determinant of a flow; None for other priors."""
    if not isinstance(prior, Flow):
        return None
    with torch.no_grad():
        x = prior.coordinates.encode(poses[:_BATCH])[0]
        z, _ = prior.transform(x)
        off = (prior.inverse(z) - x).abs().flatten()
    exact = copy.deepcopy(prior).double()
    worst = 0.0
    for row in x[:differentiated].double():
        # All rows of the Jacobian in one backward pass: one copy of x for each output.
        many = row.expand(len(row), -1).clone().requires_grad_()
        z, log_det = exact.transform(many)
        (jacobian,) = torch.autograd.grad(z.diagonal().sum(), many)
        worst = max(worst, float((torch.linalg.slogdet(jacobian).logabsdet - log_det[0].detach()).abs()))
    return FlowCheck(float(off.median()), float(off.max()), worst)


def calibration(
    prior: Prior,
    poses: Float[Tensor, "N 55 3"],
    *,
    generator: torch.Generator,
    progress: Progress = silent,
) -> dict[float, Float[np.ndarray, "N"]]:
    """Energies per active dimension of poses (key 0) and of the same poses with all joints turned by `DEGREES`."""
    joints = torch.tensor(prior.coordinates.active_joints, device=poses.device)
    found = {0.0: energies_of(prior, poses).cpu().numpy()}
    for k, degrees in enumerate(DEGREES):
        progress((k + 1) / (len(DEGREES) + 1), "calibration")
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
    drawn = finite_samples(prior, options.samples, generator)
    made, true, seen = (poses[:, joints] for poses in (drawn, real, train))
    nearest, true_nearest = metrics.nearest_deg(made, seen), metrics.nearest_deg(true, seen)
    marginals = metrics.marginal_distance_deg(made, true)
    middle = metrics.mean_pose(seen)
    angles = [metrics.geodesic_deg(poses, middle.expand_as(poses)).cpu().numpy() for poses in (made, true)]
    summary = Samples(
        count=options.samples,
        broken=options.samples - len(drawn),
        diversity_deg=metrics.diversity_deg(made),
        held_out_diversity_deg=metrics.diversity_deg(true),
        nearest_deg=float(nearest.median()),
        held_out_nearest_deg=float(true_nearest.median()),
        copies=float((nearest < torch.quantile(true_nearest, 0.05)).float().mean()),
        marginal_deg=float(marginals.mean()),
        train_marginal_deg=float(metrics.marginal_distance_deg(seen, true).mean()),
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
