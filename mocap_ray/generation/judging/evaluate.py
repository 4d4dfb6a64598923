"""Evaluate a trained motion VAE on held-out windows, domain by domain."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import numpy as np
import torch

from mocap_ray.dataset.poses import manifest_hash
from mocap_ray.dataset.reader import DataSet, open
from mocap_ray.dataset.views import DataSetError
from mocap_ray.errors import UserError
from mocap_ray.generation.batch import unpack
from mocap_ray.generation.evaluator import MotionEvaluator
from mocap_ray.generation.judging.measure import Found, Progress, measure, scores_of
from mocap_ray.generation.judging.results import MotionEvaluation, Pair, Scores
from mocap_ray.generation.load import model_of
from mocap_ray.generation.motion_vae import MotionVAE
from mocap_ray.generation.pictures import reconstructed
from mocap_ray.generation.slots import Draw
from mocap_ray.generation.task import WORDS
from mocap_ray.generation.windows import WindowRows
from mocap_ray.motion.features import decode
from mocap_ray.training.trained import Trained, read_trained

SHOWN = 3
"""Windows of each domain on the page."""
QUICK = 64
"""Windows of each domain in a quick evaluation."""


def evaluate(
    path: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    split: str | None = None,
    evaluator: str | os.PathLike[str] | None = None,
    seed: int = 0,
    quick: bool = False,
    device: str = "cpu",
    progress: Progress = lambda text, done: None,
) -> MotionEvaluation:
    """Reconstruct held-out windows from the means of their latents, and measure them.

    Args:
        path: folder of a training, a checkpoint or an export.
        root: data set; None: the one that the model was trained on.
        split: None: `test` if it exists, else the validation split.
        evaluator: a trained `motion_evaluator`, for FID and diversity.
        seed: of the windows to show, and of the halves.
        quick: use at most 64 windows of each domain.
        device: cpu or cuda.
        progress: is told how far it is.

    Raises:
        CheckpointError: a path without a trained model of motion.
        DataSetError: no data set, no such split, no windows.
        UserError: the data set does not fit the model.
    """
    trained = read_trained(path, WORDS)
    model = _vae(trained).to(device)
    judge, judged_by = _evaluator(evaluator, device)
    source, chosen = _held_out(trained, root, split)
    rows = _rows(model, source, chosen, quick=quick, seed=seed)
    found = measure(model, judge, rows, device=device, progress=progress)
    domains = model.facts.labels.domains
    groups = {name: found.domain == k for k, name in enumerate(domains) if (found.domain == k).any()}
    if len(groups) > 1:
        groups["all"] = np.ones(len(found.domain), bool)
    scores = [scores_of(name, found, of, model, seed=seed) for name, of in groups.items()]
    return MotionEvaluation(
        name=_short_name(path),
        where=trained.where,
        variant=model.config.variant,
        parameters=sum(p.numel() for p in model.parameters()),
        compression=model.coder.compression,
        root=source.place.uri,
        split=chosen,
        length=rows.length,
        fps=model.facts.fps,
        scores=scores,
        evaluator=judged_by,
        pairs=_pairs(model, rows, found, seed=seed, device=device),
        notes=_notes(trained, source, scores, judge),
    )


def _vae(trained: Trained) -> MotionVAE:
    model = model_of(trained)
    if not isinstance(model, MotionVAE):
        raise UserError(
            f"{trained.where}: an evaluator of motion, which judges other models. Expected a motion_vae; pass this one "
            "with --evaluator."
        )
    return model


def _evaluator(path: str | os.PathLike[str] | None, device: str) -> tuple[MotionEvaluator | None, str]:
    """The evaluator, and the sha256 of its tensors."""
    if path is None:
        return None, ""
    trained = read_trained(path, WORDS)
    model = model_of(trained)
    if not isinstance(model, MotionEvaluator):
        raise UserError(f"--evaluator {path}: a motion VAE. Expected a training of motion_evaluator.")
    digest = hashlib.sha256()
    for name, tensor in sorted(trained.tensors.items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return model.to(device), digest.hexdigest()


def _held_out(
    trained: Trained, root: str | os.PathLike[str] | None, split: str | None
) -> tuple[DataSet, str]:
    """The data set and the split to judge on. Raises DataSetError."""
    config = trained.about.get("config")
    data: dict[str, Any] = config.get("data", {}) if isinstance(config, dict) else {}
    own = data.get("root")
    if root is None and not isinstance(own, str):
        raise UserError(
            f"{trained.where}: does not record the data set it was trained on. Name it with --data."
        )
    source = open(str(own) if root is None else root)
    if split is None:
        split = "test" if "test" in source.splits else str(data.get("val", "val"))
    source.selected(split=split)
    return source, split


def _rows(model: MotionVAE, source: DataSet, split: str, *, quick: bool, seed: int) -> WindowRows:
    """The windows to judge on. Raises UserError or DataSetError."""
    facts = model.facts
    if source.profile != facts.profile:
        raise UserError(
            f"{source.place.uri}: features of the profile {source.profile}. This model was trained on "
            f"{facts.profile}; extract with that profile."
        )
    known = [name for name in source.domains if name in facts.labels.domains]
    if not known:
        raise UserError(
            f"{source.place.uri}: its domains are {', '.join(source.domains)}. This model knows "
            f"{', '.join(facts.labels.domains)}."
        )
    weights = {facts.labels.domains.index(name): 1.0 for name in known}
    rows = WindowRows.of(source, facts.labels, splits=[split], draw=Draw(facts.length, weights))
    if quick:
        rng = np.random.default_rng(seed)
        keep = np.zeros(len(rows.slots), bool)
        for domain in weights:
            keep[rng.permutation(np.flatnonzero(rows.slots.domain == domain))[:QUICK]] = True
        rows = WindowRows(rows.root, rows.slots.take(keep), rows.starts[keep], rows.length, None, source)
    if not len(rows.slots):
        raise DataSetError(f"{source.place.uri}: no windows in split '{split}'. Choose another with --split.")
    return rows


@torch.no_grad()
def _pairs(model: MotionVAE, rows: WindowRows, found: Found, *, seed: int, device: str) -> list[Pair]:
    """For each domain the windows with the least, the median and the largest error of full length."""
    slots, labels = rows.slots, model.facts.labels
    # `found` has the order of the slots: shards in order, clips in order, windows in order.
    full = np.minimum(slots.frames, rows.length) >= min(rows.length, int(np.median(slots.frames)))
    chosen: list[int] = []
    for domain in np.unique(slots.domain).tolist():
        own = np.flatnonzero((slots.domain == domain) & full)
        own = own if len(own) else np.flatnonzero(slots.domain == domain)
        ranked = own[np.argsort(found.errors["mpjpe"][own], kind="stable")]
        at = np.unique(np.linspace(0, len(ranked) - 1, min(SHOWN, len(ranked))).round().astype(int))
        chosen += ranked[at].tolist()
    shown = []
    for k in chosen:
        one = WindowRows(
            rows.root, slots.take(np.array([k])), rows.starts[[k]], rows.length, None, rows.source
        )
        block = next(one.blocks(int(slots.shard[k])))
        windows = unpack(torch.from_numpy(block.rows).to(device))
        length = int(windows.length[0])
        pair = (windows.features, reconstructed(model, windows))
        joints = [decode(x[0, :length].float().cpu().numpy()) for x in pair]
        shown.append(
            Pair(
                clip=block.names[0],
                start=int(rows.starts[k]),
                domain=labels.domains[int(slots.domain[k])],
                style=("", *labels.styles)[int(slots.style[k])],
                mpjpe=float(found.errors["mpjpe"][k]),
                original=joints[0],
                reconstruction=joints[1],
            )
        )
    return shown


def _notes(
    trained: Trained, source: DataSet, scores: list[Scores], judge: MotionEvaluator | None
) -> list[str]:
    notes = []
    if trained.about.get("manifest_hash") != manifest_hash(source):
        notes.append("The model was trained on another data set, or on another version of it.")
    if judge is None:
        notes.append("Without --evaluator there is no FID and no diversity.")
    elif any(s.windows <= judge.config.features for s in scores):
        notes.append(
            f"FID needs more windows than the {judge.config.features} numbers of a feature vector; with fewer it is "
            "too large. Compare it with the FID of two halves of the originals."
        )
    return notes


def _short_name(path: str | os.PathLike[str]) -> str:
    parts = [p for p in str(path).rstrip("/").split("/") if p not in ("", ".", "..", "checkpoints", "export")]
    parts = [p for p in parts if not p.endswith((".pt", ".json", ".safetensors"))]
    return parts[-1] if parts else "motion model"
