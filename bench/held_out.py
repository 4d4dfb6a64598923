"""Held-out NLL of the body priors on people and data that they have never seen, against the reference's definitions.

Needs ../shared/data/amass and bandai, else there are no figures. Both are extracted by the real command with a stand-in
body (poses do not depend on it). Seven tests: each of five folds over the 12 CMU subjects is held out once, the next
fold validates and the other three train; CMU is trained on and Bandai is held out; and the other way round.

The contenders: our models with the shipped configs, and the reference's definitions on rotation vectors in rad, and
standardised axis by axis, which is what the reference's own trainers do by default and our baseline. All are trained
by one loop in this process: AdamW with the config's learning rate, weight decay, batch size and clipping, a cosine
schedule, and the best of ten validations, evaluated on the held-out poses. All use the same active axes (between the
data sets, those of the joints that vary in both), and all scores are nats per rad and active dimension. They get equal
CPU seconds, and then equal numbers of steps.

`BENCH_SECONDS` (20), `BENCH_STEPS` (500; 0: not) and `BENCH_SEEDS` (0,1,2) set the size: an hour on a core by default.
`python -m bench.held_out OUT.jsonl` appends a line for each training, and goes on where such a file ends.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bench.reference_priors import ReferenceGaussian, ReferenceGlobalFlow, ReferenceJointFlow
from mocap_ray import config as configs
from mocap_ray import priors
from mocap_ray.dataset.poses import read_poses
from mocap_ray.demo.standin import write_standin
from mocap_ray.priors import Coordinates
from mocap_ray.priors.forms import JointChoice
from mocap_ray.priors.prior import ClosedForm
from mocap_ray.runs.train import TrainConfig
from mocap_ray.skeleton import SMPLX_JOINTS
from mocap_ray.training.ema import Ema
from mocap_ray.training.options import TrainingOptions

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
KINDS = ("gaussian_prior", "joint_flow", "global_flow")
FOLDS = 5
LOOKS = 10
"""Validations of a contender; they do not count as its time."""
CROSS = 6_000
"""Poses of the other data set that are judged, drawn once."""


@dataclass(frozen=True)
class Split:
    """Poses [N, 55, 3] to train on, to choose a checkpoint by, and to judge; and the joints that are modelled."""

    train: Tensor
    val: Tensor
    test: Tensor
    joints: JointChoice


@dataclass(frozen=True)
class Contender:
    """A model with its loss and its score, both in nats per rad and active dimension."""

    module: nn.Module
    loss: Callable[[Tensor], Tensor]
    score: Callable[[Tensor], Tensor]
    active: int


@dataclass(frozen=True)
class Budget:
    """When a training ends: after CPU seconds, or after steps."""

    seconds: float | None = None
    steps: int | None = None

    def share(self, *, seconds: float, steps: int) -> float:
        """How much of it is used."""
        return steps / self.steps if self.steps else seconds / (self.seconds or 1.0)


def extracted(folder: Path, archive: str) -> tuple[Tensor, list[str]]:
    """All poses of an archive in ../shared/data, and the subject of each."""
    write_standin(folder / "bodies")
    keys = {
        "source.root": DATA / archive,
        "body.root": folder / "bodies",
        "output.root": folder / archive,
        "output.columns": "[features,poses]",
    }
    command = [sys.executable, "-m", "mocap_ray.cli", "extract", "amass", "--override"]
    subprocess.run([*command, *(f"{k}={v}" for k, v in keys.items())], check=True, stdout=subprocess.DEVNULL)
    poses, subjects = [], []
    for split in ("train", "val", "test"):
        found = read_poses(str(folder / archive), split=split)
        poses.append(torch.from_numpy(found.rotvecs))
        subjects += ["/".join(found.clip_ids[k].split("/")[:2]) for k in found.clip_index]
    return torch.cat(poses), subjects


def folds(subjects: list[str]) -> list[set[str]]:
    """Whole subjects, largest first, each into the fold with the fewest poses.

    `data.folds` balances the number of subjects instead. CMU's twelve have 68 to 7,096 poses, so here the sizes count.
    """
    names, counts = np.unique(subjects, return_counts=True)
    found: list[set[str]] = [set() for _ in range(FOLDS)]
    sizes = [0] * FOLDS
    for count, name in sorted(zip(counts.tolist(), names.tolist(), strict=True), reverse=True):
        smallest = sizes.index(min(sizes))
        found[smallest].add(name)
        sizes[smallest] += count
    return found


def splits(folder: Path) -> Iterator[tuple[str, Split]]:
    """The seven tests by name."""
    cmu, subjects = extracted(folder, "amass")
    bandai, styles = extracted(folder, "bandai")
    few = torch.Generator().manual_seed(0)
    where = np.array(subjects)
    parts = [torch.from_numpy(np.isin(where, sorted(fold))) for fold in folds(subjects)]
    for k, test in enumerate(parts):
        val = parts[(k + 1) % FOLDS]
        yield f"CMU fold {k}", Split(cmu[~(test | val)], cmu[val], cmu[test], "all")
    other = [torch.randperm(len(p), generator=few)[:CROSS] for p in (bandai, cmu)]
    varying = [set(Coordinates.fit(poses).active_joints) for poses in (cmu, bandai)]
    both = [SMPLX_JOINTS[j] for j in sorted(varying[0] & varying[1])]
    yield "CMU to Bandai", Split(cmu[~parts[1]], cmu[parts[1]], bandai[other[0]], both)
    # A style of Bandai is one actor in one mood, the nearest thing to a subject.
    held = torch.from_numpy(np.array(styles) == sorted(set(styles))[0])
    yield "Bandai to CMU", Split(bandai[~held], bandai[held], cmu[other[1]], both)


def contenders(config: TrainConfig, split: Split) -> dict[str, Callable[[], Contender]]:
    """Makers of new models: ours and the two of the reference."""
    kind, train, joints = config.model.kind, split.train, split.joints
    return {
        "ours": lambda: ours(config, split),
        "reference, rad": lambda: reference(kind, Coordinates.fit(train, joints=joints, standardise="none")),
        "reference": lambda: reference(kind, Coordinates.fit(train, joints=joints, standardise="axis")),
    }


def ours(config: TrainConfig, split: Split) -> Contender:
    coordinates = priors.fit_coordinates(config.model, split.train, joints=split.joints)
    prior = priors.build(config.model, coordinates)
    if isinstance(prior, ClosedForm):
        prior.fit_closed_form(split.train)
    D = prior.coordinates.active
    return Contender(prior, lambda poses: prior.loss(poses)[0], lambda poses: -prior.log_prob(poses) / D, D)


def reference(kind: str, c: Coordinates) -> Contender:
    """The reference's definition on coordinates without degenerate axes, which its own code would keep."""
    D = c.active
    module: ReferenceJointFlow | ReferenceGaussian | ReferenceGlobalFlow
    if kind == "joint_flow":
        assert 3 * len(c.active_joints) == D, "its flows need three active axes per joint"
        module = ReferenceJointFlow(c.parents())
    else:
        module = ReferenceGaussian(D) if kind == "gaussian_prior" else ReferenceGlobalFlow(D)

    def score(poses: Tensor) -> Tensor:
        x = c.encode(poses)[0]
        return -(module.log_prob(x) + c.log_volume(x)) / D

    return Contender(module, lambda poses: score(poses).mean(), score, D)


