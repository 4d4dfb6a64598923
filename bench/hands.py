"""Compare hand_vae, its variants and baselines on synthetic hands whose density is known exactly.

Synthetic hands are a mixture of grasp types, each a Gaussian in the 90 rotation-vector coordinates: a mean hand, six
synergies in which fingers move together, and small noise on every axis. So the NLL of held-out hands has an exact
value that no model can beat except by chance, and the gap to it measures a model's error. All train for the same CPU
time of one core (so that other load does not favour one) with the shipped settings: AdamW, batch 8192, clip 1, cosine,
KL warm-up over the first tenth; validation hands choose the checkpoint; test hands give the figures, in nats per
active dimension and rad.

    python -m bench hands
    python -m bench.hands --seconds 120 --data data/hands    # also real hands, from a data set with splits

`BENCH_HANDS=data/hands python -m bench hands` does the same.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.reference_priors import ReferenceHandVAE
from mocap_ray.priors import MODELS, Prior, build, fit_coordinates
from mocap_ray.priors.bound import ImportanceWeighted
from mocap_ray.priors.forms import HANDS

TYPES, SYNERGIES, NOISE = 8, 6, 0.05
BATCH, TRAIN, HELD_OUT = 8192, 200_000, 2000
SECONDS = 120.0
SAMPLES = (64, 500)
BETTER: dict[str, Any] = {"dropout": 0.0, "learning_rate": 1e-3}
VARIANTS: dict[str, dict[str, Any]] = {
    "hand_vae as shipped": {},
    "hand_vae, dropout 0, lr 1e-3": BETTER,
    "so3, dropout 0, lr 1e-3": {"type": "so3", **BETTER},
    "so3, dropout 0, lr 1e-3, free bits 0.1": {"type": "so3", "free_bits": 0.1, **BETTER},
}
"""Settings of the model, and its learning rate where it is not 3e-4."""


@dataclass(frozen=True)
class Grasps:
    """Hands x [90] = mean_k + s @ synergies_k + noise e, with s, e standard normal and k drawn by weight.

    Attributes:
        weights: [K] sum to 1.
        means: [K, 90] rad; fingers mostly bend about one axis.
        synergies: [K, 6, 90] rad per unit of each.
        noise: rad.
    """

    weights: Tensor
    means: Tensor
    synergies: Tensor
    noise: float

    @classmethod
    def make(cls, *, seed: int = 0, noise: float = NOISE) -> Grasps:
        """Make the grasps of a seed, float64."""
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        axes = torch.tensor([0.1, 0.15, 0.35], dtype=torch.float64).repeat(30)
        weights = torch.softmax(0.5 * normal(TYPES), 0)
        return cls(weights, axes * normal(TYPES, 90), 0.35 * axes * normal(TYPES, SYNERGIES, 90), noise)

    def draw(self, n: int, *, seed: int) -> Tensor:
        """Poses [n, 55, 3] float32, all but the hands at rest."""
        generator = torch.Generator().manual_seed(seed)
        kinds = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        s = torch.randn(n, 1, SYNERGIES, generator=generator, dtype=torch.float64)
        e = torch.randn(n, 90, generator=generator, dtype=torch.float64)
        x = self.means[kinds] + self.noise * e
        for k in range(TYPES):
            here = kinds == k
            x[here] += (s[here] @ self.synergies[k]).squeeze(1)
        poses = torch.zeros(n, 55, 3)
        poses[:, HANDS] = x.reshape(n, 30, 3).float()
        return poses

    def log_density(self, poses: Tensor) -> Tensor:
        """[n] nats, exact as long as no finger turns by more than pi, which is always the case here."""
        x = poses[:, HANDS].reshape(len(poses), 1, 90).double()
        noise = torch.full((TYPES, 90), self.noise**2, dtype=torch.float64)
        kinds = torch.distributions.LowRankMultivariateNormal(self.means, self.synergies.mT, noise)
        return torch.logsumexp(kinds.log_prob(x) + self.weights.log(), -1)


@dataclass(frozen=True)
class Split:
    """Poses [N, 55, 3] to learn from, to choose a checkpoint by, and to judge by."""

    train: Tensor
    val: Tensor
    test: Tensor


def fit(
    model: nn.Module,
    loss: Callable[[Tensor, float], Tensor],
    judge: Callable[[], float],
    *,
    data: Tensor,
    seconds: float,
    learning_rate: float = 3e-4,
) -> int:
    """Train for a number of CPU seconds of this process; keep the weights of the best of ten validations.

    Args:
        model: with the initial weights.
        loss: loss of a batch, at a fraction of the time (0 to 1).
        judge: validation score that chooses the checkpoint, low is good; its time does not count.
        data: training data; each row is used once per epoch.
        seconds: CPU time of all threads together.
        learning_rate: initial learning rate.

    Returns:
        Number of steps.
    """
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=1e-4, fused=True)
    generator = torch.Generator().manual_seed(0)
    order, step, spent, judged = torch.empty(0, dtype=torch.int64), 0, 0.0, 0
    best, kept = math.inf, copy.deepcopy(model.state_dict())
    while spent < seconds:
        start, share = time.process_time(), spent / seconds
        if len(order) < min(BATCH, len(data)):
            order = torch.randperm(len(data), generator=generator)
        rows, order = order[:BATCH], order[BATCH:]
        optimiser.param_groups[0]["lr"] = learning_rate * 0.5 * (1 + math.cos(math.pi * share))
        optimiser.zero_grad(set_to_none=True)
        loss(data[rows], share).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step, spent = step + 1, spent + time.process_time() - start
        if spent >= seconds * (judged + 1) / 10:
            judged += 1
            model.eval()
            if (value := judge()) < best:
                best, kept = value, copy.deepcopy(model.state_dict())
            model.train()
    model.load_state_dict(kept)
    model.eval()
    return step


def train_prior(split: Split, settings: dict[str, Any], *, seconds: float) -> tuple[Prior, int]:
    """A hand_vae with these settings (see `VARIANTS`), and the steps it took."""
    options = {k: v for k, v in settings.items() if k != "learning_rate"}
    config = MODELS["hand_vae"][0](**options)
    torch.manual_seed(0)
    prior = build(config, fit_coordinates(config, split.train, joints="hands"))
    steps = fit(
        prior,
        # The time counts as the shipped 100 epochs, so that the KL warm-up takes a tenth of it.
        lambda poses, share: prior.loss(poses, epoch=100 * share)[0],
        lambda: prior_nll(prior, split.val, 1),
        data=split.train,
        seconds=seconds,
        learning_rate=settings.get("learning_rate", 3e-4),
    )
    return prior, steps


def train_reference(split: Split, like: Prior, *, seconds: float) -> tuple[ReferenceHandVAE, int]:
    """The reference's definition on the same numbers, trained the same way; `like` holds the coordinates."""
    c = like.coordinates
    torch.manual_seed(0)
    model = ReferenceHandVAE(c.active)

    def loss(x: Tensor, share: float) -> Tensor:
        likelihood, kl = model.terms(x)
        return (min(1.0, 10 * share) * kl - likelihood).mean() / c.active

    judge = lambda: reference_nll(model, like, split.val, 1)  # noqa: E731
    return model, fit(model, loss, judge, data=c.encode(split.train)[0], seconds=seconds)


