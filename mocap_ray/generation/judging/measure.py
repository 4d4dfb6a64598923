"""Reconstruct windows, and measure each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mocap_ray.generation.batch import Windows, unpack
from mocap_ray.generation.evaluator import MotionEvaluator
from mocap_ray.generation.judging import metrics
from mocap_ray.generation.judging.results import Scores
from mocap_ray.generation.labels import UNKNOWN
from mocap_ray.generation.losses import CONTACTS, kl_of
from mocap_ray.generation.motion_vae import MotionVAE
from mocap_ray.generation.pictures import reconstructed
from mocap_ray.generation.windows import WindowRows
from mocap_ray.motion.features import decode

BATCH = 64
Progress = Callable[[str, float], None]
"""What is done, and the fraction that is finished."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What was measured, an entry for each window, in the order of reading."""

    domain: Int[np.ndarray, "N"]
    style: Int[np.ndarray, "N"]
    guess: Int[np.ndarray, "N"]
    clip: Int[np.ndarray, "N"]
    errors: dict[str, Float[np.ndarray, "N"]]
    contacts: Int[np.ndarray, "N 3"]
    kl: Float[np.ndarray, "N"]
    latents: Int[np.ndarray, "N"]
    means: list[Float[np.ndarray, "K D"]]
    jitter: Float[np.ndarray, "N 2"]
    skate: Float[np.ndarray, "N 2"]
    steps: Int[np.ndarray, "N 2"]
    features: Float[np.ndarray, "N 2 F"]


@torch.no_grad()
def measure(
    model: MotionVAE, judge: MotionEvaluator | None, rows: WindowRows, *, device: str, progress: Progress
) -> Found:
    """Reconstruct all windows, in batches, and measure each.

    Args:
        model: the VAE, on the device.
        judge: gives feature vectors; None: there are none.
        rows: the windows.
        device: cpu or cuda.
        progress: is told how far it is.
    """
    parts: list[dict[str, Any]] = []
    done, total = 0, sum(rows.counts.values())
    for batch in _batches(rows):
        windows = unpack(torch.from_numpy(batch).to(device))
        parts.append(of_batch(model, judge, windows, reconstructed(model, windows)))
        done += len(batch)
        progress("reconstructing", done / total)
    joined: dict[str, Any] = {}
    for name in parts[0]:
        each = [part[name] for part in parts]
        if name == "errors":
            joined[name] = {key: np.concatenate([e[key] for e in each]) for key in each[0]}
        elif name == "means":
            joined[name] = [mean for e in each for mean in e]
        else:
            joined[name] = np.concatenate(each)
    return Found(**joined)


def _batches(rows: WindowRows) -> Iterator[Float[np.ndarray, "n R 263"]]:
    """The windows in the order of the shards, some at a time."""
    held: list[np.ndarray] = []
    for shard in rows.counts:
        for block in rows.blocks(shard):
            held.append(block.rows)
            if sum(map(len, held)) >= BATCH:
                yield np.concatenate(held)
                held = []
    if held:
        yield np.concatenate(held)


def of_batch(
    model: MotionVAE, judge: MotionEvaluator | None, windows: Windows, found: Float[Tensor, "B T 263"]
) -> dict[str, Any]:
    """The entries of `Found` of some windows and their reconstructions."""
    # The style head must not be told what it is asked.
    posterior = model.encode(windows.features, length=windows.length, domain=windows.domain)
    logits = posterior.style.clone()
    logits[:, UNKNOWN] = -torch.inf
    guess = logits.argmax(-1) if logits.shape[1] > 1 else torch.zeros_like(windows.style)
    kl = torch.where(posterior.mask[..., None], kl_of(posterior.mean, posterior.log_variance), 0.0)
    length = windows.length.cpu().numpy()
    mask = metrics.lengths_mask(length, found.shape[1])
    pair = [x.float().cpu().numpy() for x in (windows.features, found)]
    joints = [decode(x) for x in pair]
    skates = [metrics.foot_skate(j, x[..., CONTACTS], mask) for j, x in zip(joints, pair, strict=True)]
    counts = posterior.mask.sum(-1).cpu().numpy()
    means = posterior.mean.cpu().numpy()
    return {
        "domain": windows.domain.cpu().numpy(),
        "style": windows.style.cpu().numpy(),
        "guess": guess.cpu().numpy(),
        "clip": windows.clip.cpu().numpy(),
        "errors": metrics.joint_errors(joints[1], joints[0], mask),
        "contacts": metrics.contact_counts(pair[1], pair[0], mask),
        "kl": kl.sum((1, 2)).cpu().numpy().astype(np.float64),
        "latents": counts,
        "means": [mean[:count] for mean, count in zip(means, counts, strict=True)],
        "jitter": np.stack([metrics.jitter(j, mask, fps=model.facts.fps) for j in joints], axis=1),
        "skate": np.stack([skate for skate, _ in skates], axis=1),
        "steps": np.stack([steps for _, steps in skates], axis=1),
        "features": _features(judge, (windows.features, found), windows),
    }


def _features(
    judge: MotionEvaluator | None, pair: tuple[Tensor, Tensor], windows: Windows
) -> Float[np.ndarray, "n 2 F"]:
    """Feature vectors of originals and reconstructions; of no numbers without an evaluator."""
    if judge is None:
        return np.zeros((len(windows), 2, 0))
    each = [judge.features(x, windows.length).cpu().numpy().astype(np.float64) for x in pair]
    return np.stack(each, axis=1)


def scores_of(name: str, found: Found, of: Bool[np.ndarray, "N"], model: MotionVAE, *, seed: int) -> Scores:
    """The figures of the windows of a domain."""
    index = np.flatnonzero(of)
    latent = model.config.latent
    means = np.concatenate([found.means[k] for k in index])
    known = of & (found.style != UNKNOWN)
    styles = found.style[known]
    skate = found.skate[of].sum(0) / np.maximum(found.steps[of].sum(0), 1)
    shaken = found.jitter[of]
    shaken = (
        shaken[np.isfinite(shaken).all(1)].mean(0) if np.isfinite(shaken).all(1).any() else np.full(2, np.nan)
    )
    real, made = found.features[of, 0], found.features[of, 1]
    order = np.random.default_rng(seed).permutation(len(real))
    has = real.shape[1] > 0
    nan = float("nan")
    return Scores(
        name=name,
        windows=len(index),
        **{key: float(values[of].mean()) for key, values in found.errors.items()},
        contact_f1=metrics.f1(found.contacts[of]),
        kl=float(found.kl[of].sum() / found.latents[of].sum() / latent),
        active=int((means.var(0) > metrics.ACTIVE).sum()),
        latent=latent,
        style_accuracy=float((found.guess[known] == styles).mean()) if len(styles) else nan,
        style_baseline=float(np.bincount(styles).max() / len(styles)) if len(styles) else nan,
        jitter_real=float(shaken[0]),
        jitter=float(shaken[1]),
        skate_real=float(skate[0]),
        skate=float(skate[1]),
        fid=metrics.fid(real, made) if has else nan,
        fid_split=metrics.fid(real[order[::2]], real[order[1::2]]) if has else nan,
        diversity_real=metrics.diversity(real, seed=seed) if has else nan,
        diversity=metrics.diversity(made, seed=seed) if has else nan,
    )