def race(
    contender: Contender, options: TrainingOptions, *, split: Split, batch: int, budget: Budget
) -> tuple[Tensor, int]:
    """Train within the budget; return the held-out scores of the best checkpoint, and the number of steps."""
    module = contender.module
    seconds, looks, steps, share = 0.0, 0, 0, 0.0
    optimiser = torch.optim.AdamW(module.parameters(), weight_decay=options.weight_decay, fused=True)
    ema = Ema(module, decay=options.ema) if options.ema is not None else None
    generator = torch.Generator().manual_seed(options.seed)
    best, kept, order = math.inf, {}, torch.empty(0, dtype=torch.long)
    began = time.process_time()
    while share < 1:
        if len(order) < batch:
            order = torch.randperm(len(split.train), generator=generator)
        rows, order = order[:batch], order[batch:]
        for group in optimiser.param_groups:
            group["lr"] = options.learning_rate * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
        module.train()
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(contender.loss(split.train[rows]))
        nn.utils.clip_grad_norm_(module.parameters(), options.grad_clip or math.inf)
        optimiser.step()
        if ema is not None:
            ema.update()
        steps += 1
        now = time.process_time()
        seconds, began = seconds + now - began, now
        share = budget.share(seconds=seconds, steps=steps)
        if share >= (looks + 1) / LOOKS:
            looks = int(share * LOOKS)
            weights = weights_of(module, ema)
            if (found := float(scores(contender, weights, split.val).mean())) < best:
                best, kept = found, weights
            began = time.process_time()
    return scores(contender, kept, split.test), steps


