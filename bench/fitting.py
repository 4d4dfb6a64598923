r"""Errors of poses fitted to noisy joints: observations x noise x people, without a prior and with each, as one table.

    python -m bench.fitting --data CMU --people "CMU 02, 88" CMU test --people Bandai BANDAI train \
        --prior gaussian_prior runs/gaussian-0 runs/gaussian-1 runs/gaussian-2 \
        --prior joint_flow runs/joint-0 runs/joint-1 runs/joint-2 --out fitting.json --picture docs/fitting.svg

The loop is that of `examples/fit_with_prior.py`. Seed k draws the noise and the poses, and uses the k-th training of
each prior. The weight of a prior is chosen for each kind of observation and each noise, by degrees, on poses of the
split `val` of `--data`, so the people of the table have no part in it. An error is the mean angle between fitted and
true rotations over the body joints that all priors model; the table has its mean over the seeds and their standard
deviation. 2-D joints are those of a distant camera that sees 200 pixels per metre: a person of 1.7 m is 340 pixels
tall, and 1, 3 and 10 cm of noise are 2, 6 and 20 pixels.

All noises, people and weights of a prior are one batch: two batches a prior and seed for each kind of observation.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

import mocap_ray
from bench.fitting_table import Cell, at_border, failures, picture, text
from examples.fit_with_prior import STEPS, fit, observe, some
from mocap_ray.body.torch_joints import torch_joints
from mocap_ray.priors import Prior, pictures
from mocap_ray.priors.judging import metrics

OBSERVED = ("2d", "3d")
NOISES = (0.01, 0.03, 0.1)
"""Metres."""
WEIGHTS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""The table says where the best one is at the border of this grid."""
NONE = "no prior"


@dataclass(frozen=True)
class Task:
    """What one seed fits: people's poses, poses to choose weights on, and the joints to judge."""

    people: Mapping[str, Tensor]
    tune: Tensor
    start: Tensor
    joints: Sequence[int]
    seed: int
    steps: int


def fitted(
    task: Task, truth: Tensor, prior: Prior | None, *, observed: str, noise: Tensor, weight: Tensor, seed: int
) -> tuple[Tensor, Tensor]:
    """Errors [N] of fits to `truth` in degrees and millimetres; each pose has its own noise and weight."""
    body = pictures.figure_body()
    at = torch_joints(body, truth)
    seen = observe(at, noise=noise[:, None, None], observed=observed, seed=seed)
    found = fit(body, seen, noise=noise, start=task.start, prior=prior, weight=weight, steps=task.steps)
    degrees = metrics.geodesic_deg(found, truth)[:, list(task.joints)].mean(1)
    return degrees, 1000 * (torch_joints(body, found) - at).norm(dim=-1).mean(-1)


def chosen_weights(task: Task, prior: Prior, *, observed: str) -> list[float]:
    """The best weight for each noise, on the poses to tune on."""
    settings = torch.cartesian_prod(torch.tensor(NOISES), torch.tensor(WEIGHTS))
    noise, weight = settings.repeat_interleave(len(task.tune), 0).unbind(1)
    truth = task.tune.repeat(len(settings), 1, 1)
    # A seed of its own: the noise of the table has no part in the choice.
    degrees, _ = fitted(
        task, truth, prior, observed=observed, noise=noise, weight=weight, seed=1000 + task.seed
    )
    best = degrees.reshape(len(NOISES), len(WEIGHTS), -1).mean(-1).argmin(1)
    return [WEIGHTS[k] for k in best.tolist()]


def errors(task: Task, method: str, prior: Prior | None) -> list[Cell]:
    """The errors of one method in all cells, for one seed."""
    cells = []
    for observed in OBSERVED:
        weights = [0.0] * len(NOISES) if prior is None else chosen_weights(task, prior, observed=observed)
        truth = torch.cat(list(task.people.values()))
        noise, weight = (torch.tensor(v).repeat_interleave(len(truth)) for v in (NOISES, weights))
        all_errors = fitted(
            task,
            truth.repeat(len(NOISES), 1, 1),
            prior,
            observed=observed,
            noise=noise,
            weight=weight,
            seed=task.seed,
        )
        sizes = [len(poses) for poses in task.people.values()]
        degrees, millimetres = (e.reshape(len(NOISES), -1).split(sizes, 1) for e in all_errors)
        for people, d, m in zip(task.people, degrees, millimetres, strict=True):
            for k, level in enumerate(NOISES):
                values = ((float(d[k].mean()),), (float(m[k].mean()),), (weights[k],))
                cells.append(Cell(people, observed, level, method, *values))
    return cells


def merged(seeds: Sequence[Sequence[Cell]]) -> list[Cell]:
    """The cells of all seeds as one list."""
    return [
        replace(
            same[0],
            degrees=tuple(c.degrees[0] for c in same),
            millimetres=tuple(c.millimetres[0] for c in same),
            weights=tuple(c.weights[0] for c in same),
        )
        for same in zip(*seeds, strict=True)
    ]


def main() -> None:
    """Command line: see the top of the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", required=True, help="the data set with the splits train and val")
    parser.add_argument(
        "--people", action="append", nargs=3, metavar=("NAME", "DATA", "SPLIT"), required=True
    )
    parser.add_argument("--prior", action="append", nargs="+", metavar="NAME FOLDER", required=True)
    parser.add_argument("--count", type=int, default=64, help="poses of each cell")
    parser.add_argument("--tune", type=int, default=32, help="poses to choose weights on")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=Path("fitting.json"))
    parser.add_argument("--picture", type=Path, help="an SVG file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    priors = {
        name: [mocap_ray.load_prior(folder).requires_grad_(False) for folder in folders]
        for name, *folders in arguments.prior
    }
    active = [p.coordinates.active_joints for several in priors.values() for p in several]
    seeds = []
    for seed in range(min(len(several) for several in priors.values())):
        task = Task(
            {name: some(data, split, arguments.count, seed) for name, data, split in arguments.people},
            tune=some(arguments.data, "val", arguments.tune, seed),
            start=metrics.mean_pose(some(arguments.data, "train", 2000, seed)),
            joints=sorted(set(range(1, 22)).intersection(*active)),
            seed=seed,
            steps=arguments.steps,
        )
        cells = []
        for name, prior in {NONE: None, **{name: several[seed] for name, several in priors.items()}}.items():
            began = time.perf_counter()
            cells += errors(task, name, prior)
            print(f"seed {seed}, {name}: {time.perf_counter() - began:.0f} s", flush=True)
        seeds.append(cells)
    table = merged(seeds)
    print(text(table))
    for line in (*failures(table, baselines=[NONE, "gaussian_prior"]), *at_border(table, WEIGHTS)):
        print(line)
    arguments.out.write_text(json.dumps([asdict(c) for c in table], indent=1))
    if arguments.picture:
        arguments.picture.write_text(picture(table), encoding="utf-8")


if __name__ == "__main__":
    main()
