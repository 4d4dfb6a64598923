"""Evaluate a rectified flow: draw motions with the labels and lengths of held-out windows, and compare the two sets."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from mocap_ray.dataset.poses import manifest_hash
from mocap_ray.dataset.reader import DataSet
from mocap_ray.errors import UserError
from mocap_ray.generation.batch import Windows, unpack
from mocap_ray.generation.evaluator import MotionEvaluator
from mocap_ray.generation.flow_facts import FlowFacts
from mocap_ray.generation.judging import metrics
from mocap_ray.generation.judging.evaluate import evaluator_at, held_out, held_out_rows, short_name
from mocap_ray.generation.judging.flow_results import Beside, DomainFigures, Figures, FlowEvaluation
from mocap_ray.generation.judging.measure import BATCH, Progress
from mocap_ray.generation.labels import UNKNOWN
from mocap_ray.generation.load import model_of
from mocap_ray.generation.losses import CONTACTS
from mocap_ray.generation.motion_flow import MotionFlow
from mocap_ray.generation.requests import Request
from mocap_ray.generation.sampling import GUIDANCE, SOLVER, sample
from mocap_ray.generation.task import WORDS
from mocap_ray.generation.windows import WindowRows
from mocap_ray.motion.features import decode
from mocap_ray.training.trained import Trained, read_trained

STEPS = (50, 4)
SHORTEST = 4
"""Frames of the shortest motion that can be drawn."""
SHOWN = 3
"""Windows of each domain on the page."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What was measured of a set of motions, an entry for each."""

    jitter: Float[np.ndarray, "N"]
    skate: Float[np.ndarray, "N"]
    contacts: Int[np.ndarray, "N"]
    vectors: Float[np.ndarray, "N F"]
    guess: Int[np.ndarray, "N"]


def evaluate_flow(
    path: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    split: str | None = None,
    evaluator: str | os.PathLike[str] | None = None,
    steps: Sequence[int] = STEPS,
    solver: str = SOLVER,
    guidance: float = GUIDANCE,
    seed: int = 0,
    quick: bool = False,
    device: str = "cpu",
    progress: Progress = lambda text, done: None,
) -> FlowEvaluation:
    """Draw a motion for each held-out window, with its domain, style and length, and compare the two sets.

    Args:
        path: folder of a training, a checkpoint or an export.
        root: data set; None: the one that the model was trained on.
        split: None: `test` if it exists, else the validation split.
        evaluator: a trained `motion_evaluator`, for FID, style accuracy and diversity.
        steps: numbers of steps to draw with, each from the same noise.
        solver: a name of `solvers.SOLVERS`.
        guidance: see `MotionFlow.guided`.
        seed: of the noise and the halves.
        quick: use at most 64 windows of each domain.
        device: cpu or cuda.
        progress: called with what is done, and the fraction that is finished.

    Raises:
        CheckpointError: a path without a trained model of motion.
        DataSetError: no data set, no such split, no windows.
        UserError: not a flow, or the data set does not fit it.
    """
    trained = read_trained(path, WORDS)
    model = model_of(trained)
    if not isinstance(model, MotionFlow):
        raise UserError(f"{trained.where}: no rectified flow. Expected a training of motion_flow.")
    model.to(device)
    judge, judged_by = evaluator_at(evaluator, device)
    source, chosen = held_out(trained, root, split)
    windows = _windows(held_out_rows(model.facts, source, chosen, quick=quick, seed=seed))
    requests = _requests(model, windows, seed=seed)
    real = [windows.features[k, :n].numpy() for k, n in enumerate(windows.length.tolist())]
    drawn: dict[int, list[Float[np.ndarray, "T 263"]]] = {}
    whole, before = sum(steps), 0
    for count in steps:

        def told(done: int, total: int, count: int = count, before: int = before) -> None:
            progress(f"drawing with {count} steps", (before + count * done / total) / whole)

        drawn[count] = sample(model, requests, steps=count, solver=solver, guidance=guidance, progress=told)
        before += count
    ruler = _Ruler(judge, model.facts, device)
    truth = ruler.measured(real)
    measured = {count: ruler.measured(motions) for count, motions in drawn.items()}
    names, domain = model.facts.labels.domains, windows.domain.numpy()
    groups = {name: domain == k for k, name in enumerate(names) if (domain == k).any()}
    if len(groups) > 1:
        groups["all"] = np.ones(len(domain), bool)
    style = windows.style.numpy()
    return FlowEvaluation(
        name=short_name(path),
        where=trained.where,
        parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        vae=model.facts.vae_hash,
        root=source.place.uri,
        split=chosen,
        length=windows.features.shape[1],
        fps=model.facts.fps,
        solver=solver,
        guidance=guidance,
        domains=[_figures(name, of, truth, measured, style, seed=seed) for name, of in groups.items()],
        evaluator=judged_by,
        shown=_shown(model, source, windows, real, drawn),
        notes=_notes(trained, source, judge, [int(of.sum()) for of in groups.values()]),
    )


def _windows(rows: WindowRows) -> Windows:
    """All windows that are long enough to be drawn, in one batch."""
    blocks = [block.rows for shard in rows.counts for block in rows.blocks(shard)]
    every = torch.from_numpy(np.concatenate(blocks))
    return unpack(every[every[:, 0, 0] >= SHORTEST])


def _requests(model: MotionFlow, windows: Windows, *, seed: int) -> list[Request]:
    """A request with the labels and the length of each window."""
    labels = model.facts.labels
    styles = (None, *labels.styles) if model.config.conditions.style else (None,) * labels.style_count
    numbers = zip(windows.length.tolist(), windows.domain.tolist(), windows.style.tolist(), strict=True)
    return [
        Request(seed=seed * len(windows) + k, frames=n, domain=labels.domains[domain], style=styles[style])
        for k, (n, domain, style) in enumerate(numbers)
    ]