@torch.no_grad()
def prior_nll(prior: Prior, poses: Tensor, samples: int) -> float:
    """Nats per active dimension; for a VAE, the bound with this many samples."""
    torch.manual_seed(0)
    value = (
        prior.log_prob(poses, samples=samples)
        if isinstance(prior, ImportanceWeighted)
        else prior.log_prob(poses)
    )
    return -float(value.mean()) / prior.coordinates.active


@torch.no_grad()
def reference_nll(model: ReferenceHandVAE, like: Prior, poses: Tensor, samples: int) -> float:
    """The same for the reference, with respect to rotation vectors: `like` holds the coordinates."""
    torch.manual_seed(0)
    x = like.coordinates.encode(poses)[0]
    value = model.log_prob(x, samples=samples) + like.coordinates.log_volume(x)
    return -float(value.mean()) / like.coordinates.active


def gaussian(split: Split) -> Prior:
    """The baseline at its maximum likelihood."""
    config = MODELS["gaussian_prior"][0]()
    return build(config, fit_coordinates(config, split.train, joints="hands"))


def figures_of(split: Split, *, seconds: float) -> dict[str, float]:
    """NLL of the test poses by every model, and the steps each took."""
    baseline = gaussian(split)
    figures = {"Gaussian prior: NLL": prior_nll(baseline, split.test, 1)}
    model, steps = train_reference(split, baseline, seconds=seconds)
    figures["reference: steps"] = steps
    for samples in SAMPLES:
        figures[f"reference: NLL, {samples} samples"] = reference_nll(model, baseline, split.test, samples)
    for name, options in VARIANTS.items():
        try:
            prior, steps = train_prior(split, options, seconds=seconds)
        except ValueError as error:  # so3 needs joints with three active axes, which real hands may lack
            print(f"{name}: left out. {error}")
            continue
        figures[f"{name}: steps"] = steps
        for samples in SAMPLES:
            figures[f"{name}: NLL, {samples} samples"] = prior_nll(prior, split.test, samples)
    return figures


def made(*, train: int = TRAIN) -> tuple[Grasps, Split]:
    """The grasps, and hands drawn from them."""
    grasps = Grasps.make()
    drawn = [grasps.draw(n, seed=seed) for seed, n in enumerate((train, HELD_OUT, HELD_OUT))]
    return grasps, Split(*drawn)


def real(root: str) -> Split:
    """Hands of a data set with the splits train, val and test."""
    from mocap_ray.dataset.poses import read_poses

    found = [torch.as_tensor(read_poses(root, split=split).rotvecs) for split in ("train", "val", "test")]
    generator = torch.Generator().manual_seed(0)
    some = [p[torch.randperm(len(p), generator=generator)[:HELD_OUT]] for p in found[1:]]
    return Split(found[0], *some)


def measure(*, seconds: float = SECONDS, data: str | None = None) -> dict[str, float]:
    """Nats per active dimension, of synthetic hands, and of real ones if `data` or BENCH_HANDS names a data set."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _measure(seconds, data or os.environ.get("BENCH_HANDS"))
    finally:
        torch.set_num_threads(threads)


def _measure(seconds: float, root: str | None) -> dict[str, float]:
    grasps, split = made()
    figures = {"truth: NLL": -float(grasps.log_density(split.test).mean()) / 90}
    figures |= figures_of(split, seconds=seconds)
    if not root:
        print(
            "No real hands: set BENCH_HANDS to a data set with splits train, val and test to measure them too."
        )
        return figures
    return figures | {f"real, {k}": v for k, v in figures_of(real(root), seconds=seconds).items()}


def main() -> None:
    """Command line: see the top of the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=SECONDS, help="CPU time for each model")
    parser.add_argument("--data", help="a data set with real hands")
    arguments = parser.parse_args()
    for name, value in measure(seconds=arguments.seconds, data=arguments.data).items():
        print(f"{name:48} {value:9.4g}")


if __name__ == "__main__":
    main()
