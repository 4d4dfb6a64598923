"""Fit poses to noisy joints, with and without a prior, and show that a prior lowers the error.

    mocap-ray train joint_flow --override data.root=DATA data.joints=body output.root=runs/joint_flow
    python examples/fit_with_prior.py --data DATA runs/gaussian_prior runs/joint_flow --out fitting.html

Held-out poses of a body become joint positions; noise is added, and for `--observed 2d` the depth is dropped, as by a
distant camera. A pose is then fitted to them by gradient descent through `torch_joints`:

    loss = |joints(pose) - observed|^2 / (2 noise^2)  +  weight * prior.energy(pose)

The prior excludes axes that the training poses do not bound, such as an elbow that bends about one axis only. Its
energy says nothing about them, so `prior.project` puts them at their constants before joints and energy are computed.

A data term of precise joints is stiff: with 1 cm of noise its gradient is so much larger than that of the energy that
Adam hardly turns a bone about its own axis, of which the joints say nothing. So the noise of the data term starts at
`FIRST_NOISE` and falls to the given one over the first `ANNEALED` of the steps.

That is a MAP estimate, so in theory the weight is 1. In practice the joints of a frame are less independent than the
noise model assumes, and a density is less sharp than the prior claims, so the weight of each prior is chosen on
validation poses. The error is computed on test poses: degrees between fitted and true rotations, and millimetres
between fitted and true joints. Without a prior the same loop runs with weight 0.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import mocap_ray
from mocap_ray.body.model import ShapedBody
from mocap_ray.body.torch_joints import torch_joints
from mocap_ray.cli.progress import progress_bar
from mocap_ray.cli.screen import console
from mocap_ray.dataset.poses import read_poses
from mocap_ray.pages.gallery import gallery
from mocap_ray.priors import Prior, pictures
from mocap_ray.priors.judging import metrics
from mocap_ray.priors.judging.progress import Progress, part, silent
from mocap_ray.wording import counted

WEIGHTS = (0.03, 0.1, 0.3, 1.0, 3.0)
STEPS, RATE = 600, 0.02
"""Steps of Adam and its first rate, rad. A flow's energy is steep: with 200 steps from 0.05, fits with a joint_flow end
at a loss 24 nats higher (3-D, 3 cm) and errors 1 to 3 degrees larger, which judges the loop and not the prior."""


FIRST_NOISE, ANNEALED = 0.05, 0.6
"""Metres, and a share of the steps. At 1 cm in 3-D, 400 such steps end 9 to 15 nats lower than 400 without, and 0.7 to
3.2 degrees nearer to the true pose (32 poses, Gaussian and joint_flow, weights 1 and 3); 1,200 without are still 2 to
7 nats higher. Starting at 0.1 is as good for the Gaussian, and up to 11 nats worse for joint_flow."""


@dataclass(frozen=True)
class Fit:
    """The result of one method: its name, the weight of its prior, its errors, and the fitted poses."""

    name: str
    weight: float
    degrees: float
    millimetres: float
    poses: Tensor


def observe(joints: Tensor, *, noise: float | Tensor, observed: str, seed: int) -> Tensor:
    """Joints [N, 22, 3] with Gaussian noise in metres (a tensor: [N, 1, 1]); `2d` keeps x and y only."""
    drawn = noise * torch.randn(joints.shape, generator=torch.Generator().manual_seed(seed))
    seen = joints + drawn
    return seen[..., :2] if observed == "2d" else seen


def fit(
    body: ShapedBody,
    seen: Tensor,
    *,
    noise: float | Tensor,
    start: Tensor,
    prior: Prior | None = None,
    weight: float | Tensor = 1.0,
    steps: int = STEPS,
    rate: float = RATE,
    progress: Progress = silent,
) -> Tensor:
    """Poses [N, 55, 3] with joints near the observed ones [N, 22, 2 or 3] and low energy under the prior.

    Each pose is fitted on its own, so noise and weight may also be tensors [N]: one batch of many settings.

    The pelvis stays at `start`, as if its position and orientation were known; all body joints are free, except
    the axes that the prior excludes.
    """
    free = start.expand(len(seen), 55, 3).clone().requires_grad_()
    movable = torch.zeros(55, 1)
    movable[1:22] = 1.0
    optimiser = torch.optim.Adam([free], lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)

    def posed() -> Tensor:
        # The energy is flat along the axes that the prior excludes: without this, noise would move them.
        return torch.where(movable > 0, free if prior is None else prior.project(free), start)

    for step in range(steps):
        optimiser.zero_grad()
        poses = posed()
        misfit = torch_joints(body, poses)[..., : seen.shape[-1]] - seen
        loss = misfit.square().sum((1, 2)) / (2 * _annealed(noise, step / steps) ** 2)
        if prior is not None:
            loss = loss + weight * prior.energy(poses)
        torch.autograd.backward(loss.sum())
        optimiser.step()
        schedule.step()
        progress((step + 1) / steps, "")
    return posed().detach()


def _annealed(noise: float | Tensor, share: float) -> Tensor:
    """The noise of the data term after a share of the steps, metres: falls geometrically from FIRST_NOISE."""
    last = torch.as_tensor(noise)
    first = last.clamp(min=FIRST_NOISE)
    return first * (last / first) ** min(1.0, share / ANNEALED)


def errors(body: ShapedBody, found: Tensor, truth: Tensor, *, joints: Sequence[int]) -> tuple[float, float]:
    """Mean geodesic error in degrees over `joints`, and mean joint error in millimetres."""
    degrees = metrics.geodesic_deg(found, truth)[:, list(joints)].mean()
    away = (torch_joints(body, found) - torch_joints(body, truth)).norm(dim=-1).mean()
    return float(degrees), 1000 * float(away)


def compare(
    priors: dict[str, Prior],
    *,
    body: ShapedBody,
    tune: Tensor,
    test: Tensor,
    start: Tensor,
    noise: float = 0.03,
    observed: str = "2d",
    seed: int = 0,
    steps: int = STEPS,
    progress: Progress = silent,
) -> list[Fit]:
    """Fit `test` without a prior and with each; weights are chosen on `tune`, by degrees."""
    fits_to_do = 1 + len(priors) * (len(WEIGHTS) + 1)
    parts = (
        part(progress, k / fits_to_do, (k + 1) / fits_to_do, name=f"fit {k + 1} of {fits_to_do}")
        for k in range(fits_to_do)
    )
    frozen = [p.requires_grad_(False).coordinates.active_joints for p in priors.values()]
    joints = sorted(set(range(1, 22)).intersection(*frozen))

    def run(truth: Tensor, prior: Prior | None, weight: float, seed: int) -> tuple[Tensor, float, float]:
        seen = observe(torch_joints(body, truth), noise=noise, observed=observed, seed=seed)
        found = fit(
            body,
            seen,
            noise=noise,
            start=start,
            prior=prior,
            weight=weight,
            steps=steps,
            progress=next(parts),
        )
        return found, *errors(body, found, truth, joints=joints)

    found, degrees, millimetres = run(test, None, 0.0, seed)
    fits = [Fit("without a prior", 0.0, degrees, millimetres, found)]
    for name, prior in priors.items():
        weight = min(WEIGHTS, key=lambda w: run(tune, prior, w, seed + 1)[1])
        found, degrees, millimetres = run(test, prior, weight, seed)
        fits.append(Fit(name, weight, degrees, millimetres, found))
    return fits


def without_pelvis(poses: Tensor) -> Tensor:
    """The same body poses facing forward, with all other joints at rest: the part that the fit can recover."""
    out = torch.zeros_like(poses)
    out[:, 1:22] = poses[:, 1:22]
    return out


def some(root: str, split: str, count: int, seed: int) -> Tensor:
    """Poses of a split, drawn without replacement."""
    poses = torch.as_tensor(read_poses(root, split=split).rotvecs)
    return without_pelvis(
        poses[torch.randperm(len(poses), generator=torch.Generator().manual_seed(seed))[:count]]
    )


def draw(fits: Sequence[Fit], truth: Tensor, *, shown: int = 8) -> str:
    """A page with rows of stick figures, the ground truth first."""
    rows = [("ground truth", truth)]
    rows += [(f"{f.name}: {f.degrees:.1f}°, {f.millimetres:.0f} mm", f.poses) for f in fits]
    return gallery(
        [(name, poses[:shown].numpy()) for name, poses in rows], joints=range(55), title="Fitting with priors"
    )


def main() -> None:
    """Command line: see the top of the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("priors", nargs="+", help="folders of trainings")
    parser.add_argument("--data", required=True, help="the data set, with splits train, val and test")
    parser.add_argument("--observed", choices=("2d", "3d"), default="2d")
    parser.add_argument("--noise", type=float, default=0.03, help="metres")
    parser.add_argument("--count", type=int, default=64, help="poses to fit")
    parser.add_argument("--out", type=Path, default=Path("fitting.html"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # for so few poses, several threads only wait for each other
    test = some(arguments.data, "test", arguments.count, seed=0)
    with progress_bar(console(), "fitting") as progress:
        fits = compare(
            {Path(path).name: mocap_ray.load_prior(path) for path in arguments.priors},
            body=pictures.figure_body(),
            tune=some(arguments.data, "val", 32, seed=1),
            test=test,
            start=metrics.mean_pose(some(arguments.data, "train", 2000, seed=2)),
            noise=arguments.noise,
            observed=arguments.observed,
            progress=progress,
        )
    print(
        f"{counted(len(test), 'test pose')}, joints observed in {arguments.observed} with "
        f"{1000 * arguments.noise:.0f} mm of noise"
    )
    for f in fits:
        print(f"  {f.name:20} weight {f.weight:<5g} {f.degrees:5.1f} degrees {f.millimetres:6.0f} mm")
    arguments.out.write_text(draw(fits, test), encoding="utf-8")
    print(f"{arguments.out}: open it in a browser")


if __name__ == "__main__":
    main()