def weights_of(module: nn.Module, ema: Ema | None) -> dict[str, Tensor]:
    """Copies of the weights that are validated."""
    if ema is None:
        return {name: t.clone() for name, t in module.state_dict().items()}
    with ema.applied():
        return {name: t.clone() for name, t in module.state_dict().items()}


@torch.no_grad()
def scores(contender: Contender, weights: dict[str, Tensor], poses: Tensor) -> Tensor:
    """NLL of each pose per dimension, with these weights; the model keeps its own."""
    own = {name: t.clone() for name, t in contender.module.state_dict().items()}
    contender.module.eval().load_state_dict(weights)
    found = torch.cat([contender.score(part) for part in poses.split(512)]).double()
    contender.module.load_state_dict(own)
    return found


def line(nll: Tensor) -> dict[str, float]:
    """Mean, median, 99th percentile and worst pose."""
    middle, high = torch.quantile(nll, torch.tensor([0.5, 0.99], dtype=nll.dtype)).tolist()
    return {"mean": float(nll.mean()), "median": middle, "p99": high, "worst": float(nll.max())}


def run(out: Path) -> list[dict[str, object]]:
    """All trainings; those in the file are not repeated."""
    seconds, steps = float(os.environ.get("BENCH_SECONDS", "20")), int(os.environ.get("BENCH_STEPS", "500"))
    done: list[dict[str, object]] = (
        [json.loads(text) for text in out.read_text().splitlines()] if out.exists() else []
    )
    keys = ("kind", "name", "test", "seed", "budget")
    seen = {tuple(row[k] for k in keys) for row in done}
    budgets = {f"{seconds:g} s": Budget(seconds=seconds), f"{steps} steps": Budget(steps=steps)}
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        tests = list(splits(Path(folder)))
    for seed in map(int, os.environ.get("BENCH_SEEDS", "0,1,2").split(",")):
        for (words, budget), (test, split), kind in (
            (b, s, k) for b in budgets.items() if b[1].steps != 0 for s in tests for k in KINDS
        ):
            config = configs.load(kind, TrainConfig, kind="train")
            options = config.training.model_copy(update={"seed": seed})
            for name, make in contenders(config, split).items():
                key = (kind, name, test, seed, words)
                if key in seen or (kind == "gaussian_prior" and seed):
                    continue  # one optimum for all seeds
                torch.manual_seed(seed)
                contender = make()
                nll, count = race(
                    contender, options, split=split, batch=config.data.batch_size, budget=budget
                )
                row = (
                    dict(zip(keys, key, strict=True))
                    | line(nll)
                    | {"steps": count, "active": contender.active}
                )
                done.append(row)
                with out.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    return done


def table(rows: list[dict[str, object]]) -> dict[str, float]:
    """Means over the tests of a set for each seed, then medians and ranges over the seeds."""
    figures: dict[str, float] = {}
    sets = {"CMU folds": "CMU fold", "CMU to Bandai": "CMU to Bandai", "Bandai to CMU": "Bandai to CMU"}
    groups = sorted({(str(r["budget"]), str(r["kind"]), str(r["name"])) for r in rows})
    for where, start in sets.items():
        for budget, kind, name in groups:
            mine = [
                r
                for r in rows
                if (r["budget"], r["kind"], r["name"]) == (budget, kind, name)
                and str(r["test"]).startswith(start)
            ]
            seeds = sorted({int(str(r["seed"])) for r in mine})
            for what in ("mean", "median", "p99"):
                each = [
                    statistics.mean(float(str(r[what])) for r in mine if r["seed"] == seed) for seed in seeds
                ]
                title = f"{where}, {budget}: {kind}, {name}: {what}"
                figures[title] = statistics.median(each)
                if what == "mean":
                    figures[f"{title}, lowest seed"], figures[f"{title}, highest seed"] = min(each), max(each)
            figures[f"{where}, {budget}: {kind}, {name}: worst pose"] = max(
                float(str(r["worst"])) for r in mine
            )
            figures[f"{where}, {budget}: {kind}, {name}: steps"] = statistics.median(
                float(str(r["steps"])) for r in mine
            )
    return figures


def measure() -> dict[str, float]:
    """The table, from a run into a temporary file."""
    if not (DATA / "amass").is_dir() or not (DATA / "bandai").is_dir():
        return {}
    with tempfile.TemporaryDirectory() as folder:
        return table(run(Path(folder) / "rows.jsonl"))


if __name__ == "__main__":
    for figure, value in table(run(Path(sys.argv[1]))).items():
        print(f"{figure:90} {value:9.3f}")