@dataclass(frozen=True, slots=True, eq=False)
class _Ruler:
    """What motions are measured with: an evaluator or none, and the labels and frame rate of the model."""

    judge: MotionEvaluator | None
    facts: FlowFacts
    device: str

    def measured(self, motions: list[Float[np.ndarray, "T 263"]]) -> Measured:
        """Measure each motion."""
        parts = [self._of_batch(x, length) for x, length in _batches(motions)]
        return Measured(*(np.concatenate([part[k] for part in parts]) for k in range(5)))

    @torch.no_grad()
    def _of_batch(
        self, x: Float[np.ndarray, "B T 263"], length: Int[np.ndarray, "B"]
    ) -> tuple[np.ndarray, ...]:
        """The entries of `Measured` of some motions."""
        mask, joints = metrics.lengths_mask(length, x.shape[1]), decode(x)
        skate, contacts = metrics.foot_skate(joints, x[..., CONTACTS], mask)
        vectors, guess, judge = np.zeros((len(x), 0)), np.full(len(x), UNKNOWN), self.judge
        if judge is not None:
            found = judge.features(
                torch.from_numpy(x).to(self.device), torch.from_numpy(length).to(self.device)
            )
            vectors = found.cpu().numpy().astype(np.float64)
            if judge.facts.labels.styles:
                # The evaluator may count styles in another order.
                numbers = self.facts.labels.style_numbers(judge.facts.labels.styles)
                guess = numbers[judge.style_head(found)[:, 1:].argmax(-1).cpu().numpy()]
        return metrics.jitter(joints, mask, fps=self.facts.fps), skate, contacts, vectors, guess


def _batches(
    motions: list[Float[np.ndarray, "T 263"]],
) -> Iterator[tuple[Float[np.ndarray, "B T 263"], Int[np.ndarray, "B"]]]:
    """Some motions at a time, padded, and their lengths."""
    for first in range(0, len(motions), BATCH):
        some = motions[first : first + BATCH]
        length = np.array([len(m) for m in some])
        padded = np.zeros((len(some), length.max(), some[0].shape[1]), np.float32)
        for row, motion in zip(padded, some, strict=True):
            row[: len(motion)] = motion
        yield padded, length


def _figures(
    name: str,
    of: Bool[np.ndarray, "N"],
    truth: Measured,
    measured: dict[int, Measured],
    style: Int[np.ndarray, "N"],
    *,
    seed: int,
) -> DomainFigures:
    """The figures of the motions of a domain."""
    own = truth.vectors[of]
    order = np.random.default_rng(seed).permutation(len(own))
    halves = own[order[::2]], own[order[1::2]]
    return DomainFigures(
        name,
        int(of.sum()),
        _figures_of(truth, of, style, halves, seed=seed),
        {
            steps: _figures_of(each, of, style, (own, each.vectors[of]), seed=seed)
            for steps, each in measured.items()
        },
    )


def _figures_of(
    each: Measured,
    of: Bool[np.ndarray, "N"],
    style: Int[np.ndarray, "N"],
    sets: tuple[Float[np.ndarray, "n F"], Float[np.ndarray, "m F"]],
    *,
    seed: int,
) -> Figures:
    nan = float("nan")
    judged = each.vectors.shape[1] > 0
    known = of & (style != UNKNOWN) & (each.guess != UNKNOWN)
    shaken = each.jitter[of]
    return Figures(
        fid=metrics.fid(*sets) if judged else nan,
        style_accuracy=float((each.guess[known] == style[known]).mean()) if known.any() else nan,
        jitter=float(shaken[np.isfinite(shaken)].mean()) if np.isfinite(shaken).any() else nan,
        skate=float(each.skate[of].sum() / max(each.contacts[of].sum(), 1)),
        diversity=metrics.diversity(each.vectors[of], seed=seed) if judged else nan,
    )


def _shown(
    model: MotionFlow,
    source: DataSet,
    windows: Windows,
    real: list[Float[np.ndarray, "T 263"]],
    drawn: dict[int, list[Float[np.ndarray, "T 263"]]],
) -> list[Beside]:
    """For each domain some long windows, of different styles where there are any."""
    labels, names = model.facts.labels, source.index["clip_id"]
    domain, style, length = (t.numpy() for t in (windows.domain, windows.style, windows.length))
    found = []
    for number in np.unique(domain).tolist():
        own = np.flatnonzero(domain == number)
        # Long ones first, and of each style one after the other.
        own = own[np.argsort(-length[own], kind="stable")]
        turn = np.array([(style[own[:k]] == style[own[k]]).sum() for k in range(len(own))])
        for k in own[np.argsort(turn, kind="stable")][:SHOWN].tolist():
            found.append(
                Beside(
                    clip=names[int(windows.clip[k])].as_py(),
                    start=int(windows.start[k]),
                    domain=labels.domains[number],
                    style=("", *labels.styles)[int(style[k])],
                    real=decode(real[k]),
                    drawn={steps: decode(each[k]) for steps, each in drawn.items()},
                )
            )
    return found


def _notes(trained: Trained, source: DataSet, judge: MotionEvaluator | None, windows: list[int]) -> list[str]:
    notes = []
    if trained.about.get("manifest_hash") != manifest_hash(source):
        notes.append("The model was trained on another data set, or on another version of it.")
    if judge is None:
        notes.append("Without --evaluator there is no FID, no style accuracy and no diversity.")
    elif min(windows) <= 2 * judge.config.features:
        notes.append(
            f"FID needs more windows than the {judge.config.features} numbers of a feature vector; with fewer it is "
            "too large, also that of two halves of the real motions."
        )
    return notes
