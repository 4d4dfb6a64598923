"""Held-out NLL of the three body priors on CMU takes after equal training time, against the reference's definitions.

Needs ../shared/data/amass, else there are no figures. The takes are extracted by the real command with a stand-in body
(poses do not depend on it) and split by subject. The contenders: our models with the shipped configs; the reference's
definitions, in rad; and the reference's definitions in our coordinates, which separates the effect of the coordinates
from that of the model. All are trained by one loop in this process: AdamW with the config's learning rate, weight
decay, batch size and clipping, a cosine schedule over the time, and the best of 20 validations, evaluated on the test
subjects. All use the same active axes, and all scores are nats per rad and active dimension.

`BENCH_MINUTES` (1) sets the time of each contender, `BENCH_SEEDS` (3) the number of seeds: 27 trainings by default.
"""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.reference_priors import ReferenceGaussian, ReferenceGlobalFlow, ReferenceJointFlow
from mocap_ray import config as configs
from mocap_ray import priors
from mocap_ray.dataset.poses import read_poses
from mocap_ray.demo.standin import write_standin
from mocap_ray.priors import Coordinates
from mocap_ray.priors.prior import ClosedForm
from mocap_ray.runs.train import TrainConfig
from mocap_ray.training.ema import Ema
from mocap_ray.training.options import TrainingOptions

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "amass"
SPLIT = {
    "train": ["CMU/01", "CMU/05", "CMU/07", "CMU/09", "CMU/10", "CMU/11", "CMU/12", "CMU/90"],
    "val": ["CMU/03", "CMU/08"],
    "test": ["CMU/02", "CMU/88"],
}
"""Subjects; all of their takes are in the same split."""
KINDS = ("gaussian_prior", "joint_flow", "global_flow")
LOOKS = 20
"""Validations of a contender; they do not count as its time."""

Splits = dict[str, Tensor]


@dataclass(frozen=True)
class Contender:
    """A model with its loss and its score, both in nats per rad and active dimension."""

    module: nn.Module
    loss: Callable[[Tensor], Tensor]
    score: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Result:
    """Held-out NLL of the checkpoint that validation chose, and the number of steps."""

    nll: float
    steps: int


def extracted(folder: Path) -> Splits:
    """The takes as rotation vectors [N, 55, 3] by split."""
    lists = folder / "lists"
    lists.mkdir()
    for name, subjects in SPLIT.items():
        (lists / f"{name}.txt").write_text("\n".join(subjects) + "\n")
    write_standin(folder / "bodies")
    keys = {
        "source.root": SHARED,
        "source.split": lists,
        "body.root": folder / "bodies",
        "output.root": folder / "cmu",
        "output.columns": "[features,poses]",
    }
    command = [sys.executable, "-m", "mocap_ray.cli", "extract", "amass", "--override"]
    subprocess.run([*command, *(f"{k}={v}" for k, v in keys.items())], check=True, stdout=subprocess.DEVNULL)
    return {s: torch.from_numpy(read_poses(str(folder / "cmu"), split=s).rotvecs) for s in SPLIT}


def ours(config: TrainConfig, train: Tensor) -> Contender:
    prior = priors.build(config.model, priors.fit_coordinates(config.model, train))
    if isinstance(prior, ClosedForm):
        prior.fit_closed_form(train)
    D = prior.coordinates.active
    return Contender(
        prior,
        loss=lambda poses: prior.loss(poses)[0],
        score=lambda poses: -prior.log_prob(poses) / D,
    )


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

    return Contender(module, loss=lambda poses: score(poses).mean(), score=score)


def race(
    contender: Contender, options: TrainingOptions, *, data: Splits, batch: int, minutes: float
) -> Result:
    """Train for this many minutes, without the time of validations."""
    module, train = contender.module, data["train"]
    limit, seconds, looks, steps = 60 * minutes, 0.0, 0, 0
    optimiser = torch.optim.AdamW(module.parameters(), weight_decay=options.weight_decay, fused=True)
    ema = Ema(module, decay=options.ema) if options.ema is not None else None
    generator = torch.Generator().manual_seed(options.seed)
    best, judged, order = math.inf, math.nan, torch.empty(0, dtype=torch.long)
    began = time.perf_counter()
    while seconds < limit:
        if len(order) < batch:
            order = torch.randperm(len(train), generator=generator)
        rows, order = order[:batch], order[batch:]
        for group in optimiser.param_groups:
            group["lr"] = options.learning_rate * 0.5 * (1 + math.cos(math.pi * seconds / limit))
        module.train()
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(contender.loss(train[rows]))
        nn.utils.clip_grad_norm_(module.parameters(), options.grad_clip or math.inf)
        optimiser.step()
        if ema is not None:
            ema.update()
        steps += 1
        now = time.perf_counter()
        seconds, began = seconds + now - began, now
        if seconds >= limit * (looks + 1) / LOOKS:
            looks = int(seconds / limit * LOOKS)
            if (found := _look(contender, ema, data["val"])) < best:
                best, judged = found, _look(contender, ema, data["test"])
            began = time.perf_counter()
    return Result(judged, steps)


@torch.no_grad()
def _look(contender: Contender, ema: Ema | None, poses: Tensor) -> float:
    contender.module.eval()
    if ema is None:
        return float(torch.cat([contender.score(part) for part in poses.split(2048)]).mean())
    with ema.applied():
        return float(torch.cat([contender.score(part) for part in poses.split(2048)]).mean())


def measure() -> dict[str, float]:
    """Medians over the seeds, and the differences to ours in the best and the worst seed."""
    if not SHARED.is_dir():
        return {}
    minutes, seeds = float(os.environ.get("BENCH_MINUTES", "1")), int(os.environ.get("BENCH_SEEDS", "3"))
    figures: dict[str, float] = {"minutes each": minutes, "seeds": seeds}
    with tempfile.TemporaryDirectory() as folder:
        data = extracted(Path(folder))
    figures["active dimensions"] = Coordinates.fit(data["train"]).active
    for kind in KINDS:
        config = configs.load(kind, TrainConfig, kind="train")
        found: dict[str, list[Result]] = {}
        for seed in range(seeds):
            for name, contender in contenders(config, data["train"], seed=seed).items():
                options = config.training.model_copy(update={"seed": seed})
                result = race(contender, options, data=data, batch=config.data.batch_size, minutes=minutes)
                found.setdefault(name, []).append(result)
        for name, results in found.items():
            figures[f"{kind}, {name}: held-out NLL"] = statistics.median(r.nll for r in results)
            figures[f"{kind}, {name}: steps"] = statistics.median(r.steps for r in results)
            if name != "ours":
                lower = [a.nll - b.nll for a, b in zip(found["ours"], results, strict=True)]
                figures[f"{kind}, ours less {name}: best seed"] = min(lower)
                figures[f"{kind}, ours less {name}: worst seed"] = max(lower)
    return figures


def contenders(config: TrainConfig, train: Tensor, *, seed: int) -> dict[str, Contender]:
    """New models: ours and two of the reference."""
    kind = config.model.kind
    torch.manual_seed(seed)
    found = {"ours": ours(config, train)}
    for name, coordinates in (
        ("reference", Coordinates.fit(train, standardise="none")),
        ("reference on our coordinates", priors.fit_coordinates(config.model, train)),
    ):
        torch.manual_seed(seed)
        found[name] = reference(kind, coordinates)
    return found
